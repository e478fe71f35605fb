//! What is asked for on the command line and in the environment.

use std::process::Output;
use std::time::{Duration, Instant};

use azmutex::emulator::{Emulator, Fault, Operation};

use crate::support::{NAME, SPEAK, SPOKEN, Scratch, assert_free, azmutex, code, locker, run, script, stderr};

#[test]
fn who_does_not_wait_says_so_in_many_ways() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    for (options, expected) in [
        (&["-n"][..], 75),
        (&["--nonblock"], 75),
        (&["-w", "0"], 75),
        (&["--wait", "1500ms"], 75),
        (&["--timeout", "0"], 75),
        (&["-n", "-E", "9"], 9),
        (&["-w1.5", "--conflict-exit-code", "0"], 0),
        (&["--skip-if-held"], 0),
    ] {
        let output = run(&emulator, options, &SPEAK).output().unwrap();
        assert_eq!(code(&output), expected, "{options:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && stderr(&output).contains(NAME), "{options:?}");
    }
    guard.unlock().unwrap();
    for options in [&["-n", "-E", "9"][..], &["--skip-if-held"], &["--wait", "forever"], &["-w", "1h30m"]] {
        let output = run(&emulator, options, &SPEAK).output().unwrap();
        assert_eq!((code(&output), &*output.stdout), (0, SPOKEN.as_bytes()), "{options:?}: {}", stderr(&output));
    }
}

#[test]
fn an_outage_is_no_conflict() {
    let emulator = Emulator::start().unwrap();
    emulator.fail_next_of(Operation::AcquireLease, 1000, Fault::status(503, "ServerBusy"));
    for options in [&["-n", "-E", "9"][..], &["-w", "0.3", "-E", "9"], &["--skip-if-held"]] {
        let output = run(&emulator, options, &["true"]).output().unwrap();
        assert_eq!(code(&output), 69, "{options:?}: {}", stderr(&output));
    }
}

