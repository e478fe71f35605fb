//! The end of somebody else's lease.

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use azmutex::lease;
use azmutex::retry::Policy;

use crate::arguments::Break;
use crate::exit::{Failure, USAGE};
use crate::place::Store;
use crate::tell;

/// The exit code, unless it is a failure of ours.
pub(crate) fn break_lock(arguments: &Break) -> Result<u8, Failure> {
    let store = Store::open(&arguments.place, Policy::default())?;
    let mutex = store.container.mutex(&arguments.name).map_err(|error| Failure::usage(&error))?;
    let name = &arguments.name;
    if !mutex.inspect()?.is_locked() {
        tell::result(format_args!("lock {name:?}: nobody holds it"));
        return Ok(0);
    }
    if !arguments.yes {
        agree(arguments)?;
    }
    let how = if arguments.force { lease::Break::ForceWithin(Duration::ZERO) } else { lease::Break::AtExpiry };
    match mutex.break_lease(how)? {
        Duration::ZERO => tell::result(format_args!("lock {name:?}: broken, and free")),
        left => tell::result(format_args!("lock {name:?}: broken; it is free in {} s", left.as_secs())),
    }
    Ok(0)
}

fn agree(arguments: &Break) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(USAGE, "nobody is there to be asked; say --yes"));
    }
    let danger = if arguments.force { ", although its holder may still work under it" } else { "" };
    tell::question(format_args!("break the lock {:?}{danger}? [y/N] ", arguments.name));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::system("read the answer", &error))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(USAGE, "not broken"))
    }
}
