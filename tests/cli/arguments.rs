//! What is refused before anything is run.

use azmutex::emulator::Emulator;

use crate::support::{azmutex, code, run, stderr};

#[test]
fn arguments_that_cannot_be_meant() {
    let wrong: [&[&str]; 13] = [
        &[],
        &["run", "name"],
        &["run", "--", "true"],
        &["run", "name", "-c", "true", "true"],
        &["run", "-n", "-w", "5", "name", "true"],
        &["run", "--skip-if-held", "-E", "5", "name", "true"],
        &["run", "--emulator", "--grace", "7", "name", "--", "true"],
        &["run", "--emulator", "--signal", "NOPE", "name", "--", "true"],
        &["run", "--container-url", "https://acct.blob.core.windows.net/locks?sig=x", "name", "--", "true"],
        &["run", "--account", "a", "--connection-string-file", "f", "name", "--", "true"],
        &["run", "--timeout", "soon", "name", "--", "true"],
        &["run", "--emulator", "--lease", "5", "name", "--", "true"],
        &["run", "--emulator", "--container", "Not A Container", "name", "--", "true"],
    ];
    for arguments in wrong {
        let output = azmutex().args(arguments).output().unwrap();
        assert_eq!(code(&output), 64, "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn the_help_names_the_exit_codes() {
    for arguments in [&["--help"][..], &["run", "--help"]] {
        let output = azmutex().args(arguments).output().unwrap();
        assert_eq!(code(&output), 0);
        let help = String::from_utf8(output.stdout).unwrap();
        for line in ["  75  somebody else", "  70  the lock was lost", "126  the command", "127  the command"] {
            assert!(help.contains(line), "{help}");
        }
    }
}

#[test]
fn no_credential() {
    let output = azmutex().args(["run", "name", "--", "true"]).output().unwrap();
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("AZURE_STORAGE_CONNECTION_STRING"));
}

#[test]
fn a_credential_that_is_not_accepted() {
    let emulator = Emulator::start().unwrap();
    let wrong = Emulator::builder().key("c2VjcmV0").start().unwrap();
    let text = wrong.connection_string().replace(&wrong.url(), &emulator.url());
    let output = run(&emulator, &[], &["true"]).env("AZURE_STORAGE_CONNECTION_STRING", text).output().unwrap();
    assert_eq!(code(&output), 77, "{}", stderr(&output));
}

#[test]
fn nothing_listens() {
    let emulator = Emulator::start().unwrap();
    let mut at_once = run(&emulator, &["--timeout", "0"], &["true"]);
    let mut soon = run(&emulator, &["--timeout", "1"], &["true"]);
    drop(emulator);
    assert_eq!(code(&at_once.output().unwrap()), 69);
    let output = soon.output().unwrap();
    assert_eq!(code(&output), 69);
    let told = stderr(&output);
    let [trouble, end] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    let start = "azmutex: lock \"nightly-report\": could not acquire the lease: nothing listens";
    assert!(trouble.starts_with(start) && trouble.ends_with("; trying again"), "{told}");
    let start =
        "azmutex: lock \"nightly-report\": not obtained within 1s; the last failure was: could not acquire the lease: ";
    assert!(end.starts_with(start), "{told}");
}
