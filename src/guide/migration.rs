use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{io, thread};

use azmutex::lease::Card;
use azmutex::{Cancel, Container, Locker};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

const STEPS: [&str; 4] = ["add the column", "fill it", "add the index", "drop the old column"];

fn main() -> Result<(), Box<dyn Error>> {
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
            return Err("interrupted; to go on, run it again".into());
        }
        guard.ensure_held()?;
        println!("step {}: {step}", number + 1);
        thread::sleep(Duration::from_millis(500));
        guard.mark(&(number + 1).to_string())?;
    }
    guard.unlock()?;
    println!("all is done");
    Ok(())
}

fn stopped_by_ctrl_c() -> io::Result<Cancel> {
    // The first sets the flag, and the next one ends the process.
    let is_second = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, is_second.clone())?;
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
