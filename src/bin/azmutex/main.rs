//! The command line: runs a command under a lock.

mod arguments;
mod breaking;
mod clock;
#[cfg(unix)]
mod descriptor;
mod doctor;
mod exit;
mod hold;
mod json;
#[cfg(unix)]
mod known;
mod place;
mod run;
mod serve;
mod signals;
mod status;
mod tell;
mod texts;
mod threads;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Action, Arguments};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let role = run::linux::role();
    #[cfg(target_os = "linux")]
    if role == Some(run::linux::Role::Launcher) {
        return ended(run::linux::launch());
    }
    #[cfg(target_os = "linux")]
    if role == Some(run::linux::Role::Ending) {
        return ExitCode::from(run::linux::end());
    }
    #[cfg(all(unix, not(target_os = "linux")))]
    if let Some(role) = run::unix::role() {
        let played = run::unix::play(role).map(|()| 0);
        return ended(played.map_err(|error| exit::Failure::system("end the command", &error)));
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if is_answer { 0 } else { exit::USAGE });
        }
    };
    #[cfg(target_os = "linux")]
    if let (Some(run::linux::Role::Warden), Action::Run(run)) = (role, &arguments.action) {
        return ExitCode::from(run::linux::guard(run));
    }
    ended(match arguments.action {
        Action::Run(run) => run::run(&run),
        Action::Hold(hold) => hold::hold(&hold),
        Action::Status(status) => status::status(&status),
        Action::Break(breaking) => breaking::break_lock(&breaking),
        Action::Doctor(doctor) => doctor::doctor(&doctor),
        Action::Emulator(emulator) => serve::serve(&emulator),
        Action::Completions { shell } => texts::completions(shell),
        Action::Man { subcommand } => texts::man(subcommand.as_deref()),
    })
}

fn ended(result: Result<u8, exit::Failure>) -> ExitCode {
    ExitCode::from(result.unwrap_or_else(|failure| {
        tell::last_note(&failure.text);
        failure.code
    }))
}
