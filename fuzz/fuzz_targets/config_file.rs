//! See `norn_properties::config_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| norn_properties::config_file(input));
