//! What is made from the description of the arguments.

use std::io::Write;

use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::exit::{self, Failure, USAGE};
use crate::tell;

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "azmutex", &mut script);
    print(script)
}

/// Of the program, or of one of its subcommands.
pub(crate) fn man(subcommand: Option<&str>) -> Result<u8, Failure> {
    let mut all = Arguments::command();
    all.build();
    let command = match subcommand {
        None => all,
        Some(name) => {
            let found = all.find_subcommand(name).cloned();
            found.ok_or_else(|| Failure::new(USAGE, format!("there is no subcommand {name:?}")))?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .and_then(|()| page.flush())
        .map_err(|error| Failure::system("write the manual page", &error))?;
    print(page)
}

fn print(text: Vec<u8>) -> Result<u8, Failure> {
    exit::printed(tell::result(String::from_utf8_lossy(&text).trim_end()))?;
    Ok(0)
}
