//! Which locks are held for a command that this process is part of: it would wait for itself.

use std::env;

use crate::exit::{self, Failure};

/// A line for each lock: the number of the process that holds it, when that was started, and the lock's URL.
pub(crate) const VARIABLE: &str = "AZMUTEX_HELD";

/// A process by its number and, by a clock of its system's, when it was started, so that nobody is taken for another one
/// who has that number now. It is 0 where that is not known.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ancestor {
    pub(crate) id: u32,
    pub(crate) started: u64,
}

/// Refuses a lock, by that name and URL, that an ancestor of this process holds.
pub(crate) fn check(name: &str, url: &str, ancestors: impl FnOnce() -> Vec<Ancestor>) -> Result<(), Failure> {
    if !is_held(&env::var(VARIABLE).unwrap_or_default(), url, ancestors) {
        return Ok(());
    }
    let text = format!("lock {name:?}: it is held for the very command that this one is part of");
    Err(Failure::new(exit::USAGE, text))
}

/// What the command of this process is told, which holds the lock at that URL.
pub(crate) fn with(url: &str, itself: Ancestor) -> String {
    let mut held = env::var(VARIABLE).unwrap_or_default();
    held.push_str(&format!("{} {} {url}\n", itself.id, itself.started));
    held
}

fn is_held(held: &str, url: &str, ancestors: impl FnOnce() -> Vec<Ancestor>) -> bool {
    let holders = holders(held, url);
    // Who was told of none has no need to look, which takes a while on some systems.
    !holders.is_empty() && ancestors().iter().any(|ancestor| holders.contains(ancestor))
}

fn holders(held: &str, url: &str) -> Vec<Ancestor> {
    held.lines().filter_map(holder).filter(|(_, of)| *of == url).map(|(holder, _)| holder).collect()
}

fn holder(line: &str) -> Option<(Ancestor, &str)> {
    let (id, rest) = line.split_once(' ')?;
    let (started, url) = rest.split_once(' ')?;
    Some((Ancestor { id: id.parse().ok()?, started: started.parse().ok()? }, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_holds_what() {
        let ancestor = Ancestor { id: 12, started: 345 };
        assert_eq!(holder("12 345 https://host/a b"), Some((ancestor, "https://host/a b")));
        for bad in ["", "12", "12 345", "x 345 url", "12 x url"] {
            assert_eq!(holder(bad), None, "{bad}");
        }
        assert_eq!(holders("12 345 one\n13 346 two\n12 345 one/more\n", "one"), [ancestor]);
    }

    #[test]
    fn only_an_ancestor_counts_and_not_who_has_its_number_now() {
        let is_held =
            |held, id, started| is_held(held, "url", || vec![Ancestor { id: 1, started: 2 }, Ancestor { id, started }]);
        assert!(is_held("12 345 url\n", 12, 345));
        for (held, id, started) in
            [("12 345 url\n", 12, 346), ("12 345 url\n", 13, 345), ("12 345 other\n", 12, 345), ("", 12, 345)]
        {
            assert!(!is_held(held, id, started), "{held}");
        }
    }
}
