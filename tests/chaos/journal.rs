//! What a contender writes down, one line for each event, and how it is read again.
//!
//! A line is written with one call and without a buffer, so that whatever kills the process takes no line that was
//! written with it. All processes of the machine share the clock.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point on the machine's clock.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) fn now() -> Time {
        let time = clock_gettime(ClockId::Monotonic);
        Time(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Zero if it is not.
    pub(crate) fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn after(self, time: Duration) -> Time {
        Time(self.0 + time.as_nanos() as u64)
    }

    #[cfg(test)]
    pub(crate) fn at(nanos: u64) -> Time {
        Time(nanos)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Time {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Time, Self::Err> {
        text.parse().map(Time)
    }
}

/// Holds, and what may become one, are counted from 1 in each process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) hold: u64,
    pub(crate) event: Event,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// Wants the lock.
    Asks {
        at: Time,
    },
    /// Could not get it, because of a failure.
    Misses {
        at: Time,
        why: String,
    },
    /// Got it.
    Granted {
        lease_id: String,
        lease: Duration,
    },
    /// Was told, at some moment between these two, that the lock is its own.
    Yes {
        before: Time,
        after: Time,
    },
    /// Was told that it is not, any more.
    Lost {
        at: Time,
        why: String,
    },
    /// Begins to let go.
    Leaves {
        at: Time,
    },
    Left {
        at: Time,
        how: Left,
    },
    /// Is about to write this number, which it has read less one.
    Intends {
        number: u64,
    },
    Wrote {
        number: u64,
    },
    /// The resource refused it; or, where it would not, the writer itself, because the lock was lost by then.
    Refused {
        number: u64,
    },
}

/// How letting go ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Released,
    /// Told as lost before.
    Lost,
    /// The release was not confirmed.
    Failed,
    /// Without asking what came of it.
    Dropped,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { hold, event } = self;
        match event {
            Event::Asks { at } => write!(f, "asks {hold} {at}"),
            Event::Misses { at, why } => write!(f, "misses {hold} {at} {}", why.replace('\n', " ")),
            Event::Granted { lease_id, lease } => write!(f, "granted {hold} {lease_id} {}", lease.as_secs()),
            Event::Yes { before, after } => write!(f, "yes {hold} {before} {after}"),
            Event::Lost { at, why } => write!(f, "lost {hold} {at} {why}"),
            Event::Leaves { at } => write!(f, "leaves {hold} {at}"),
            Event::Left { at, how } => write!(f, "left {hold} {at} {how:?}"),
            Event::Intends { number } => write!(f, "intends {hold} {number}"),
            Event::Wrote { number } => write!(f, "wrote {hold} {number}"),
            Event::Refused { number } => write!(f, "refused {hold} {number}"),
        }
    }
}

impl Line {
    fn parse(text: &str) -> Option<Line> {
        fn next<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
            words.next()?.parse().ok()
        }
        fn rest(words: &mut SplitWhitespace<'_>) -> String {
            words.collect::<Vec<_>>().join(" ")
        }
        let words = &mut text.split_whitespace();
        let verb = words.next()?;
        let hold = next(words)?;
        let event = match verb {
            "asks" => Event::Asks { at: next(words)? },
            "misses" => Event::Misses { at: next(words)?, why: rest(words) },
            "granted" => Event::Granted { lease_id: next(words)?, lease: Duration::from_secs(next(words)?) },
            "yes" => Event::Yes { before: next(words)?, after: next(words)? },
            "lost" => Event::Lost { at: next(words)?, why: rest(words) },
            "leaves" => Event::Leaves { at: next(words)? },
            "left" => Event::Left { at: next(words)?, how: next(words)? },
            "intends" => Event::Intends { number: next(words)? },
            "wrote" => Event::Wrote { number: next(words)? },
            "refused" => Event::Refused { number: next(words)? },
            _ => return None,
        };
        Some(Line { hold, event })
    }
}

impl FromStr for Left {
    type Err = ();

    fn from_str(text: &str) -> Result<Left, ()> {
        let all = [Left::Released, Left::Lost, Left::Failed, Left::Dropped];
        all.into_iter().find(|how| format!("{how:?}") == text).ok_or(())
    }
}

/// The contender's side.
pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn open(path: &Path) -> Journal {
        Journal(OpenOptions::new().append(true).create(true).open(path).unwrap())
    }

    pub(crate) fn note(&mut self, hold: u64, event: Event) {
        let line = Line { hold, event };
        self.0.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// The driver's side: each call goes on where the last one ended.
pub(crate) struct Reader {
    file: Option<File>,
    offset: u64,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader { file: None, offset: 0 }
    }

    /// The whole lines that have come since the last call. The file may not be there yet.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<Line>> {
        if self.file.is_none() {
            match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                opened => self.file = Some(opened?),
            }
        }
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        let parse = |line: &str| Line::parse(line).ok_or_else(|| io::Error::other(format!("what is {line:?}?")));
        text[..whole].lines().map(parse).collect()
    }
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let (at, number) = (Time(7), 3);
    let events = [
        Event::Asks { at },
        Event::Misses { at, why: "no answer".into() },
        Event::Granted { lease_id: "a-b".into(), lease: Duration::from_secs(15) },
        Event::Yes { before: at, after: Time(8) },
        Event::Lost { at, why: "Expired".into() },
        Event::Leaves { at },
        Event::Left { at, how: Left::Dropped },
        Event::Intends { number },
        Event::Wrote { number },
        Event::Refused { number },
    ];
    for line in events.map(|event| Line { hold: 2, event }) {
        assert_eq!(Line::parse(&line.to_string()), Some(line));
    }
}
