#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| featherwire_fuzz::laws::sse(data));
