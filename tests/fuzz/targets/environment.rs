#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

// Lines of the form `NAME=value`.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let variable = |line: &[u8]| {
        let end = line.iter().position(|byte| *byte == b'=')?;
        let name = String::from_utf8_lossy(&line[..end]).into_owned();
        Some((name, OsString::from_vec(line[end + 1..].to_vec())))
    };
    let variables: Vec<_> = bytes.split(|byte| *byte == b'\n').filter_map(variable).collect();
    azmutex::fuzzing::environment(&variables);
});
