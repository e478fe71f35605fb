//! Who has a lock.

use std::time::Duration;

use azmutex::crossbeam_channel::after;
use azmutex::lease::LockState;
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
    let mutexes: Result<Vec<_>, _> = arguments.names.iter().map(|name| store.container.mutex(name)).collect();
    let mutexes = mutexes.map_err(|error| Failure::usage(&error))?;
    let mut told = vec![None; mutexes.len()];
    loop {
        let mut code = 0;
        for (mutex, told) in mutexes.iter().zip(&mut told) {
            let state = mutex.inspect().map(|status| status.state());
            if let Err(error) = &state {
                code = exit::code(error);
            }
            let (object, words) = tellable(mutex.name(), &state);
            if told.as_ref() != Some(&words) {
                tell::result(if arguments.json { object.with_time().to_string() } else { words.clone() });
                *told = Some(words);
            }
        }
        if !arguments.watch {
            return Ok(code);
        }
        let _ = after(LOOK_EVERY).recv();
    }
}

/// The same for programs and for people.
fn tellable(name: &str, state: &azmutex::Result<LockState>) -> (Object, String) {
    let object = Object::new().text("lock", name);
    match state {
        Err(error) => (object.text("error", exit::sentence(error)), exit::sentence(error)),
        Ok(state) => {
            let (word, words) = words(*state);
            let object = object.text("state", word).truth("held", state.is_locked());
            (object, format!("lock {name:?}: {words}"))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_to_programs_and_to_people() {
        let (object, words) = tellable("job", &Ok(LockState::Leased));
        assert_eq!(object.to_string(), r#"{"lock":"job","state":"leased","held":true}"#);
        assert_eq!(words, "lock \"job\": held");
    }
}
