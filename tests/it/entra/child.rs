//! This test program, run again with one test's name and an environment of its own.

use std::process::{Command, Stdio};

use azmutex::Error;
use azmutex::credential::Credential;
use azmutex::retry::Policy;

use super::{LEASE, SECOND};

/// What the parent listens for, among the harness's own lines.
const MARK: &str = "child: ";

/// A variable that the parent gave.
pub(super) fn given(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A word for the parent.
pub(super) fn say(line: &str) {
    println!("\n{MARK}{line}");
}

/// Takes the lock in a storage account at `storage`, and says how that went.
pub(super) fn take_the_lock(storage: &str, credential: Credential, policy: Policy) {
    let policy =
        if given("AZMUTEX_TEST_HASTE").is_some() { policy.retries(1).attempt_limit(SECOND) } else { policy.retries(5) };
    let url = format!("{storage}/acct/locks");
    let container = azmutex::Container::builder(&url, credential).retry(policy).build();
    tell(container.and_then(|container| container.mutex("job")?.acquire(LEASE)).map(drop));
}

pub(super) fn tell(result: Result<(), Error>) {
    match result {
        Ok(()) => say("locked"),
        Err(error) => say(&format!("{:?}: {error:?}", error.kind())),
    }
}

pub(super) struct Child(Command);

impl Child {
    /// To run the test of that name, with nothing in its environment that is about Azure or proxies.
    pub(super) fn new(test: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let upper = name.to_ascii_uppercase();
            if ["AZURE_", "IDENTITY_", "IMDS_", "MSI_"].iter().any(|prefix| upper.starts_with(prefix))
                || upper.ends_with("_PROXY")
            {
                command.env_remove(name);
            }
        }
        Child(command)
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Child {
        self.0.env(name, value);
        self
    }

    pub(super) fn inside(mut self, directory: &str) -> Child {
        self.0.current_dir(directory);
        self
    }

    /// Its last word.
    pub(super) fn says(mut self) -> String {
        let output = self.0.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}\n{err}");
        let last = out.lines().rev().find_map(|line| line.strip_prefix(MARK));
        last.unwrap_or_else(|| panic!("not a word: {out}\n{err}")).to_owned()
    }
}
