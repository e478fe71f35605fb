//! A terminal with somebody at it: a pseudo-terminal, and an interactive shell whose only terminal it is.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::Emulator;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::processes::Stat;
use crate::support::{NAME, SOON, eventually};

pub(crate) struct Terminal {
    keyboard: Option<Arc<File>>,
    /// All that was shown so far.
    shown: Arc<Mutex<String>>,
    /// What has been expected already.
    seen: usize,
    shell: Child,
}

impl Terminal {
    /// At a shell's prompt, which is `$> `. In the shell `run` is `azmutex run NAME`.
    pub(crate) fn start(emulator: &Emulator, shell: &[&str]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let size = Winsize { ws_row: 50, ws_col: 1000, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).args(shell).stdin(open()).stdout(open()).stderr(open());
        command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        command.env("PS1", "$> ").env("ENV", "/dev/null").env("TERM", "dumb").env_remove("PROMPT_COMMAND");
        let shell = command.spawn().unwrap();
        drop(command);
        let shown = Arc::new(Mutex::new(String::new()));
        // Only one of its kind: when it is closed, the terminal is gone.
        let master = Arc::new(File::from(master));
        let (showing, screen) = (shown.clone(), Arc::downgrade(&master));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Some(mut screen) = screen.upgrade().as_deref() {
                match screen.read(&mut bytes) {
                    Ok(count @ 1..) => showing.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count])),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
                    Ok(0) | Err(_) => return,
                }
            }
        });
        let keyboard = Some(master);
        let mut terminal = Terminal { keyboard, shown, seen: 0, shell };
        terminal.expect("$> ");
        terminal.line(&format!("run() {{ {} run {NAME} \"$@\"; }}", env!("CARGO_BIN_EXE_azmutex")));
        terminal.expect("$> ");
        terminal
    }

    /// An interactive bash.
    pub(crate) fn bash(emulator: &Emulator) -> Terminal {
        Terminal::start(emulator, &["bash", "--norc", "--noprofile", "-i"])
    }

    pub(crate) fn keys(&mut self, keys: &str) {
        self.keyboard.as_deref().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\n"));
    }

    /// Runs it, and waits for the next prompt: what was shown between.
    pub(crate) fn run(&mut self, line: &str) -> String {
        self.line(line);
        // What is typed is shown, too.
        self.expect(line);
        self.expect("$> ")
    }

    /// Waits until it is shown: what was shown before it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let shown = self.shown.lock().unwrap().clone();
            if let Some(at) = shown[self.seen..].find(text) {
                let before = shown[self.seen..self.seen + at].to_owned();
                self.seen += at + text.len();
                return before;
            }
            assert!(start.elapsed() < SOON, "{text:?} is never shown:\n{shown}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The code of what ran last, as the shell has it.
    pub(crate) fn code(&mut self) -> i32 {
        self.line("echo \"co\"\"de=$?.\"");
        self.expect("code=");
        let code = self.expect(".").parse().unwrap();
        self.expect("$> ");
        code
    }

    /// Of the shell and its jobs.
    pub(crate) fn session(&self) -> i32 {
        self.shell.id() as i32
    }

    /// Waits until nothing is shown any more of what changes each second.
    pub(crate) fn expect_halt(&self) {
        let shown = || self.shown.lock().unwrap().len();
        eventually("a halt", || {
            let before = shown();
            thread::sleep(Duration::from_millis(2500));
            shown() == before
        });
    }

    /// Waits until a program of that name runs in the foreground: the keys are for it.
    pub(crate) fn expect_foreground(&self, name: &str) {
        let session = self.shell.id() as i32;
        let is_it =
            |stat: Stat| stat.session == session && stat.name == name && stat.has_terminal() && !stat.is_stopped();
        eventually(name, || Stat::all().any(is_it));
    }

    /// As when its window is closed; the shell ends then.
    pub(crate) fn close_and_wait(&mut self) {
        self.close();
        eventually("the shell's end", || self.shell.try_wait().unwrap().is_some());
    }

    /// As when its window is closed.
    pub(crate) fn close(&mut self) {
        self.keyboard = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
