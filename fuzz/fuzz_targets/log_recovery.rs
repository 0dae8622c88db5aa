//! See `norn_properties::log_recovery`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| norn_properties::log_recovery(input));
