//! The end of somebody else's lease.

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use azmutex::lease::{self, FencingToken, LockStatus};
use azmutex::retry::Policy;

use crate::arguments::Break;
use crate::exit::{self, Failure, NOT_OBTAINED, USAGE};
use crate::place::Store;
use crate::tell;

/// The exit code, unless it is a failure of ours.
pub(crate) fn break_lock(arguments: &Break) -> Result<u8, Failure> {
    let store = Store::open(&arguments.place, Policy::default())?;
    let mutex = store.container.mutex(&arguments.name).map_err(|error| Failure::usage(&error))?;
    let name = &arguments.name;
    let seen = mutex.inspect()?;
    if !seen.is_locked() {
        exit::printed(tell::result(format_args!("lock {name:?}: nobody holds it")))?;
        return Ok(0);
    }
    if let Some(wanted) = arguments.if_token
        && seen.fencing_token().map(FencingToken::get) != Some(wanted)
    {
        let last = seen.fencing_token().map_or_else(|| "there is none".to_owned(), |token| format!("it is {token}"));
        let text = format!("lock {name:?}: {wanted} is not the last token, {last}; nothing was done");
        return Err(Failure::new(NOT_OBTAINED, text));
    }
    if !arguments.yes {
        agree(arguments, &seen)?;
    }
    let how = if arguments.force { lease::Break::ForceWithin(Duration::ZERO) } else { lease::Break::AtExpiry };
    // Of whoever was seen, as far as that can be told.
    let is_known = seen.fencing_token().is_some() || seen.card().is_some();
    let left = if is_known { mutex.break_lease_if_last(&seen, how)? } else { mutex.break_lease(how)? };
    exit::printed(match left {
        Duration::ZERO => tell::result(format_args!("lock {name:?}: broken, and free")),
        left => tell::result(format_args!("lock {name:?}: broken; it is free in {} s", left.as_secs())),
    })?;
    Ok(0)
}

fn agree(arguments: &Break, seen: &LockStatus) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(USAGE, "nobody is there to be asked; say --yes"));
    }
    let danger = if arguments.force { ", although its holder may still work under it" } else { "" };
    let who = seen.card().map(|card| format!(" of {card}")).unwrap_or_default();
    tell::question(format_args!("break the lock {:?}{who}{danger}? [y/N] ", arguments.name));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::system("read the answer", &error))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(NOT_OBTAINED, "not broken"))
    }
}
