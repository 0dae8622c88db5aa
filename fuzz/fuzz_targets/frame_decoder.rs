//! See `norn_properties::frame_decoder`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| norn_properties::frame_decoder(input));
