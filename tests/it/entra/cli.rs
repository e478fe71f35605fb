//! The Azure CLI, played by a script on the `PATH` of a process of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use azmutex::credential::entra::AzureCli;
use rustix::process::WaitOptions;

use super::child::{take_the_lock, tell};
use super::{SECOND, TENANT, Tokens, eager};
use crate::support::peer::Peer;
use crate::support::process::{Again, again, variable};
use crate::support::unique;

/// Not a test of its own, but what the other process does: takes the lock as whoever is logged in.
#[test]
fn child() {
    let Some(storage) = variable("AZMUTEX_TEST_STORAGE") else { return };
    if variable("AZMUTEX_TEST_REAPER").is_some() {
        thread::spawn(reap);
    }
    let mut cli = AzureCli::new();
    if variable("AZMUTEX_TEST_HASTE").is_some() && variable("AZMUTEX_AZ_SECONDS").is_none() {
        cli = cli.limit(SECOND);
    }
    if let Some(tenant) = variable("AZMUTEX_TEST_TENANT") {
        cli = cli.tenant(&tenant);
    }
    match cli.build() {
        Ok(credential) => take_the_lock(&storage, credential, eager()),
        Err(error) => tell(Err(error)),
    }
}

/// What the first process of a container does: it asks for the end of any child, and so takes it from whoever waits
/// for that one.
fn reap() {
    loop {
        if rustix::process::wait(WaitOptions::empty()).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A directory with a program `az` in it.
pub(crate) struct Az(PathBuf);

impl Az {
    pub(crate) fn new(script: &str) -> Az {
        let directory = std::env::temp_dir().join(unique("az"));
        fs::create_dir(&directory).unwrap();
        // By another process: while one of this process's children is between fork and exec, it has open what we have,
        // and a program that is open for writing cannot be run.
        let mut writer = Command::new("/bin/sh")
            .args(["-c", r#"cat > "$0" && chmod 755 "$0""#])
            .arg(directory.join("az"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        Az(directory)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// What it wrote into this file, beside itself.
    pub(super) fn wrote(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Az {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A script that gives `token`, and writes down each run's arguments.
pub(crate) fn gives(token: &str) -> String {
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + 3600 * SECOND;
    format!(
        "echo \"$@\" >> arguments\n\
         echo 'WARNING: a newer version is available' >&2\n\
         echo '{{\"accessToken\": \"{token}\", \"expiresOn\": \"2026-01-01 12:00:00.000000\", \"expires_on\": {}, \
         \"subscription\": \"s\", \"tenant\": \"t\", \"tokenType\": \"Bearer\"}}'",
        end.as_secs()
    )
}

fn locking(storage: &Peer, path: &str) -> Again {
    again(child).without_credentials().env("AZMUTEX_TEST_STORAGE", &storage.url()).env("PATH", path)
}

#[test]
fn whoever_is_logged_in_gets_the_lock() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let az = Az::new(&gives(&tokens.issue(3600 * SECOND)));
    assert_eq!(locking(&storage, az.path()).last_word(), "locked");
    assert_eq!(
        az.wrote("arguments"),
        "account get-access-token --output json --resource https://storage.azure.com\n",
        "once, beside itself"
    );
    assert_eq!(locking(&storage, az.path()).env("AZMUTEX_TEST_TENANT", TENANT).last_word(), "locked");
    assert!(az.wrote("arguments").ends_with(&format!(" --tenant {TENANT}\n")));
}

#[test]
fn a_program_in_which_another_asks_for_the_end_of_all_children_gets_the_lock_too() {
    let tokens = Tokens::default();
    let storage = tokens.storage();
    let az = Az::new(&gives(&tokens.issue(3600 * SECOND)));
    let reaping = |az: &Az| locking(&storage, az.path()).env("AZMUTEX_TEST_REAPER", "1").last_word();
    assert_eq!(reaping(&az), "locked");
    let az = Az::new("echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1");
    let said = reaping(&az);
    assert!(said.starts_with("Credential: ") && said.contains("Please run 'az login'"), "{said}");
}

#[test]
fn whoever_is_not_is_told_what_the_cli_says() {
    let storage = Tokens::default().storage();
    let az = Az::new("echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1");
    let said = locking(&storage, az.path()).last_word();
    assert!(said.starts_with("Credential: ") && said.contains("no token from the Azure CLI"), "{said}");
    assert!(said.contains("Please run 'az login'") && said.contains("exit status: 1"), "{said}");
    assert!(storage.received().is_empty());
}

#[test]
fn a_cli_that_hangs_is_ended_and_its_last_words_are_told() {
    let storage = Tokens::default().storage();
    let az =
        Az::new("echo 'Waiting for the broker' >&2; (while :; do echo . >> beats; /bin/sleep 0.02; done); echo never");
    let before = Instant::now();
    let said = locking(&storage, az.path()).env("AZMUTEX_TEST_HASTE", "1").last_word();
    assert!(before.elapsed() < 30 * SECOND);
    assert!(said.starts_with("Unavailable: "), "{said}");
    assert!(said.contains("did not end within 1s: Waiting for the broker"), "{said}");
    let beats = az.wrote("beats");
    thread::sleep(SECOND / 2);
    assert!(!beats.is_empty() && az.wrote("beats") == beats, "what it started goes on");
}

#[test]
fn the_environment_says_how_long_the_cli_may_take() {
    let storage = Tokens::default().storage();
    let az = Az::new("echo 'Waiting for the broker' >&2; /bin/sleep 60");
    let said = |seconds: &str| locking(&storage, az.path()).env("AZMUTEX_AZ_SECONDS", seconds).last_word();
    let told = said("1");
    assert!(told.starts_with("Unavailable: ") && told.contains("did not end within 1s"), "{told}");
    assert!(told.contains("Waiting for the broker") && told.contains("AZMUTEX_AZ_SECONDS"), "{told}");
    for wrong in ["0", "301", "-1", "1.5", "10s", "soon"] {
        let told = said(wrong);
        assert!(told.starts_with("InvalidInput: ") && told.contains("AZMUTEX_AZ_SECONDS"), "{wrong}: {told}");
    }
}

/// Whoever wants the lock waits for a shorter time than `az` has.
#[test]
fn a_slow_cli_is_told_with_how_long_it_was_given() {
    let storage = Tokens::default().storage();
    let az = Az::new("/bin/sleep 60");
    let child = locking(&storage, az.path()).env("AZMUTEX_TEST_HASTE", "1").env("AZMUTEX_AZ_SECONDS", "25");
    let said = child.last_word();
    assert!(said.starts_with("Unavailable: ") && said.contains(", and may take 25s"), "{said}");
}

#[test]
fn there_is_no_cli() {
    let storage = Tokens::default().storage();
    let az = Az::new("echo here >> runs");
    let no_program = Az::new("");
    Command::new("/bin/chmod").arg("644").arg(no_program.0.join("az")).status().unwrap();
    let parent = Path::new(az.path()).parent().unwrap().to_str().unwrap();
    // Not in what is relative, which may be anybody's.
    let relative = Path::new(az.path()).file_name().unwrap().to_str().unwrap();
    for path in ["", "/nonexistent", no_program.path(), relative, "."] {
        let child = locking(&storage, path).inside(if path == "." { az.path() } else { parent });
        let said = child.last_word();
        assert!(said.starts_with("Credential: ") && said.contains("no `az` on the PATH"), "{path}: {said}");
    }
    assert_eq!(az.wrote("runs"), "");
}

#[test]
fn what_is_no_token_is_told_without_what_may_be_one() {
    let storage = Tokens::default().storage();
    for script in [
        "echo 'not json'",
        "echo '{}'; echo 'DEBUG: eyJ0eXAiOiJKV1QiLCJhbGciOi.secret' >&2",
        "echo eyJ0eXAiOiJKV1QiLCJhbGciOi.secret",
        "/usr/bin/head -c 1000000 /dev/zero",
        "exit 0",
    ] {
        let az = Az::new(script);
        let said = locking(&storage, az.path()).last_word();
        assert!(said.starts_with("Credential: ") && said.contains("no token"), "{script}: {said}");
        assert!(!said.contains("eyJ") && !said.contains("secret") && said.len() < 2_000, "{script}: {said}");
    }
}
