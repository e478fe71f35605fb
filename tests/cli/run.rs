//! A command under a lock.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::Emulator;

use crate::support::{NAME, SPEAK, SPOKEN, assert_free, azmutex, code, locker, run, stderr};
#[cfg(unix)]
use crate::support::{Scratch, died, script};

#[test]
#[cfg(unix)]
fn the_exit_code_is_the_commands() {
    let emulator = Emulator::start().unwrap();
    for expected in 0..=255 {
        let output = script(&emulator, &[], &format!("exit {expected}")).output().unwrap();
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert!(output.stderr.is_empty(), "{}", stderr(&output));
    }
    assert_free(&emulator);
}

#[test]
#[cfg(unix)]
fn a_command_that_dies_of_a_signal() {
    let emulator = Emulator::start().unwrap();
    for (signal, expected) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("INT", 2), ("PIPE", 13), ("USR1", 10)] {
        let output = script(&emulator, &[], &format!("kill -{signal} $$")).output().unwrap();
        assert_eq!(died(&output.status), expected);
    }
    assert_free(&emulator);
}

#[test]
fn a_command_that_is_not_found() {
    let emulator = Emulator::start().unwrap();
    let output = run(&emulator, &[], &["there-is-no-such-command"]).output().unwrap();
    assert_eq!(code(&output), 127);
    assert!(stderr(&output).contains("there-is-no-such-command"));
    assert_free(&emulator);
}

#[test]
#[cfg(unix)]
fn a_command_that_cannot_be_executed() {
    let emulator = Emulator::start().unwrap();
    let file = Scratch::new();
    std::fs::write(file.path(), "no program").unwrap();
    let output = run(&emulator, &[], &[file.path()]).output().unwrap();
    assert_eq!(code(&output), 126);
    assert_free(&emulator);
}

#[test]
#[cfg(unix)]
fn the_command_has_the_lock_and_knows_it() {
    let emulator = Emulator::start().unwrap();
    let mut child = script(&emulator, &[], "echo $AZMUTEX_LOCK $AZMUTEX_LEASE_ID; read line; exit 9")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let (line, _stdout) = crate::support::first_line(&mut child);
    let (name, id) = line.split_once(' ').unwrap();
    assert_eq!((name, id.len()), (NAME, 36), "{line}");
    assert!(locker(&emulator).try_lock().is_err());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(code(&child.wait_with_output().unwrap()), 9);
    assert_free(&emulator);
}

#[test]
#[cfg(unix)]
fn stdin_and_stdout_are_the_commands() {
    let emulator = Emulator::start().unwrap();
    let mut child = run(&emulator, &[], &["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let text = "line\n".repeat(100_000);
    let mut stdin = child.stdin.take().unwrap();
    let sent = text.clone();
    let writer = thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.stdout, text.as_bytes());
}

#[test]
fn somebody_else_has_the_lock() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let output = run(&emulator, &["--timeout", "0"], &["there-is-no-such-command"]).output().unwrap();
    assert_eq!(code(&output), 75);
    assert!(stderr(&output).contains(NAME));

    let start = Instant::now();
    let output = run(&emulator, &["--timeout", "0.7"], &["there-is-no-such-command"]).output().unwrap();
    assert_eq!(code(&output), 75);
    assert!(start.elapsed() >= Duration::from_millis(700));
    let lock = format!("azmutex: lock {NAME:?}: ");
    let told = stderr(&output);
    // On a busy machine, the last look may have no time for an answer, and is told between these.
    assert!(told.starts_with(&format!("{lock}waiting, somebody else holds it\n")), "{told}");
    assert!(told.ends_with(&format!("{lock}not obtained within 700ms\n")), "{told}");
    guard.unlock().unwrap();
}

/// The last failure that stood in the way is told with the name of the lock, which is said once.
#[test]
fn a_lock_that_could_not_be_asked_for() {
    let text = "AccountName=acct;AccountKey=AAAA;BlobEndpoint=http://127.0.0.1:1/acct";
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", text);
    let output = command.args(["run", "--timeout", "0.5", NAME, "--", "there-is-no-such-command"]).output().unwrap();
    assert_eq!(code(&output), 69, "{}", stderr(&output));
    let told = stderr(&output);
    let last = told.lines().last().unwrap();
    assert!(last.starts_with(&format!("azmutex: lock {NAME:?}: not obtained within 500ms")), "{told}");
    assert!(last.contains("the last failure was: could not acquire the lease: nothing listens at"), "{told}");
    assert_eq!(last.matches(NAME).count(), 1, "{told}");
}

