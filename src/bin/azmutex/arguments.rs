//! What can be said on the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::exit;

/// Runs a command under a lock that all who share an Azure storage account see.
#[derive(Parser)]
#[command(name = "azmutex", version, after_help = exit::help())]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    Run(Box<Run>),
    Hold(Box<Hold>),
    Status(Status),
    Break(Break),
    Doctor(Doctor),
    Emulator(Emulator),
    /// Prints a script with which a shell completes the arguments.
    Completions {
        shell: clap_complete::Shell,
    },
    /// Prints the manual page of azmutex, or of one of its subcommands.
    Man {
        /// Name of a subcommand.
        subcommand: Option<String>,
    },
}

/// Where the locks are: without these options the environment says it, which the help tells of at its end.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Where the lock is")]
pub(crate) struct Place {
    /// File that holds the account's connection string [env: AZMUTEX_CONNECTION_STRING_FILE].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["account", "container_url", "sas_file"])]
    pub(crate) connection_string_file: Option<PathBuf>,
    /// Storage account, in the public cloud [env: AZMUTEX_ACCOUNT].
    #[arg(long, value_name = "NAME", conflicts_with = "container_url")]
    pub(crate) account: Option<String>,
    /// URL of the container, without a signature, which would be a secret that others see [env: AZMUTEX_CONTAINER_URL].
    #[arg(long, value_name = "URL", conflicts_with = "container")]
    pub(crate) container_url: Option<String>,
    /// File that holds a shared access signature [env: AZMUTEX_SAS_FILE].
    #[arg(long, value_name = "FILE")]
    pub(crate) sas_file: Option<PathBuf>,
    /// Container that the lock is in; made if it does not exist. `locks` by default [env: AZMUTEX_CONTAINER].
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Allow plain http to another machine, with an account's key: for an emulator on a private network
    /// [env: AZMUTEX_ALLOW_HTTP=1].
    #[arg(long)]
    pub(crate) allow_http: bool,
    /// Use an emulator inside this process, which nobody else sees; for a first look.
    #[arg(long, conflicts_with_all = ["connection_string_file", "account", "container_url", "sas_file"])]
    pub(crate) emulator: bool,
}

/// What is told, on stderr.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "What is told")]
pub(crate) struct Telling {
    /// Print only why a command could not be run, or was ended; nothing of a run that is skipped.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Tell all that happens to the lock.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Tell it so; `json` is one object a line, with all that happens.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log: Log,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    #[default]
    Text,
    Json,
}

/// How long the lock is waited for.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Waiting")]
pub(crate) struct Waiting {
    /// Do not wait: take the lock if nobody has it.
    #[arg(short, long, conflicts_with = "wait")]
    pub(crate) nonblock: bool,
    /// Wait no longer than this, such as 90, 5m or 1h30m; 0 is not at all. Waits forever by default.
    #[arg(short, long, alias = "timeout", value_name = "TIME", value_parser = wait)]
    wait: Option<Wait>,
}

