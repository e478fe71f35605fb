//! Doors for the fuzz targets in `tests/fuzz`. No part of the library: there under `cfg(fuzzing)` alone.

use std::ffi::OsString;

use super::properties;

/// Any text as a connection string.
pub fn connection_string(text: &str) {
    properties::connection_string::any_text(text);
}

/// Any text as a container's URL.
pub fn url(text: &str) {
    properties::container::any_url(text);
}

/// Any environment: names and values.
pub fn environment(variables: &[(String, OsString)]) {
    properties::container::any_environment(variables);
}

/// Any text as a lock's name.
pub fn name(text: &str) {
    properties::container::any_name(text);
}

/// Any text as a SAS.
pub fn sas(text: &str) {
    properties::sas::any_token(text);
}

/// Any bytes as the answer of an endpoint that gives tokens, or of the Azure CLI.
#[cfg(feature = "entra")]
pub fn token(bytes: &[u8]) {
    properties::entra_answer::any_bytes(bytes);
}

/// Any bytes as the answer to whatever can be asked.
pub fn answer(bytes: &[u8]) {
    properties::answer::any_bytes(bytes);
}

/// Any bytes as a page of a list of blobs.
#[cfg(feature = "list")]
pub fn page(bytes: &[u8]) {
    properties::listing::any_bytes(bytes);
}

/// Any text as a lease id.
pub fn lease_id(text: &str) {
    properties::lease::any_text(text);
}

/// Any bytes as requests to the emulator.
#[cfg(feature = "emulator")]
pub fn emulator(bytes: &[u8]) {
    properties::emulator::any_requests(bytes);
}

/// Any text as the query of a request to the emulator, signed.
#[cfg(feature = "emulator")]
pub fn emulator_sas(text: &str) {
    properties::emulator_sas::any_query(text);
}