/// Words of an API mean nothing to whoever uses the command line.
#[test]
fn no_word_of_an_api_is_told() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let mut outputs = vec![
        run(&emulator, &["--timeout", "0"], &["true"]).output().unwrap(),
        run(&emulator, &["--timeout", "0.2"], &["true"]).output().unwrap(),
        run(&emulator, &["--lease", "5"], &["true"]).output().unwrap(),
    ];
    guard.unlock().unwrap();
    let key = ("AZURE_STORAGE_KEY", "AAAA");
    let sas = ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=x");
    let account = ("AZURE_STORAGE_ACCOUNT", "acct");
    let endpoint = |url| ("AZURE_STORAGE_SERVICE_ENDPOINT", url);
    let identity =
        [("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"), ("IDENTITY_ENDPOINT", "http://localhost")];
    let environments: [&[(&str, &str)]; 9] = [
        &[],
        &[endpoint("http://storage.invalid"), account, key],
        &[endpoint("http://storage.invalid"), sas],
        &[endpoint("https://storage.invalid/?sv=1&sig=x"), sas],
        &[endpoint("https://acct.blob.core.windows.net/locks"), sas],
        &[endpoint("https://acct.dfs.core.windows.net"), sas],
        &[endpoint("acct"), sas],
        &[account, ("AZURE_STORAGE_SAS_TOKEN", "https://acct.blob.core.windows.net/?sv=1&sig=x")],
        &[account, identity[0], identity[1]],
    ];
    for environment in environments {
        let mut command = azmutex();
        command.env("PATH", "").envs(environment.iter().copied());
        outputs.push(command.args(["run", "--timeout", "0.2", NAME, "--", "true"]).output().unwrap());
    }
    let mut wrong = Vec::new();
    for output in outputs {
        let told = stderr(&output);
        let words = ["::", "`lock`", "allow_http", "acquire_infinite", "builder", "Builder", "crate"];
        if told.is_empty() || words.iter().any(|word| told.contains(word)) {
            wrong.push(format!("{:?} {told}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wait_that_is_worth_it() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let waiting = |options: &[&str]| run(&emulator, options, &SPEAK).spawn().unwrap();
    let mut children = [waiting(&["--verbose"]), waiting(&["--timeout", "60", "--verbose"])];
    // Both of them wait, however late one begins.
    let told = children.each_mut().map(|child| {
        let (mut stderr, mut told) = (BufReader::new(child.stderr.take().unwrap()), String::new());
        while !told.contains("waiting") {
            assert_ne!(stderr.read_line(&mut told).unwrap(), 0, "{told}");
        }
        (stderr, told)
    });
    guard.unlock().unwrap();
    for (child, (mut stderr, mut told)) in children.into_iter().zip(told) {
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), &*output.stdout), (0, SPOKEN.as_bytes()));
        stderr.read_to_string(&mut told).unwrap();
        for event in ["waiting", "acquired", "released"] {
            assert!(told.contains(event), "{told}");
        }
    }
}

#[test]
fn an_emulator_of_its_own_needs_nothing_else() {
    let output = azmutex().args(["run", "--emulator", NAME, "--"]).args(SPEAK).output().unwrap();
    assert_eq!((code(&output), &*output.stdout), (0, SPOKEN.as_bytes()));
    assert!(stderr(&output).contains("nobody else sees it"), "{}", stderr(&output));
}

/// Eight processes, and a file that nothing but the lock guards.
#[test]
#[cfg(unix)]
fn one_at_a_time() {
    let emulator = Emulator::start().unwrap();
    let counter = Scratch::new();
    std::fs::write(counter.path(), "0").unwrap();
    let count = format!("n=$(cat {0}); sleep 0.02; echo $((n + 1)) > {0}", counter.path());
    let children: Vec<_> = (0..8).map(|_| script(&emulator, &[], &count).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    assert_eq!(std::fs::read_to_string(counter.path()).unwrap().trim(), "8");
}
