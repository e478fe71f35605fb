//! Processes of the command line, and an emulator for them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::Emulator;
use azmutex::{Container, Locker};

pub(crate) const NAME: &str = "nightly-report";
const CONTAINER: &str = "locks";
/// A command that every system has, and what it says.
pub(crate) const SPEAK: [&str; 2] = [env!("CARGO_BIN_EXE_azmutex"), "--version"];
pub(crate) const SPOKEN: &str = concat!("azmutex ", env!("CARGO_PKG_VERSION"), "\n");
/// For what takes milliseconds, on a machine that has much else to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// `azmutex`, in an environment without credentials.
pub(crate) fn azmutex() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_azmutex"));
    for name in ["CONNECTION_STRING", "ACCOUNT", "KEY", "SAS_TOKEN", "SERVICE_ENDPOINT"] {
        command.env_remove(format!("AZURE_STORAGE_{name}"));
    }
    command.env_remove("AZMUTEX_SERVICE_VERSION");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `azmutex run` on that emulator, with these options before the lock's name.
pub(crate) fn run(emulator: &Emulator, options: &[&str], line: &[&str]) -> Command {
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    command.arg("run").args(options).args([NAME, "--"]).args(line);
    command
}

/// `azmutex run` of that script.
pub(crate) fn script(emulator: &Emulator, options: &[&str], script: &str) -> Command {
    run(emulator, options, &["sh", "-c", script])
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("azmutex itself died: {output:?}"))
}

/// The signal that `azmutex` died of.
#[cfg(unix)]
pub(crate) fn died(status: &std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;

    status.signal().unwrap_or_else(|| panic!("azmutex did not die of a signal: {status:?}"))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lock, as another process on the emulator has it.
pub(crate) fn locker(emulator: &Emulator) -> Locker {
    Container::from_connection_string(&emulator.connection_string(), CONTAINER).unwrap().locker(NAME).unwrap()
}

pub(crate) fn break_lock(emulator: &Emulator) {
    emulator.break_lock(CONTAINER, NAME).unwrap();
}

/// Nobody has the lock: at once, and not after its lease.
pub(crate) fn assert_free(emulator: &Emulator) {
    locker(emulator).try_lock().expect("the lock is free").unlock().unwrap();
}

/// Whether nobody has the lock.
pub(crate) fn is_free(emulator: &Emulator) -> bool {
    locker(emulator).try_lock().is_ok_and(|guard| guard.unlock().is_ok())
}

/// Waits until `done`.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What the child says first, and the rest of its voice.
pub(crate) fn first_line(child: &mut Child) -> (String, ChildStdout) {
    let mut stdout = child.stdout.take().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    (String::from_utf8(line).unwrap(), stdout)
}

/// A file's name that no other test has; the file goes with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Scratch(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{}-{number}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