impl Waiting {
    /// `None` is for ever.
    pub(crate) fn limit(&self) -> Option<Duration> {
        match self.wait {
            _ if self.nonblock => Some(Duration::ZERO),
            Some(Wait::For(time)) => Some(time),
            Some(Wait::Forever) | None => None,
        }
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Wait {
    For(Duration),
    Forever,
}

/// What is left in the metadata of the lock's blob.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "What is left for others")]
pub(crate) struct Leaving {
    /// What those who wait are told of who has the lock, beside this host and process: by default what COMMAND is called, or
    /// `azmutex hold`.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Leave no card, and take no fencing token: for a credential that may not read and write the lock's blob, or a blob
    /// with metadata of others.
    #[arg(long)]
    pub(crate) no_card: bool,
}

impl Leaving {
    /// What was said.
    pub(crate) fn said(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// What is left says so.
    pub(crate) fn label(&self, command: &[OsString]) -> String {
        let of_command = || {
            let program = command.first().map(Path::new).and_then(Path::file_name);
            program.unwrap_or_default().to_string_lossy().into_owned()
        };
        self.label.clone().unwrap_or_else(of_command)
    }
}

/// Takes the lock NAME, runs COMMAND, and releases the lock.
///
/// COMMAND finds the name of the lock in AZMUTEX_LOCK, the id of the lease in AZMUTEX_LEASE_ID and its fencing token, a
/// number that grows from hold to hold, in AZMUTEX_FENCING_TOKEN. At a terminal it is as
/// if it ran alone: it can ask, and ^C, ^Z and ^\ reach it; while it is stopped, it keeps the lock. Signals that other
/// processes send to azmutex are passed on, but for real-time ones, which end it, and COMMAND with it.
///
/// When the lock cannot be renewed, COMMAND and all that it started get TERM, and KILL a quarter of a second before
/// anybody else could have the lock; also if azmutex itself is killed, stopped or starved. What cannot be ended so:
/// processes of another user (use `sudo azmutex run`, not `azmutex run ... sudo`), which is told, and the lock is not
/// released before they end; what another program starts for COMMAND, such as systemd or a container engine; and what hangs
/// in the middle of a disk access. If azmutex and its warden (its second process) are both killed or stopped, or one of them
/// each, only COMMAND itself ends, and not what it started. Where there is no /proc, only COMMAND itself is ended.
///
/// What COMMAND leaves behind in its session keeps the lock until it ends. What left that session, as daemons do, is named
/// and let go.
///
/// All this is so on Linux. On Windows COMMAND and all that it started are ended, too (a job), but at once and without a
/// signal; Ctrl-C and Ctrl-Break reach it, and what it leaves behind is named and let go. On macOS it is a process group:
/// what leaves that is named, and not ended; ^Z stops nothing, and COMMAND cannot read from the terminal. On both,
/// nothing is ended as long as azmutex is stopped or starved.
#[derive(Args, Clone)]
#[command(after_help = exit::help())]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) telling: Telling,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Exit with this code, instead of 75, when the lock was not obtained.
    #[arg(short = 'E', long, value_name = "CODE", help_heading = "Waiting")]
    pub(crate) conflict_exit_code: Option<u8>,
    /// Do nothing, and exit with 0, when somebody else has the lock.
    #[arg(long, help_heading = "Waiting", conflicts_with_all = ["conflict_exit_code", "nonblock", "wait"])]
    pub(crate) skip_if_held: bool,
    /// Run this line by a shell: `/bin/sh -c`, on Windows `cmd /C`.
    #[arg(short = 'c', long = "command", value_name = "LINE", conflicts_with = "words")]
    pub(crate) line: Option<OsString>,
    /// How long the lock stays taken if this machine dies: 15s to 60s, in whole seconds.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) lease: Duration,
    /// From the signal that asks COMMAND to end to KILL, when the lock is lost: a fifth of the lease at most, 2s by
    /// default; 0 is KILL at once.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) grace: Option<Duration>,
    /// The signal that asks COMMAND to end when the lock is lost.
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM")]
    pub(crate) signal: String,
    /// Name of the lock.
    pub(crate) name: String,
    /// Run COMMAND only if its last run that exited with 0 began longer ago than this, less a tenth: `--once-per 24h` on ten
    /// machines runs it once a day. Otherwise do nothing, and exit with 0. Runs with the same --label count; without one,
    /// those of the same command with the same arguments.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "no_card")]
    pub(crate) once_per: Option<Duration>,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
    /// What to run, and its arguments. The options of azmutex end at the first word after NAME that is none, or at `--`.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "line",
        value_names = ["COMMAND", "ARGS"],
        num_args = 1..
    )]
    words: Vec<OsString>,
}

impl Run {
    /// What to run.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let shell = if cfg!(windows) { ["cmd", "/C"] } else { ["/bin/sh", "-c"] };
        match &self.line {
            Some(line) => shell.into_iter().map(OsString::from).chain([line.clone()]).collect(),
            None => self.words.clone(),
        }
    }

    /// `None` is for ever.
    pub(crate) fn limit(&self) -> Option<Duration> {
        if self.skip_if_held { Some(Duration::ZERO) } else { self.waiting.limit() }
    }
}

/// Takes the lock NAME and holds it, for a script that cannot be run under it.
///
/// Prints a line `ready LEASE-ID TOKEN` when the lock is there. Holds it until stdin ends, or until the process that `--pid`
/// names, or else its parent, has ended; then releases it. When the lock is lost, exits with 70, and ends nothing but what
/// --kill-on-loss names. THIS IS LESS THAN `azmutex run` PROMISES: what the script does in the meantime is not ended
/// before somebody else has the lock.
///
/// On Windows it lasts as long as stdin, which has to be a pipe; --fd, --pid and --kill-on-loss are for Unix.
#[derive(Args, Clone)]
#[command(after_help = exit::help())]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) telling: Telling,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// How long the lock stays taken if this machine dies: 15s to 60s, in whole seconds.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) lease: Duration,
    /// Say when the lock is there on this open file descriptor, instead of stdout.
    #[arg(long, value_name = "N")]
    pub(crate) fd: Option<u32>,
    /// Hold the lock until this process ends, instead of the parent or the end of stdin.
    #[arg(long, value_name = "PID", value_parser = value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
    /// Kill this process when the lock is lost. It has to be there from the start.
    #[arg(long, value_name = "PID", value_parser = value_parser!(i32).range(1..))]
    pub(crate) kill_on_loss: Option<i32>,
    /// Name of the lock.
    pub(crate) name: String,
}

