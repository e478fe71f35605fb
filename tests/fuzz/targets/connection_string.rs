#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| azmutex::fuzzing::connection_string(text));
