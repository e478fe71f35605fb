//! What can be said on the command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

const AFTER: &str = "\
Exit codes of `azmutex run` are those of COMMAND, 128 and the signal if it died of one, and:
    2  the arguments cannot be what was meant
    3  somebody else has the lock, or it was not obtained in time
    4  no credential, a credential that lacks a right, or a clock that is off
    5  the service could not be reached, or another failure
    6  the lock was lost while COMMAND ran, and COMMAND was ended
  126  COMMAND cannot be executed
  127  COMMAND was not found
  128 and the signal: one that came before the lock was obtained

Credentials come from the environment: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT
with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or with an identity of Entra ID if this program
was built with the feature entra. AZURE_STORAGE_SERVICE_ENDPOINT is the account's URL where it is not
in the public cloud, and AZMUTEX_SERVICE_VERSION the version of the service's interface where that
is older than usual, as on Azure Stack Hub: 2017-11-09, for one.";

/// Runs a command under a lock that all who share an Azure storage account see.
#[derive(Parser)]
#[command(name = "azmutex", version, after_help = AFTER)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    Run(Run),
    Doctor(Doctor),
    /// Serves an emulator of the Blob service on this machine, until it is stopped.
    ///
    /// Prints its connection string. On the default port,
    /// AZURE_STORAGE_CONNECTION_STRING=UseDevelopmentStorage=true reaches it.
    Emulator {
        /// Port of 127.0.0.1 to listen on; 0 is any that is free.
        #[arg(long, default_value_t = 10000, value_name = "N")]
        port: u16,
    },
}

/// Takes the lock NAME, runs COMMAND, and releases the lock.
///
/// COMMAND finds the name of the lock in AZMUTEX_LOCK and the id of the lease in AZMUTEX_LEASE_ID. The signals TERM,
/// INT, HUP and QUIT are passed on to it and to its children. When the lock is lost they get TERM at once, and KILL a
/// second later. From a terminal they cannot read: it is for them as if it were empty.
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Run {
    /// Container that the lock is in; made if it does not exist.
    #[arg(long, default_value = "locks", value_name = "NAME")]
    pub(crate) container: String,
    /// Use an emulator inside this process, which nobody else sees; for a first look.
    #[arg(long)]
    pub(crate) emulator: bool,
    /// Wait for the lock no longer than this; 0 is not at all. Otherwise waits for as long as it takes.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Whole seconds, 15 to 60, for which the lock stays taken if this machine dies.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) lease: u64,
    /// Tell on stderr what happens to the lock.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Name of the lock.
    pub(crate) name: String,
    /// What to run, and its arguments.
    #[arg(last = true, required = true, value_names = ["COMMAND", "ARGS"], num_args = 1..)]
    pub(crate) command: Vec<OsString>,
}

/// Says whether this program can lock: reaches the account, is let in, and has the rights.
///
/// Takes the lock NAME for a moment, if nobody has it, and leaves an empty blob of that name and its container behind.
/// Exits with 0 if it can lock, be it with a warning; with 4 if the credential or a right is missing or the clock is off;
/// and with 5 otherwise.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Container that the lock is in; made if it does not exist.
    #[arg(long, default_value = "locks", value_name = "NAME")]
    pub(crate) container: String,
    /// Use an emulator inside this process; for a first look.
    #[arg(long)]
    pub(crate) emulator: bool,
    /// Whole seconds, 15 to 60, that a lease is meant to last.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) lease: u64,
    /// Name of the lock.
    #[arg(default_value = "azmutex-doctor")]
    pub(crate) name: String,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
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
    fn seconds_may_have_fractions() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["", "-1", "soon", "nan", "inf", "1e40"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
