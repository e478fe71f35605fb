//! Who has a lock.

use std::io;
use std::time::Duration;

use azmutex::crossbeam_channel::after;
use azmutex::lease::{LockState, LockStatus};
use azmutex::retry::Policy;

use crate::arguments::Status;
use crate::exit::{self, Failure};
use crate::json::Object;
use crate::place::Store;
use crate::tell;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The exit code, unless it is a failure of ours.
pub(crate) fn status(arguments: &Status) -> Result<u8, Failure> {
    let store = Store::open(&arguments.place, Policy::default())?;
    if arguments.all {
        for entry in store.container.locks() {
            let entry = entry?;
            let (object, words) = tellable(entry.name(), &Ok(entry.status().clone()));
            let printed = tell::result(if arguments.json { object.with_time().to_string() } else { words });
            if is_over(printed)? {
                return Ok(0);
            }
        }
        return Ok(0);
    }
    let mutexes: Result<Vec<_>, _> = arguments.names.iter().map(|name| store.container.mutex(name)).collect();
    let mutexes = mutexes.map_err(|error| Failure::usage(&error))?;
    let mut told = vec![None; mutexes.len()];
    loop {
        let mut code = 0;
        for (mutex, told) in mutexes.iter().zip(&mut told) {
            let status = mutex.inspect();
            if let Err(error) = &status {
                code = exit::code(error);
            }
            let (object, words) = tellable(mutex.name(), &status);
            if told.as_ref() != Some(&words) {
                let text = if arguments.json { object.with_time().to_string() } else { words.clone() };
                if is_over(tell::result(text))? {
                    return Ok(0);
                }
                *told = Some(words);
            }
        }
        if !arguments.watch {
            return Ok(code);
        }
        let _ = after(LOOK_EVERY).recv();
        #[cfg(unix)]
        if crate::descriptor::is_unread(&io::stdout()) {
            return Ok(0);
        }
    }
}

/// Whether the reader has gone away, who has seen enough.
fn is_over(printed: io::Result<()>) -> Result<bool, Failure> {
    let is_over = printed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    exit::printed(printed).map(|()| is_over)
}

/// The same for programs and for people.
fn tellable(name: &str, status: &azmutex::Result<LockStatus>) -> (Object, String) {
    let object = Object::new().text("lock", name);
    let status = match status {
        Ok(status) => status,
        Err(error) => return (object.text("error", exit::sentence(error)), exit::sentence(error)),
    };
    let (word, words) = words(status.state());
    let mut object = object.text("state", word).truth("held", status.is_locked());
    let mut text = format!("lock {name:?}: {words}");
    if let Some(token) = status.fencing_token() {
        object = object.number("fencing_token", token.get());
        text.push_str(&format!("; last token {token}"));
    }
    if let Some(card) = status.card() {
        object = object.object("card", &tell::of_card(card));
        text.push_str(&format!("; last card {card}"));
    }
    if let Some(mark) = status.mark() {
        object = object.text("mark", mark);
        text.push_str(&format!("; mark {mark:?}"));
    }
    (object, text)
}

fn words(state: LockState) -> (&'static str, &'static str) {
    match state {
        LockState::Missing => ("missing", "free; nobody has ever taken it"),
        LockState::Available => ("available", "free"),
        LockState::Leased => ("leased", "held"),
        LockState::LeasedForever => ("leased_forever", "held, by a lease without an end"),
        LockState::Expired => ("expired", "free; its last holder did not release it"),
        LockState::Breaking => ("breaking", "held; its lease was broken, and runs out"),
        LockState::Broken => ("broken", "free; its last lease was broken"),
        _ => ("other", "in a state that this version does not know"),
    }
}
