use std::error::Error;
use std::time::Duration;
use std::{io, thread};

use azmutex::crossbeam_channel::select;
use azmutex::lease::{Card, FencingToken};
use azmutex::{Cancel, Container, ErrorKind, LockGuard, Locker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> Result<(), Box<dyn Error>> {
    let stop = stopped_by_signals()?;
    let mutex = Container::from_env("locks")?.mutex("leader")?;
    let builder = Locker::builder(mutex).lease(Duration::from_secs(15));
    let locker = builder.fencing(true).card(Card::new("example of a leader")).build()?;
    while !stop.is_cancelled() {
        let guard = match locker.lock_or_cancel(&stop) {
            Ok(guard) => guard,
            Err(error) => match error.kind() {
                ErrorKind::Cancelled => break,
                ErrorKind::Unavailable | ErrorKind::Unexpected | ErrorKind::LeaseLost => {
                    eprintln!("{error:?}");
                    stop.wait_cancelled(Duration::from_secs(5));
                    continue;
                }
                _ => return Err(error.into()),
            },
        };
        lead(&guard, &stop)?;
        // Nothing of the work goes on any more.
        if let Err(error) = guard.unlock() {
            eprintln!("{error:?}");
        }
    }
    println!("ended");
    Ok(())
}

/// Works until the lock is lost, or the program is to end.
fn lead(guard: &LockGuard, stop: &Cancel) -> Result<(), Box<dyn Error>> {
    let token = guard.fencing_token().ok_or("it was asked for")?;
    let (lost, stopped) = (guard.lost(), stop.cancelled());
    while guard.is_held() && !stop.is_cancelled() {
        step(token);
        select! {
            recv(lost) -> _ => break,
            recv(stopped) -> _ => break,
            default(Duration::from_millis(100)) => {}
        }
    }
    Ok(())
}

/// A short piece of work. What it writes to refuses a token that is smaller than one that it has seen.
fn step(token: FencingToken) {
    println!("leading with {token}");
}

fn stopped_by_signals() -> io::Result<Cancel> {
    let stop = Cancel::new();
    let (told, mut signals) = (stop.clone(), Signals::new([SIGINT, SIGTERM])?);
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            told.cancel();
        }
    });
    Ok(stop)
}