/// A wait is at least one try.
#[test]
fn a_free_lock_is_there_for_who_waits_for_no_time_worth_the_name() {
    let emulator = Emulator::start().unwrap();
    let output = run(&emulator, &["-w", "0.0001"], &SPEAK).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
#[cfg(unix)]
fn a_signal_is_called_as_the_system_calls_it() {
    let emulator = Emulator::start().unwrap();
    let ran = |signal: &str| code(&run(&emulator, &["-s", signal], &SPEAK).output().unwrap());
    for signal in ["ABRT", "SIGPIPE", "cont", "KILL", "TERM", "15", "sigusr1"] {
        assert_eq!(ran(signal), 0, "{signal}");
    }
    for wrong in ["NOPE", "0", "-3", "SIG", "4711", ""] {
        assert_eq!(ran(wrong), 64, "{wrong}");
    }
}

/// One try and no more, if nothing answers.
#[test]
fn who_does_not_wait_does_not_wait_for_a_service_that_hangs() {
    let emulator = Emulator::start().unwrap();
    emulator.fail_next_of(Operation::AcquireLease, 1000, Fault::DelayRequest(Duration::from_secs(60)));
    let start = Instant::now();
    let output = run(&emulator, &["-n"], &["true"]).output().unwrap();
    assert_eq!(code(&output), 69, "{}", stderr(&output));
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
}

#[test]
#[cfg(unix)]
fn a_line_and_a_script_are_run_by_a_shell() {
    use std::os::unix::fs::PermissionsExt;

    let emulator = Emulator::start().unwrap();
    let said = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut line = azmutex();
    line.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    assert_eq!(said(line.args(["run", NAME, "-c", "echo a | tr a b"])), "b\n");
    // Without `--`, and with options that are the command's.
    let mut words = azmutex();
    words.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    assert_eq!(said(words.args(["run", "-n", NAME, "printf", "%s.", "-n", "--wait", "--"])), "-n.--wait.--.");

    let file = Scratch::new();
    std::fs::write(file.path(), "echo \"a script, $1\"\n").unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(said(&mut run(&emulator, &[], &[file.path(), "x"])), "a script, x\n");
}

#[test]
#[cfg(unix)]
fn a_command_knows_its_token_which_grows() {
    let emulator = Emulator::start().unwrap();
    let token = |options: &[&str]| {
        let output = script(&emulator, options, "echo ${AZMUTEX_FENCING_TOKEN-none}").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (first, second) = (token(&[]).parse::<u64>().unwrap(), token(&[]).parse::<u64>().unwrap());
    assert!(second > first, "{first} {second}");
    assert_eq!(token(&["--no-card"]), "none");
}

/// No card, no token, and nothing else is left.
#[test]
fn nothing_is_left_if_that_is_asked_for() {
    let emulator = Emulator::start().unwrap();
    assert_eq!(code(&run(&emulator, &["--no-card"], &SPEAK).output().unwrap()), 0);
    let is_write = |operation: Operation| matches!(operation, Operation::SetBlobMetadata);
    assert!(!emulator.requests().iter().any(|request| is_write(request.operation)));
}

fn skipped(output: &Output) -> bool {
    assert_eq!(code(output), 0, "{}", stderr(output));
    assert_eq!(output.stdout.is_empty(), stderr(output).contains("so nothing was run"), "{}", stderr(output));
    output.stdout.is_empty()
}

#[test]
#[cfg(unix)]
fn a_command_is_run_once_in_a_while_by_its_label() {
    let emulator = Emulator::start().unwrap();
    let daily = |options: &[&str], line: &str| {
        script(&emulator, &[&["--once-per", "24h"], options].concat(), line).output().unwrap()
    };
    assert_eq!(code(&daily(&[], "exit 1")), 1);
    assert!(!skipped(&daily(&[], "echo ran")), "one that failed is not done");
    assert!(skipped(&daily(&[], "echo ran")));
    assert!(!skipped(&daily(&["--label", "other"], "echo ran")));
    emulator.advance(Duration::from_secs(21 * 3600));
    assert!(skipped(&daily(&[], "echo ran")));
    // A tenth too early is late enough.
    emulator.advance(Duration::from_secs(3600));
    assert!(!skipped(&daily(&[], "echo ran")));
    assert!(skipped(&daily(&[], "echo ran")));
    assert_free(&emulator);
}

/// What `sh` did is not what another `sh` is to do.
#[test]
#[cfg(unix)]
fn commands_that_differ_in_any_word_are_not_each_other() {
    let emulator = Emulator::start().unwrap();
    let daily = |line: &[&str]| run(&emulator, &["--once-per", "24h"], line).output().unwrap();
    assert!(!skipped(&daily(&["echo", "sales"])));
    assert!(!skipped(&daily(&["echo", "stock"])));
    assert!(skipped(&daily(&["echo", "sales"])));
    assert!(!skipped(&daily(&["echo", "sales", ""])), "words are not run together");
    assert_free(&emulator);
}

#[test]
#[cfg(unix)]
fn what_could_never_be_marked_is_refused_and_what_is_forgotten_is_told() {
    let emulator = Emulator::start().unwrap();
    let daily =
        |label: &str| run(&emulator, &["--once-per", "24h", "--label", label], &["echo", "ran"]).output().unwrap();
    let output = daily(&"é".repeat(200));
    assert!(code(&output) == 64 && output.stdout.is_empty(), "{}", stderr(&output));
    assert!(emulator.requests().is_empty(), "nothing was asked for");
    let (first, second) = ("a".repeat(200), "b".repeat(200));
    for label in [&first, &second, &"c".repeat(200), &"d".repeat(200)] {
        let output = daily(label);
        assert!(!skipped(&output) && !stderr(&output).contains("forgotten"), "{}", stderr(&output));
    }
    emulator.advance(Duration::from_secs(1));
    let output = daily(&"e".repeat(200));
    let told = stderr(&output);
    assert!(code(&output) == 0 && told.contains("forgotten") && told.contains("too soon"), "{told}");
}

/// If it is not known whether it is marked as done, it is done again.
#[test]
#[cfg(unix)]
fn a_command_that_could_not_be_marked_is_run_again() {
    let emulator = Emulator::start().unwrap();
    let daily = |line: &str| script(&emulator, &["--once-per", "24h"], line).output().unwrap();
    assert_eq!(code(&daily("exit 1")), 1); // the blob is there now
    emulator.fail_next_of(Operation::SetBlobMetadata, 1, Fault::status(503, "ServerBusy"));
    let file = Scratch::new();
    // The card is written when it starts, and then the mark.
    let line = format!("echo ran; touch {}; while [ -e {} ]; do sleep 0.02; done", file.path(), file.path());
    let child = script(&emulator, &["--once-per", "24h"], &line).spawn().unwrap();
    crate::support::eventually("its start", || std::fs::metadata(file.path()).is_ok());
    emulator.fail_next_of(Operation::SetBlobMetadata, 1000, Fault::status(403, "AuthorizationFailure"));
    std::fs::remove_file(file.path()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).contains("the next run may come too soon"), "{}", stderr(&output));
    emulator.clear_faults();
    assert!(!skipped(&daily("echo ran")));
}

#[test]
fn where_the_lock_is() {
    let emulator = Emulator::start().unwrap();
    let (file, connection_string) = (Scratch::new(), emulator.connection_string());
    std::fs::write(file.path(), format!("{connection_string}\n")).unwrap();
    let key = connection_string.split(';').find_map(|part| part.strip_prefix("AccountKey=")).unwrap();
    let url = format!("{}/locks", emulator.url());
    let ran = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = azmutex();
        command.arg("run").args(arguments).args(["-n", NAME]).args(SPEAK).envs(variables.iter().copied());
        code(&command.output().unwrap())
    };
    assert_eq!(ran(&["--connection-string-file", file.path()], &[]), 0);
    assert_eq!(ran(&[], &[("AZMUTEX_CONNECTION_STRING_FILE", file.path())]), 0);
    let account = [("AZURE_STORAGE_KEY", key), ("AZURE_STORAGE_ACCOUNT", "devstoreaccount1")];
    assert_eq!(ran(&["--container-url", &url], &account), 0);
    assert_eq!(ran(&[], &[&account[..], &[("AZMUTEX_CONTAINER_URL", &url)]].concat()), 0);
    // One that is said on the command line comes first.
    assert_eq!(ran(&["--container", "others"], &[("AZMUTEX_CONNECTION_STRING_FILE", file.path())]), 0);
    let names: Vec<_> = emulator.requests().iter().map(|request| request.path.clone()).collect();
    assert!(names.iter().any(|path| path.contains("/others/")), "{names:?}");

    // Whatever is said is used, or refused: it would be another lock.
    let with_url = [&account[..], &[("AZMUTEX_CONTAINER_URL", &url)]].concat();
    assert_eq!(ran(&["--container", "others"], &with_url), 64);
    assert_eq!(ran(&["--sas-file", file.path()], &[("AZMUTEX_CONNECTION_STRING_FILE", file.path())]), 64);
    assert_eq!(ran(&[], &[&with_url[..], &[("AZMUTEX_CONTAINER", "others")]].concat()), 64);
    assert_eq!(ran(&["--container-url", &url], &[&account[..], &[("AZMUTEX_CONTAINER", "others")]].concat()), 0);

    assert_eq!(ran(&["--connection-string-file", "/there/is/none"], &[]), 78);
    std::fs::write(file.path(), "AccountName=x;AccountKey=%%%").unwrap();
    assert_eq!(ran(&["--connection-string-file", file.path()], &[]), 78);
    assert_eq!(ran(&["--container-url", "http://storage.invalid/locks"], &account), 78);
    assert_eq!(ran(&["--container", "Not A Container", "--emulator"], &[]), 64);
}

