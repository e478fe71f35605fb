//! Whether there could be a lock.

use std::process::Output;

use azmutex::emulator::{Emulator, Fault, Operation};

use crate::support::{NAME, assert_free, azmutex, code, locker, stderr};

fn doctor(connection_string: &str, arguments: &[&str]) -> Output {
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", connection_string);
    command.arg("doctor").args(arguments).output().unwrap()
}

/// What it tells, and nothing beside it.
fn told(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn all_is_well() {
    let emulator = Emulator::start().unwrap();
    for arguments in [&[][..], &[NAME], &["--lease", "60", NAME]] {
        let output = doctor(&emulator.connection_string(), arguments);
        let told = told(&output);
        assert_eq!(code(&output), 0, "{told}");
        assert!(told.contains("This program can lock here") && !told.contains("FAILED"), "{told}");
        assert!(told.contains("ok         proxy       none"), "{told}");
        assert!(told.contains("Storage Blob Data Contributor") && told.contains("sp=rw"), "{told}");
    }
    assert_free(&emulator);
}

#[test]
fn somebody_has_the_lock() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    assert_eq!(code(&doctor(&emulator.connection_string(), &[NAME])), 0);
    guard.unlock().unwrap();
}

#[test]
fn a_warning_is_told_and_no_failure() {
    let emulator = Emulator::start().unwrap();
    let denied = || Fault::status(403, "AuthorizationPermissionMismatch");
    emulator.fail_next_of(Operation::GetBlobProperties, usize::MAX, denied());
    let output = doctor(&emulator.connection_string(), &[NAME]);
    let told = told(&output);
    assert_eq!(code(&output), 0, "{told}");
    assert!(told.contains("\nWARNING    read        could not look at the lock"), "{told}");
    assert!(told.contains("can lock here, with a warning: see read") && !told.contains("FAILED"), "{told}");

    emulator.fail_next_of(Operation::AcquireLease, usize::MAX, denied());
    let output = doctor(&emulator.connection_string(), &[NAME]);
    assert_eq!(code(&output), 77);
}

#[test]
fn an_emulator_of_its_own_needs_nothing_else() {
    let output = azmutex().args(["doctor", "--emulator"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn what_stands_in_the_way_is_the_exit_code() {
    let emulator = Emulator::start().unwrap();
    let wrong = Emulator::builder().key("c2VjcmV0").start().unwrap();
    let output = doctor(&wrong.connection_string().replace(&wrong.url(), &emulator.url()), &[NAME]);
    assert_eq!(code(&output), 77);
    assert!(told(&output).contains("cannot lock here: see credential"), "{}", told(&output));

    let connection_string = emulator.connection_string();
    drop(emulator);
    let output = doctor(&connection_string, &[NAME]);
    assert_eq!(code(&output), 69);
    assert!(told(&output).contains("cannot lock here: see endpoint"), "{}", told(&output));
}

#[test]
fn an_older_service_is_asked_in_its_own_version() {
    let emulator = Emulator::start().unwrap();
    let doctor = |version| {
        let mut command = azmutex();
        command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        command.env("AZMUTEX_SERVICE_VERSION", version).arg("doctor").output().unwrap()
    };
    assert_eq!(code(&doctor("2017-11-09")), 0);
    // There was none on that day, and the service says so.
    let output = doctor("2017-11-10");
    assert_eq!(code(&output), 69);
    assert!(told(&output).contains("x-ms-version"), "{}", told(&output));
    let output = doctor("2017");
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("AZMUTEX_SERVICE_VERSION in the environment"), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_asked_with_is_told_as_of_a_run() {
    let emulator = Emulator::start().unwrap();
    for arguments in [&["a//b"][..], &["--lease", "5"], &["--container", "Not A Container"]] {
        assert_eq!(code(&doctor(&emulator.connection_string(), arguments)), 64, "{arguments:?}");
    }
    assert_eq!(code(&doctor("AccountName=me", &[])), 78);
}
