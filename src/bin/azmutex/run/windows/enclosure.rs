//! A job that this process is in, too: the system ends all of it when this process ends, however that comes about. Within
//! it is a job of the command, which can be ended while this process goes on.

use std::ffi::OsString;
use std::io;
use std::os::windows::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use azmutex::LockGuard;
use azmutex::crossbeam_channel::after;
use process_wrap::std::{ChildWrapper, CommandWrap, JobObject};
use win32job::{ExtendedLimitInfo, Job, JobError};

use super::{processes, search};
use crate::arguments::Run;
use crate::exit::Failure;
use crate::run::lock::{self, Lock};
use crate::tell::Voice;

/// How long those that were ended may take.
const DYING: Duration = Duration::from_secs(1);
/// How often it is looked whether those that were ended are gone.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What is started from now on. It is never closed, as this process would end then: the system closes it afterwards.
#[derive(Copy, Clone)]
pub(crate) struct Enclosure(Option<&'static Job>);

impl Enclosure {
    /// Where there can be none, that is told.
    pub(crate) fn new(voice: &Voice) -> Result<Enclosure, Failure> {
        Ok(Enclosure(join().map_err(|error| voice.happened("no_job", no_job(error))).ok()))
    }

    pub(crate) fn start(self, arguments: &Run, lock: &Lock, guard: &LockGuard) -> io::Result<Group> {
        let mut command = command(arguments)?;
        lock::tell(&mut command, lock, guard, processes::itself());
        self.spawn(command)
    }

    fn spawn(self, command: Command) -> io::Result<Group> {
        let mut command = CommandWrap::from(command);
        if self.0.is_some() {
            command.wrap(JobObject);
        }
        Ok(Group { child: command.spawn()?, enclosure: self, has_ended: false })
    }

    /// Those in it beside this process.
    fn others(self) -> Result<Vec<usize>, JobError> {
        let own = usize::try_from(std::process::id()).unwrap_or_default();
        let all = self.0.map_or(Ok(Vec::new()), Job::query_process_id_list)?;
        Ok(all.into_iter().filter(|id| *id != own).collect())
    }
}

fn join() -> Result<&'static Job, JobError> {
    let mut limits = ExtendedLimitInfo::new();
    let job = Box::leak(Box::new(Job::create_with_limit_info(limits.limit_kill_on_job_close())?));
    job.assign_current_process()?;
    Ok(job)
}

fn no_job(error: JobError) -> String {
    format!(
        "no job can be made here, so only the command itself can be ended, not what it starts: {}",
        io::Error::from(error)
    )
}

fn command(arguments: &Run) -> io::Result<Command> {
    if let Some(line) = &arguments.line {
        // As it is: its quotes are the shell's, which takes away the outermost.
        let mut quoted = OsString::from("\"");
        quoted.push(line);
        quoted.push("\"");
        let mut command = Command::new("cmd");
        command.raw_arg("/S").raw_arg("/C").raw_arg(quoted);
        return Ok(command);
    }
    let words = arguments.command();
    let (program, rest) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(search::program(program).ok_or(io::ErrorKind::NotFound)?);
    command.args(rest);
    Ok(command)
}

/// The command, and all that it started.
pub(crate) struct Group {
    child: Box<dyn ChildWrapper>,
    enclosure: Enclosure,
    has_ended: bool,
}

impl Group {
    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.has_ended = status.is_some();
        Ok(status)
    }

    /// ^C reaches the command as well as us. Once that has ended, it is for what is waited for still.
    pub(crate) fn signal(&mut self, _: i32) {
        if self.has_ended {
            let _ = self.child.start_kill();
        }
    }

    /// Whether anything is left that the command started.
    pub(crate) fn is_left(&self) -> bool {
        // An error is of too many to be listed.
        !self.enclosure.others().is_ok_and(|others| others.is_empty())
    }

    pub(crate) fn left(&self) -> Vec<String> {
        self.enclosure.others().map_or_else(|_| vec!["many".to_owned()], |others| processes::named(&others))
    }

    /// Ends all of it at once, as there is nothing by which it could be asked, and waits until all of it is gone. What takes
    /// long is told: the Azure CLI, if that runs just then, or what hangs.
    pub(crate) fn end(&mut self, _: i32, _: Duration, voice: &Voice) {
        // It fails if all have ended, which is the end that was meant.
        let _ = self.child.start_kill();
        let _ = self.child.inner_mut().wait();
        let too_long = after(DYING);
        while self.is_left() {
            let _ = after(LOOK_EVERY).recv();
            if too_long.try_recv().is_ok() {
                voice.happened("not_ended", format!("waited for: {}", self.left().join(", ")));
            }
        }
    }

    /// After its end: what it left behind may go on when this process has ended, too. Those are named.
    pub(crate) fn let_go(&mut self) -> io::Result<Vec<String>> {
        if let Some(job) = self.enclosure.0 {
            job.set_extended_limit_info(&ExtendedLimitInfo::new())?;
        }
        Ok(self.left())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::sync::Mutex;

    use clap::Parser;

    use super::*;
    use crate::arguments::{Action, Arguments};

    fn voice() -> Voice {
        let arguments = ["azmutex", "run", "lock", "command"];
        let Action::Run(run) = Arguments::try_parse_from(arguments).unwrap().action else { panic!("it is no run") };
        Voice::start(run.telling, false).unwrap()
    }

    /// What one of them starts is in the other's job, too, which is this process's.
    static ALONE: Mutex<()> = Mutex::new(());

    /// It waits for a line that never comes.
    fn waits(line: &str) -> Command {
        let mut command = Command::new("cmd");
        command.args(["/c", line]).stdin(Stdio::piped());
        command
    }

    #[test]
    fn whoever_was_ended_is_gone_with_all_that_it_started() {
        let _alone = ALONE.lock();
        let enclosure = Enclosure(Some(join().unwrap()));
        let mut group = enclosure.spawn(waits("cmd /c set /p line=")).unwrap();
        for _ in 0..30_000 {
            if enclosure.others().unwrap().len() > 1 {
                break;
            }
            let _ = after(LOOK_EVERY).recv();
        }
        assert!(enclosure.others().unwrap().len() > 1, "it has no child");
        group.end(15, Duration::ZERO, &voice());
        assert_eq!(enclosure.others().unwrap(), [0; 0]);
        // So that this process may leave others behind, too.
        assert!(group.let_go().unwrap().is_empty());
    }

    #[test]
    fn without_a_job_the_command_itself_is_ended() {
        let _alone = ALONE.lock();
        let mut group = Enclosure(None).spawn(waits("set /p line=")).unwrap();
        assert!(group.ended().unwrap().is_none() && group.let_go().unwrap().is_empty());
        group.end(15, Duration::ZERO, &voice());
        assert!(group.ended().unwrap().is_some());
    }

    #[test]
    fn why_there_is_no_job_is_told() {
        let error = JobError::AssignFailed(io::Error::other("access denied"));
        assert!(no_job(error).ends_with("not what it starts: access denied"));
    }
}