/// Plain http to another machine is for those who ask for it, who are told how.
#[test]
fn plain_http_is_allowed_on_request() {
    let account = [("AZURE_STORAGE_KEY", "c2VjcmV0"), ("AZURE_STORAGE_ACCOUNT", "acct")];
    let output = |options: &[&str]| {
        let mut command = azmutex();
        command.arg("run").args(["--container-url", "http://storage.invalid/locks"]).args(options);
        command.args(["-n", NAME, "true"]).envs(account).output().unwrap()
    };
    let refused = output(&[]);
    assert!(code(&refused) == 78 && stderr(&refused).contains("--allow-http"), "{}", stderr(&refused));
    assert_eq!(code(&output(&["--allow-http"])), 69);
    for (value, expected, text) in [
        ("1", 69, ""),
        ("TRUE", 69, ""),
        ("0", 78, "--allow-http"),
        ("false", 78, "--allow-http"),
        ("no", 78, "ALLOW_HTTP"),
    ] {
        let mut command = azmutex();
        command.args(["run", "--container-url", "http://storage.invalid/locks", "-n", NAME, "true"]);
        let output = command.envs(account).env("AZMUTEX_ALLOW_HTTP", value).output().unwrap();
        assert!(code(&output) == expected && stderr(&output).contains(text), "{value}: {}", stderr(&output));
    }
}

