//! See `linger_shared::dissect::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| linger_shared::dissect::fuzzing::run("udp", bytes));
