//! A process group, which a warden ends if this process is killed.

use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use azmutex::LockGuard;
use azmutex::crossbeam_channel::{after, select};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGCONT, SIGKILL, SIGTSTP};
use signal_hook::flag;

use super::census;
use super::warden::{self, Warden};
use crate::arguments::Run;
use crate::exit::Failure;
use crate::run::lock::{self, Lock};
use crate::tell::Voice;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long it may take to find out who has left the group, while that has to end; and who is left, when nothing hurries.
const FIND_STRAYS: Duration = Duration::from_millis(100);
const FIND_LEFT: Duration = Duration::from_secs(5);
/// How often it is looked whether those are gone that are waited for.
const LOOK_FOR_LEFT: Duration = Duration::from_millis(500);
/// How long those that were killed may take; they may also stay as zombies, if nobody reaps orphans here.
const DYING: Duration = Duration::from_millis(100);

/// Where the command is to be.
pub(crate) struct Enclosure(Warden);

impl Enclosure {
    pub(crate) fn new(_: &Voice) -> Result<Enclosure, Failure> {
        // A key would stop this process, and not the command, which is in another group: it would go on without the lock.
        flag::register(SIGTSTP, Arc::default()).map_err(|error| Failure::system("listen for signals", &error))?;
        let warden = warden::warden().and_then(|mut warden| Enclosure::with(&mut warden));
        warden.map_err(|error| Failure::system("start a warden", &error))
    }

    fn with(warden: &mut Command) -> io::Result<Enclosure> {
        Warden::start(warden).map(Enclosure)
    }

    pub(crate) fn start(self, arguments: &Run, lock: &Lock, guard: &LockGuard) -> io::Result<Group> {
        let words = arguments.command();
        let (program, rest) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        lock::tell(&mut command, lock, guard, census::itself());
        command.args(rest);
        if io::stdin().is_terminal() {
            // A group in the background that reads from its terminal is stopped, and would keep the lock for ever.
            command.stdin(Stdio::null());
        }
        self.spawn(&mut command)
    }

    fn spawn(mut self, command: &mut Command) -> io::Result<Group> {
        if self.0.has_ended() {
            return Err(io::Error::other("the warden ended while it waited for the lock"));
        }
        let group = self.0.group();
        let child = command.process_group(group.as_raw_nonzero().get()).spawn()?;
        let mut group = Group { child, group, warden: self.0 };
        if let Err(error) = group.warden.command_is_in() {
            group.end_group(SIGKILL, Duration::ZERO, |_| {});
            return Err(error);
        }
        Ok(group)
    }
}

/// The command, and all that it started.
pub(crate) struct Group {
    child: Child,
    group: Pid,
    warden: Warden,
}

