//! The command line: runs a command under a lock.

mod arguments;
mod command;
mod doctor;
mod exit;
mod run;
mod signals;
mod store;
mod tell;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Action, Arguments};
use exit::Failure;

fn main() -> ExitCode {
    let done = match Arguments::parse().action {
        Action::Run(arguments) => run::run(arguments),
        Action::Doctor(arguments) => doctor::doctor(arguments),
        Action::Emulator { port } => store::serve(port).map(|()| 0),
    };
    ExitCode::from(done.unwrap_or_else(Failure::told))
}