/// Says whether somebody has a lock, and what its last holder left.
///
/// Exits with 0, whether somebody has it or not. The last card is the holder's only if all who use the lock leave one.
#[derive(Args)]
#[command(after_help = exit::help())]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) place: Place,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Look every second, and tell what changes, until it is stopped.
    #[arg(long)]
    pub(crate) watch: bool,
    /// All locks of the container.
    #[arg(long, conflicts_with_all = ["names", "watch"])]
    pub(crate) all: bool,
    /// Names of locks.
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Breaks the lease of whoever has the lock NAME.
///
/// The holder can renew it no more, learns of that at its next renewal, and the lock is free when the lease has run out: so
/// nobody has it together with the holder. With --force it is free at once, and for some seconds two may work under one
/// lock. Exits with 75 if it was not broken, because the token is another, or the answer was no.
#[derive(Args)]
#[command(after_help = exit::help())]
pub(crate) struct Break {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Free the lock at once, although its holder may go on for some seconds.
    #[arg(long)]
    pub(crate) force: bool,
    /// Only if this is still the last fencing token, as `azmutex status` shows it.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) if_token: Option<u64>,
    /// Do not ask. Needed where there is no terminal to ask on.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Name of the lock.
    pub(crate) name: String,
}

/// Says whether locking would work: reaches the account, is let in, and has the rights.
///
/// Takes the lock NAME for a moment, if nobody has it, and leaves an empty blob of that name and its container behind.
/// Exits with 0 if it can lock, be it with a warning.
#[derive(Args)]
#[command(after_help = exit::help())]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) place: Place,
    /// How long a lease is meant to last: 15s to 60s, in whole seconds.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) lease: Duration,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Name of the lock.
    #[arg(default_value = "azmutex-doctor")]
    pub(crate) name: String,
}

/// Serves an emulator of the Blob service on this machine, until it is stopped.
///
/// Prints its connection string. On the default port,
/// AZURE_STORAGE_CONNECTION_STRING=UseDevelopmentStorage=true reaches it.
#[derive(Args)]
pub(crate) struct Emulator {
    /// Port of 127.0.0.1 to listen on; 0 is any that is free.
    #[arg(long, default_value_t = 10000, value_name = "N")]
    pub(crate) port: u16,
}

fn wait(text: &str) -> Result<Wait, String> {
    if text == "forever" { Ok(Wait::Forever) } else { time(text).map(Wait::For) }
}

/// `90`, `1.5`, `5m`, `1h30m`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("it is like 90, 1.5s, 5m or 1h30m, not {text:?}");
    let (mut sum, mut rest) = (0.0, text);
    let mut last_unit = f64::INFINITY;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit_end = rest[end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |at| end + at);
        let unit = match &rest[end..unit_end] {
            "d" => 86400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "" if rest.len() == text.len() => 1.0,
            "ms" => 0.001,
            _ => return Err(wrong()),
        };
        if unit >= last_unit {
            return Err(wrong());
        }
        sum += number * unit;
        (rest, last_unit) = (&rest[unit_end..], unit);
    }
    if text.is_empty() { Err(wrong()) } else { Duration::try_from_secs_f64(sum).map_err(|_| wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let millis = |text| time(text).map(|time| time.as_millis());
        for (text, expected) in [
            ("0", 0),
            ("90", 90_000),
            ("1.5", 1500),
            ("1.5s", 1500),
            ("200ms", 200),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1m0.5s", 60_500),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for bad in ["", "-1", "soon", "nan", "inf", "1e40", "5 m", "1h30", "1m1m", "1m1h", "m", "5M", "1..5"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert_eq!(wait("forever"), Ok(Wait::Forever));
    }

    fn run(line: &[&str]) -> Run {
        match Arguments::try_parse_from(["azmutex", "run"].iter().chain(line)).map(|arguments| arguments.action) {
            Ok(Action::Run(run)) => *run,
            Ok(_) => panic!("no run"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn options_end_at_the_first_word_after_the_name() {
        for line in [&["-n", "job", "tar", "-v", "--wait", "x"][..], &["-n", "job", "--", "tar", "-v", "--wait", "x"]] {
            let run = run(line);
            assert_eq!(run.command(), ["tar", "-v", "--wait", "x"]);
            assert_eq!((run.limit(), run.telling.verbose), (Some(Duration::ZERO), false));
        }
        assert_eq!(run(&["job", "--", "--odd"]).command(), ["--odd"]);
        assert_eq!(run(&["job", "sh", "--", "x"]).command(), ["sh", "--", "x"]);
    }

    #[test]
    fn a_line_is_for_a_shell() {
        let command = run(&["job", "-c", "a | b"]).command();
        assert_eq!(command.last().unwrap(), "a | b");
        assert_eq!(command.len(), 3);
    }
}
