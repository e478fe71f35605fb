use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{io, thread};

use azmutex::lease::Card;
use azmutex::{Cancel, Container, ErrorKind, Locker};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

/// As a shell says it of Ctrl-C.
const INTERRUPTED: u8 = 130;
const STEPS: [&str; 4] = ["add the column", "fill it", "add the index", "drop the old column"];

fn main() -> ExitCode {
    let code = migrate().unwrap_or_else(|error| {
        eprintln!("{error:?}");
        match error.downcast_ref().map(azmutex::Error::kind) {
            Some(ErrorKind::Cancelled) => INTERRUPTED,
            Some(ErrorKind::TimedOut) => 75,
            Some(ErrorKind::LeaseLost) => 70,
            _ => 1,
        }
    });
    ExitCode::from(code)
}

/// The exit code.
fn migrate() -> Result<u8, Box<dyn Error>> {
    let stop = stopped_by_ctrl_c()?;
    let mutex = Container::from_env("locks")?.mutex("migration")?;
    let builder = Locker::builder(mutex.clone()).card(Card::new("migration"));
    let locker = builder.on_event(|event| println!("{event}")).build()?;
    let guard = locker.lock_timeout_or_cancel(Duration::from_secs(600), &stop)?;
    let done = match mutex.inspect()?.mark() {
        None => 0,
        Some(mark) => mark.parse()?,
    };
    for (number, step) in STEPS.iter().enumerate().skip(done) {
        if stop.is_cancelled() {
            guard.unlock()?;
            println!("interrupted; to go on, run it again");
            return Ok(INTERRUPTED);
        }
        guard.ensure_held()?;
        println!("step {}: {step}", number + 1);
        thread::sleep(Duration::from_millis(500));
        guard.mark(&(number + 1).to_string())?;
    }
    guard.unlock()?;
    println!("all is done");
    Ok(0)
}

fn stopped_by_ctrl_c() -> io::Result<Cancel> {
    // The first sets the flag, and the next one ends the process.
    let is_second = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), is_second.clone())?;
    signal_hook::flag::register(SIGINT, is_second)?;
    let stop = Cancel::new();
    let (told, mut signals) = (stop.clone(), Signals::new([SIGINT])?);
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            told.cancel();
        }
    });
    Ok(stop)
}
