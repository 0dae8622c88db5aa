//! See `norn_properties::record_batch`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| norn_properties::record_batch(input));
