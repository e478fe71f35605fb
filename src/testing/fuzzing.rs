//! Doors for the fuzz targets in `tests/fuzz`. No part of the library: there under `cfg(fuzzing)` alone.

use std::ffi::OsString;

use crate::{connection_string, container, credential, lease, rest};

/// Any text as a connection string.
pub fn connection_string(text: &str) {
    connection_string::properties::any_text(text);
}

/// Any text as a container's URL.
pub fn url(text: &str) {
    container::properties::any_url(text);
}

/// Any environment: names and values.
pub fn environment(variables: &[(String, OsString)]) {
    container::properties::any_environment(variables);
}

/// Any text as a lock's name.
pub fn name(text: &str) {
    container::properties::any_name(text);
}

/// Any text as a SAS.
pub fn sas(text: &str) {
    credential::any_sas(text);
}

/// Any bytes as the answer of an endpoint that gives tokens, or of the Azure CLI.
#[cfg(feature = "entra")]
pub fn token(bytes: &[u8]) {
    credential::entra::any_answer(bytes);
}

/// Any bytes as the answer to whatever can be asked.
pub fn answer(bytes: &[u8]) {
    rest::any_answer(bytes);
}

/// Any text as a lease id.
pub fn lease_id(text: &str) {
    lease::properties::any_text(text);
}

/// Any bytes as requests to the emulator.
#[cfg(feature = "emulator")]
pub fn emulator(bytes: &[u8]) {
    crate::emulator::properties::any_requests(bytes);
}

/// Any text as the query of a request to the emulator, signed.
#[cfg(feature = "emulator")]
pub fn emulator_sas(text: &str) {
    crate::emulator::any_sas(text);
}
