//! Another program, with limits: for its time and for what it says.

use std::io::{self, ErrorKind, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use zeroize::Zeroizing;

use crate::clock;

/// Of each of its two outputs.
const LONGEST_OUTPUT: usize = 64 * 1024;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// For the last of what it said to come through the pipe. A process that it left behind may hold that open.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// How it went.
pub(super) struct Finished {
    pub(super) exit: Exit,
    pub(super) stdout: Zeroizing<Vec<u8>>,
    pub(super) stderr: Zeroizing<Vec<u8>>,
}

#[derive(Debug)]
pub(super) enum Exit {
    With(ExitStatus),
    /// It ended, but something else in this process asked for the status of all its children, and has it now.
    Unseen,
    /// It did not end in time, and was ended, with all that it had started.
    OutOfTime,
}

/// The program, and all that it starts.
#[cfg(not(windows))]
type Family = std::process::Child;
#[cfg(windows)]
type Family = Box<dyn process_wrap::std::ChildWrapper>;

/// Runs `command` with nothing to read, for no longer than `limit`.
pub(super) fn run(mut command: Command, limit: Duration) -> io::Result<Finished> {
    let end = clock::now().after(limit);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(command)?;
    #[cfg(not(windows))]
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    #[cfg(windows)]
    let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
    let (stdout, stderr) = match (Output::of(stdout), Output::of(stderr)) {
        (Ok(stdout), Ok(stderr)) => (stdout, stderr),
        (Err(error), _) | (_, Err(error)) => {
            kill(&mut child);
            return Err(error);
        }
    };
    let exit = loop {
        match child.try_wait() {
            Ok(None) if clock::now() < end => clock::sleep(LOOK_EVERY),
            Ok(None) => {
                kill(&mut child);
                break Exit::OutOfTime;
            }
            Ok(Some(status)) => break Exit::With(status),
            Err(_) => break Exit::Unseen,
        }
    };
    // What it left behind has no work to do for us, but is in the job that this process may be in, and would keep that.
    #[cfg(windows)]
    kill(&mut child);
    Ok(Finished { exit, stdout: stdout.take(), stderr: stderr.take() })
}

#[cfg(not(windows))]
fn start(mut command: Command) -> io::Result<Family> {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

/// In a job, which the program is in before its first instruction.
#[cfg(windows)]
fn start(command: Command) -> io::Result<Family> {
    process_wrap::std::CommandWrap::from(command).wrap(process_wrap::std::JobObject).spawn()
}

#[cfg(windows)]
fn kill(family: &mut Family) {
    if family.start_kill().is_ok() {
        let _ = family.inner_mut().wait();
    }
}

#[cfg(not(windows))]
fn kill(child: &mut Family) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        // The Azure CLI is a shell's child, which would go on without that shell.
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    if child.kill().is_ok() {
        let _ = child.wait();
    }
}

/// What comes out of a pipe, read as it comes.
struct Output {
    bytes: Arc<Mutex<Zeroizing<Vec<u8>>>>,
    /// Disconnects at the end.
    end: Receiver<()>,
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> io::Result<Output> {
        // Room for all of it, so that nothing of it is left behind where it grew.
        let bytes = Arc::new(Mutex::new(Zeroizing::new(Vec::with_capacity(LONGEST_OUTPUT))));
        let (ending, end) = bounded(0);
        let kept = bytes.clone();
        let read = move || {
            let _ending = ending;
            if let Some(pipe) = pipe {
                keep(pipe, &kept);
            }
        };
        std::thread::Builder::new().name("azmutex-output".into()).stack_size(64 * 1024).spawn(read)?;
        Ok(Output { bytes, end })
    }

    fn take(&self) -> Zeroizing<Vec<u8>> {
        let _ = self.end.recv_timeout(AFTERWARDS);
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All is read, lest the program wait for that; but not all is kept.
fn keep(mut pipe: impl Read, kept: &Mutex<Zeroizing<Vec<u8>>>) {
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        match pipe.read(&mut *chunk) {
            Ok(0) => return,
            Ok(count) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = LONGEST_OUTPUT - kept.len();
                kept.extend_from_slice(&chunk[..count.min(room)]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn shell(script: &str, limit: Duration) -> Finished {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, limit).unwrap()
    }

    #[test]
    fn both_outputs_and_the_status() {
        let finished = shell("cat; echo out; echo err >&2; exit 3", 30 * SECOND);
        assert_eq!((&**finished.stdout, &**finished.stderr), (&b"out\n"[..], &b"err\n"[..]));
        assert!(matches!(finished.exit, Exit::With(status) if status.code() == Some(3)), "{:?}", finished.exit);
    }

    #[test]
    fn who_does_not_end_is_ended_with_all_his_children() {
        let beats = std::env::temp_dir().join(format!("azmutex-beats-{}", std::process::id()));
        let script = format!("echo waiting >&2; (while :; do echo . >> '{}'; sleep 0.02; done); true", beats.display());
        let begun = clock::now();
        let finished = shell(&script, 2 * SECOND);
        assert!(matches!(finished.exit, Exit::OutOfTime) && &**finished.stderr == b"waiting\n");
        assert!(clock::now().since(begun) < 10 * SECOND);
        let count = || std::fs::read(&beats).unwrap().len();
        let counted = count();
        clock::sleep(SECOND / 2);
        assert_eq!(count(), counted, "a child goes on");
        std::fs::remove_file(&beats).unwrap();
    }

    #[test]
    fn too_much_output_is_read_and_not_kept() {
        let finished = shell("head -c 10000000 /dev/zero; echo done >&2", 60 * SECOND);
        assert_eq!(finished.stdout.len(), LONGEST_OUTPUT);
        assert!(matches!(finished.exit, Exit::With(status) if status.success()) && &**finished.stderr == b"done\n");
    }

    #[test]
    fn who_leaves_a_process_behind_has_ended_all_the_same() {
        let begun = clock::now();
        let finished = shell("sleep 20 & echo out", 60 * SECOND);
        assert!(matches!(finished.exit, Exit::With(status) if status.success()) && &**finished.stdout == b"out\n");
        assert!(clock::now().since(begun) < 15 * SECOND);
    }
}

#[cfg(test)]
#[cfg(windows)]
mod tests {
    use std::fs;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A directory with these scripts in it.
    struct Scripts(std::path::PathBuf);

    impl Scripts {
        fn new(name: &str, scripts: &[(&str, &str)]) -> Scripts {
            let directory = std::env::temp_dir().join(format!("azmutex-{name}-{}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            for (name, script) in scripts {
                fs::write(directory.join(name), format!("@echo off\r\n{}\r\n", script.replace('\n', "\r\n"))).unwrap();
            }
            Scripts(directory)
        }

        fn run(&self, limit: Duration) -> Finished {
            let mut command = Command::new(self.0.join("az.cmd"));
            command.current_dir(&self.0);
            run(command, limit).unwrap()
        }
    }

    impl Drop for Scripts {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn both_outputs_and_the_status() {
        let finished = Scripts::new("outputs", &[("az.cmd", "echo out\necho err>&2\nexit /b 3")]).run(60 * SECOND);
        assert_eq!((&**finished.stdout, &**finished.stderr), (&b"out\r\n"[..], &b"err\r\n"[..]));
        assert!(matches!(finished.exit, Exit::With(status) if status.code() == Some(3)), "{:?}", finished.exit);
    }

    #[test]
    fn who_does_not_end_is_ended_with_all_his_children() {
        let beat = "if not exist beats echo . > beats\n:again\necho . >> beats\ngoto again";
        let scripts = Scripts::new("beats", &[("az.cmd", "cmd /c beat.cmd\necho no"), ("beat.cmd", beat)]);
        let beats = scripts.0.join("beats");
        let finished = scripts.run(10 * SECOND);
        assert!(matches!(finished.exit, Exit::OutOfTime) && finished.stdout.is_empty(), "{:?}", finished.exit);
        let count = || fs::read(&beats).unwrap().len();
        let counted = count();
        clock::sleep(SECOND);
        assert_eq!(count(), counted, "a child goes on");
    }
}