#[test]
fn what_is_told_is_what_was_asked_for() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    // Long enough for a first answer on a busy machine, and all at once.
    let children = [&["-q", "-w", "5"][..], &["-w", "5"], &["-v", "-w", "5"], &["--log", "json", "-w", "5"]]
        .map(|options| run(&emulator, options, &SPEAK).spawn().unwrap());
    let [one, two, much, told] = children.map(|child| stderr(&child.wait_with_output().unwrap()));
    assert_eq!(one.lines().count(), 1, "{one}");
    // The last look may have no time for an answer.
    let is_late = |line: &&str| line.contains("in the time that was left");
    assert_eq!(two.lines().filter(|line| !is_late(line)).count(), 2, "{two}");
    assert!(much.contains("waiting"), "{much}");
    let objects: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["event"], "waiting");
    assert_eq!(objects[0]["lock"], NAME);
    let last = objects.last().unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&"failed".into(), &75.into()), "{told}");
    guard.unlock().unwrap();

    let output = run(&emulator, &["--log", "json"], &SPEAK).output().unwrap();
    let told = stderr(&output);
    let events: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["acquired", "released"], "{told}");
    assert!(events.iter().all(|event| event["severity"] == "info"), "{told}");
    assert!(events[0]["fencing_token"].as_u64().is_some() && events[0]["time"].as_str().is_some(), "{told}");
}

/// Each line by one write, so that the lines of several programs do not mix: told to a socket that keeps messages apart.
#[test]
#[cfg(target_os = "linux")]
fn each_line_is_one_write() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    for options in [&["-w", "2"][..], &["-v", "-w", "0.6"], &["--log", "json", "-w", "0.6"]] {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        run(&emulator, options, &["true"]).stderr(OwnedFd::from(theirs)).status().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        let mut count = 0;
        while let Ok(length) = ours.recv(&mut bytes) {
            let line = std::str::from_utf8(&bytes[..length]).unwrap();
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line:?}");
            count += 1;
        }
        assert!(count >= 2, "{options:?}");
    }
    guard.unlock().unwrap();
}

#[test]
fn shells_and_man_are_served() {
    for (arguments, text) in [
        (&["completions", "bash"][..], "complete -F _azmutex"),
        (&["completions", "zsh"], "#compdef azmutex"),
        (&["completions", "fish"], "complete -c azmutex"),
        (&["man"], ".TH azmutex 1"),
        (&["man", "run"], ".TH azmutex-run 1"),
    ] {
        let output = azmutex().args(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(code(&output) == 0 && said.contains(text), "{arguments:?}: {said}");
    }
    assert_eq!(code(&azmutex().args(["man", "nonsense"]).output().unwrap()), 64);
}
