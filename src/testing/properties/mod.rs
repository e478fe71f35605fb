//! What holds for every input: one file for each subject, and here what they are made with. A property is a function
//! that takes any input, and panics where what is promised does not hold: the tests call it with inputs of a kind, the
//! fuzz targets in `tests/fuzz` with what they come upon.

#![allow(clippy::unwrap_used, reason = "they are tests, fuzzed or not")]

pub(super) mod answer;
pub(super) mod connection_string;
pub(super) mod container;
#[cfg(feature = "emulator")]
pub(super) mod emulator;
#[cfg(feature = "emulator")]
pub(super) mod emulator_sas;
#[cfg(feature = "entra")]
pub(super) mod entra_answer;
pub(super) mod lease;
#[cfg(feature = "list")]
pub(super) mod listing;
#[cfg(feature = "emulator")]
mod rest;
pub(super) mod sas;
#[cfg(test)]
mod shared_key;
mod transport;

use std::error::Error as _;

use crate::error::Error;

/// Secrets of the form that real ones have: inputs carry them, and no text may show them.
pub(crate) const KEY: &str = "jH2nBq8Xw0ZkT5/rVY3mP+uLd7cGfS1oaE6iJNtQv9RxKyMbA4CzUhWlDFgOIpse+0/sB2TqXz8VnKjYw5LmGA==";
pub(crate) const SAS: &str = "sv=2021-12-02&sr=c&sp=racw&se=2099-01-01T00%3A00%3A00Z\
                              &sig=tR7%2Bq0Xk3mZ1%2Fw9LhB5vYcJ8NdGf2PsAoUeIiTxQyM4%3D";
pub(crate) const SIGNATURE: &str = "tR7+q0Xk3mZ1/w9LhB5vYcJ8NdGf2PsAoUeIiTxQyM4=";
/// As it is written in [`SAS`].
const ENCODED_SIGNATURE: &str = "sig=tR7%2Bq0Xk3mZ1%2Fw9LhB5vYcJ8NdGf2PsAoUeIiTxQyM4%3D";

pub(crate) fn shows_no_secret(text: &str) {
    for secret in [KEY, SIGNATURE, ENCODED_SIGNATURE] {
        assert!(!text.contains(secret), "a secret is shown: {text}");
    }
}

/// Everything that a caller can print of an error.
pub(crate) fn prints(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{:?}\n{:?}", error.service_code(), error.request_id());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n{cause}\n{cause:?}"));
        source = cause.source();
    }
    text
}

/// Calls `property` with inputs of this kind: the same ones in every run, or those of `PROPTEST_RNG_SEED`, as many as
/// `PROPTEST_CASES` says. One that fails is cut down to the least that does, and that one is tried again in the open.
#[cfg(test)]
#[track_caller]
pub(crate) fn holds<S: proptest::strategy::Strategy>(inputs: S, property: impl Fn(S::Value)) {
    use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

    let mut config = Config { failure_persistence: None, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0);
    }
    let replay = format!("PROPTEST_RNG_SEED={} PROPTEST_CASES={}", config.rng_seed, config.cases);
    let outcome = TestRunner::new(config).run(&inputs, |input| {
        property(input);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(_, input)) => {
            eprintln!("does not hold for {input:?}; replay with {replay}");
            property(input);
            panic!("it does hold when it is tried again");
        }
        Err(error) => panic!("{error}; replay with {replay}"),
    }
}
