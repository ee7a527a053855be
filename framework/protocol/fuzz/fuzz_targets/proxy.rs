#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hioload_protocol_fuzz::proxy(data));
