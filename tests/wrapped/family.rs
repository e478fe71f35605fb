//! A command with all that it starts.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::Emulator;
use azmutex::{AzureMutex, Container, Locker};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const NAME: &str = "nightly-report";
pub(crate) const LEASE: &str = "15";

/// It is deaf to TERM, and has a child, one that left the session, one by a double fork, one in a group of its own, and a
/// chain of which each link starts the next one and ends.
const SPREADING: &str = "
    trap '' TERM
    sleep 1000 &
    setsid sleep 1000 &
    (setsid sh -c 'sleep 1000 &' &)
    timeout 1000 sleep 1000 &
    link() { sleep 0.02; link & exit; }
    (link &)
    echo up
    while :; do sleep 0.1; done
";

pub(crate) fn mutex(emulator: &Emulator) -> AzureMutex {
    Container::from_connection_string(&emulator.connection_string(), "locks").unwrap().mutex(NAME).unwrap()
}

pub(crate) fn locker(emulator: &Emulator) -> Locker {
    Locker::new(mutex(emulator))
}

pub(crate) struct Family {
    pub(crate) front: Child,
    warden: Pid,
    /// It is read until its end, which is that of the last of them: here, without waiting, and by a thread that does
    /// nothing else, so that the instant is known as well as a busy machine allows.
    reader: File,
    end: Receiver<Instant>,
    pipe: PathBuf,
}

impl Family {
    /// On one processor, if it is to share that with others.
    pub(crate) fn start(emulator: &Emulator, script: &str, processor: Option<&str>) -> Family {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wrapped-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let pipe = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&pipe);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = OpenOptions::new().read(true).custom_flags(0o4000).open(&pipe).unwrap(); // nonblocking
        let (sender, end) = mpsc::channel();
        let path = pipe.clone();
        thread::spawn(move || {
            let mut pipe = File::open(path).unwrap();
            while let Ok(1..) = pipe.read(&mut [0; 64]) {}
            let _ = sender.send(Instant::now());
        });
        let program = env!("CARGO_BIN_EXE_azmutex");
        let mut command = match processor {
            None => Command::new(program),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", processor, program]);
                command
            }
        };
        command.args(["run", "--quiet", "--lease", LEASE, NAME, "sh", "-c"]);
        command.arg(format!("exec 9> {}; {script}", pipe.display()));
        command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut front = command.spawn().unwrap();
        let mut up = [0; 3];
        front.stdout.take().unwrap().read_exact(&mut up).unwrap();
        assert_eq!(&up, b"up\n");
        let pid = Pid::from_child(&front).as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let warden = Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap()).unwrap();
        Family { front, warden, reader, end, pipe }
    }

    pub(crate) fn spreading(emulator: &Emulator, processor: Option<&str>) -> Family {
        Family::start(emulator, SPREADING, processor)
    }

    pub(crate) fn front(&self) -> Pid {
        Pid::from_child(&self.front)
    }

    pub(crate) fn warden(&self) -> Pid {
        self.warden
    }

    /// Whether all of it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!((&self.reader).read(&mut [0; 64]), Ok(0))
    }
}

impl Family {
    /// When the thread saw that.
    pub(crate) fn end(&self) -> Instant {
        self.end.recv_timeout(Duration::from_secs(60)).expect("the family ends")
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // Before its number can be another's: it is a child of the front, which has not been waited for.
        let name = fs::read_to_string(format!("/proc/{}/comm", self.warden.as_raw_nonzero()));
        if name.is_ok_and(|name| name.starts_with("azmutex-warden")) {
            let _ = kill_process(self.warden, Signal::KILL);
        }
        let _ = kill_process(self.front(), Signal::KILL);
        let _ = self.front.wait();
        let _ = fs::remove_file(&self.pipe);
    }
}
