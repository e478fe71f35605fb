#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| azmutex::fuzzing::emulator_sas(text));