impl Group {
    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_none() && self.warden.has_ended() {
            return Err(io::Error::other("the warden was killed, so the command was ended"));
        }
        Ok(status)
    }

    pub(crate) fn signal(&self, signal: i32) {
        // One that is stopped could not obey, as whoever asks a terminal that it does not have.
        for signal in [signal, SIGCONT].into_iter().filter_map(Signal::from_named_raw) {
            // It fails if all have ended, which is the end that was meant.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// Asks all of it to end, sees to it when the grace is over, and waits until it is gone. Those that cannot be ended, and
    /// who had left the group, are told.
    pub(crate) fn end(&mut self, asking: i32, grace: Duration, voice: &Voice) {
        // Before those end by whom they can be found.
        let strays = census::strays(self.child.id(), self.group, FIND_STRAYS);
        if !strays.is_empty() {
            let text = format!("outside of the command's process group, and not ended: {}", strays.join(", "));
            voice.happened("not_ended", text);
        }
        self.end_group(asking, grace.saturating_sub(FIND_STRAYS), |left| {
            voice.happened("not_ended", format!("waited for: {}", left.join(", ")));
        });
    }

    fn end_group(&mut self, asking: i32, grace: Duration, tell: impl FnOnce(&[String])) {
        self.signal(asking);
        self.wait_until_gone(grace);
        self.signal(SIGKILL);
        // It may have left the group.
        let _ = self.child.kill();
        self.wait_until_gone(DYING);
        let mut tell = Some(tell);
        while self.is_left() {
            let left = self.left();
            if left.is_empty() {
                break;
            }
            if let Some(tell) = tell.take() {
                tell(&left);
            }
            let _ = after(LOOK_FOR_LEFT).recv();
        }
        let _ = self.child.wait();
    }

    fn wait_until_gone(&mut self, grace: Duration) {
        let too_late = after(grace);
        while self.is_left() {
            select! {
                recv(too_late) -> _ => return,
                default(LOOK_EVERY) => {}
            }
        }
    }

    /// Whether any process of the group is left.
    pub(crate) fn is_left(&mut self) -> bool {
        let command_is = matches!(self.child.try_wait(), Ok(None));
        command_is || test_kill_process_group(self.group) != Err(Errno::SRCH)
    }

    pub(crate) fn left(&self) -> Vec<String> {
        census::members(self.group, FIND_LEFT)
    }

    /// After its end: what is left of it goes on. Those are named.
    pub(crate) fn let_go(&mut self) -> io::Result<Vec<String>> {
        let left = if self.is_left() { self.left() } else { Vec::new() };
        self.warden.end();
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{BufRead, BufReader, Read};

    use azmutex::crossbeam_channel::bounded;
    use rustix::process::{getpgid, kill_process};

    use super::*;

    /// What this program is when a test starts it again.
    const PART: &str = "AZMUTEX_TEST_PART";
    const SOON: Duration = Duration::from_secs(20);

    fn again(part: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["run::unix::enclosure::tests::player", "--exact", "--nocapture"]).env(PART, part);
        command
    }

    /// No test, but what the tests start.
    #[test]
    fn player() {
        match env::var(PART).as_deref() {
            Ok("warden") => warden::watch(&mut again("leader")).unwrap(),
            Ok("leader") => warden::lead().unwrap(),
            Ok("azmutex") => {
                let _group = group("sleep 600 & echo up >&2; wait");
                after(10 * SOON).recv().unwrap();
            }
            _ => {}
        }
    }

    /// A group of that script, beside which one warden is this program.
    fn group(script: &str) -> Group {
        group_of(Command::new("sh").args(["-c", script]))
    }

    fn group_of(command: &mut Command) -> Group {
        let enclosure = Enclosure::with(&mut again("warden")).unwrap();
        enclosure.spawn(command.stdin(Stdio::null()).stdout(Stdio::null())).unwrap()
    }

    fn status(group: &mut Group) -> io::Result<ExitStatus> {
        for _ in 0..1000 {
            if let Some(status) = group.ended()? {
                return Ok(status);
            }
            after(LOOK_EVERY).recv().unwrap();
        }
        panic!("it does not end");
    }

    /// Orphans may still have to be reaped.
    fn assert_gone(group: &mut Group) {
        group.wait_until_gone(SOON);
        assert!(!group.is_left());
    }

    /// A process that was named.
    fn kill(named: &str) {
        let id = named.rsplit_once('(').unwrap().1.trim_end_matches(')').parse().unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn when_azmutex_is_killed_the_group_is() {
        killed(|azmutex| kill_process(azmutex, Signal::KILL));
    }

    /// As a shell does with a job.
    #[test]
    fn when_all_of_azmutex_s_group_is_killed_the_commands_is() {
        killed(|azmutex| kill_process_group(azmutex, Signal::KILL));
    }

    fn killed(kill: impl FnOnce(Pid) -> rustix::io::Result<()>) {
        let mut azmutex = again("azmutex");
        azmutex.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut azmutex = azmutex.spawn().unwrap();
        // Of all of them but the warden.
        let mut stderr = BufReader::new(azmutex.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let (ending, end) = bounded::<()>(0);
        std::thread::spawn(move || {
            let _ = (ending, stderr.read_to_end(&mut Vec::new()));
        });
        assert!(end.recv_timeout(Duration::from_millis(300)).unwrap_err().is_timeout(), "it ended by itself");
        kill(Pid::from_child(&azmutex)).unwrap();
        azmutex.wait().unwrap();
        assert!(end.recv_timeout(SOON).unwrap_err().is_disconnected(), "somebody is left");
    }

    #[test]
    fn all_of_it_ends_and_who_left_the_group_is_named() {
        let mut group = group("trap '' TERM; setsid sleep 601 & sleep 602 & wait");
        let named = loop {
            // They may not have started yet.
            match census::strays(group.child.id(), group.group, SOON) {
                strays if strays.is_empty() => {}
                strays => break strays,
            }
        };
        group.end_group(15, Duration::from_millis(500), |refused| panic!("{refused:?}"));
        assert_gone(&mut group);
        assert_eq!(named.len(), 1, "{named:?}");
        kill(&named[0]);
    }

    #[test]
    fn a_command_that_left_its_group_is_ended_too() {
        let mut group = group_of(Command::new("setsid").args(["sleep", "605"]));
        let command = Pid::from_child(&group.child);
        for _ in 0..1000 {
            if getpgid(Some(command)).unwrap() != group.group {
                break;
            }
            after(LOOK_EVERY).recv().unwrap();
        }
        group.end_group(15, Duration::from_millis(200), |left| panic!("{left:?}"));
        assert!(group.ended().unwrap().is_some());
    }

    #[test]
    fn what_is_left_behind_is_named_and_let_go() {
        let mut group = group("sleep 603 & exit 3");
        assert_eq!(status(&mut group).unwrap().code(), Some(3));
        let left = group.let_go().unwrap();
        assert!(left.len() == 1 && left[0].starts_with("sleep ("), "{left:?}");
        assert!(group.is_left());
        kill(&left[0]);
    }

    #[test]
    fn nothing_is_left_of_a_command_that_leaves_nothing() {
        let mut group = group("exit 0");
        assert!(status(&mut group).unwrap().success());
        assert_eq!(group.let_go().unwrap(), [""; 0]);
        assert_gone(&mut group);
    }

    #[test]
    fn without_its_warden_a_command_is_not_left_alone() {
        let mut group = group("sleep 604");
        kill_process(group.warden.id(), Signal::KILL).unwrap();
        let error = status(&mut group).unwrap_err();
        assert!(error.to_string().starts_with("the warden was killed"), "{error}");
        group.end_group(15, Duration::from_secs(1), |_| {});
        assert_gone(&mut group);
    }
}
