//! What is refused before anything is run.

use azmutex::emulator::Emulator;

use crate::support::{azmutex, code, run, stderr};

#[test]
fn arguments_that_cannot_be_meant() {
    let wrong: [&[&str]; 7] = [
        &[],
        &["run", "name"],
        &["run", "--", "true"],
        &["run", "name", "true"],
        &["run", "--timeout", "soon", "name", "--", "true"],
        &["run", "--emulator", "--lease", "5", "name", "--", "true"],
        &["run", "--emulator", "--container", "Not A Container", "name", "--", "true"],
    ];
    for arguments in wrong {
        let output = azmutex().args(arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn the_help_names_the_exit_codes() {
    for arguments in [&["--help"][..], &["run", "--help"]] {
        let output = azmutex().args(arguments).output().unwrap();
        assert_eq!(code(&output), 0);
        let help = String::from_utf8(output.stdout).unwrap();
        for line in ["  3  somebody else", "  6  the lock was lost", "126  COMMAND", "127  COMMAND"] {
            assert!(help.contains(line), "{help}");
        }
    }
}

#[test]
fn no_credential() {
    let output = azmutex().args(["run", "name", "--", "true"]).output().unwrap();
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("AZURE_STORAGE_CONNECTION_STRING"));
}

#[test]
fn a_credential_that_is_not_accepted() {
    let emulator = Emulator::start().unwrap();
    let wrong = Emulator::builder().key("c2VjcmV0").start().unwrap();
    let text = wrong.connection_string().replace(&wrong.url(), &emulator.url());
    let output = run(&emulator, &[], &["true"]).env("AZURE_STORAGE_CONNECTION_STRING", text).output().unwrap();
    assert_eq!(code(&output), 4, "{}", stderr(&output));
}

#[test]
fn nothing_listens() {
    let emulator = Emulator::start().unwrap();
    let mut at_once = run(&emulator, &["--timeout", "0"], &["true"]);
    let mut soon = run(&emulator, &["--timeout", "1"], &["true"]);
    drop(emulator);
    assert_eq!(code(&at_once.output().unwrap()), 5);
    let output = soon.output().unwrap();
    assert_eq!(code(&output), 3);
    let start =
        "azmutex: lock \"nightly-report\": not obtained within 1s; the last failure was: could not acquire the lease: ";
    assert!(stderr(&output).starts_with(start), "{}", stderr(&output));
}
