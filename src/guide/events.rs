use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use azmutex::emulator::Emulator;
use azmutex::event::{Event, Severity};
use azmutex::{Container, Locker};

/// To the `log` crate.
fn log(event: &Event) {
    let level = match event.severity() {
        Severity::Debug => log::Level::Debug,
        Severity::Info => log::Level::Info,
        Severity::Warning => log::Level::Warn,
        _ => log::Level::Error,
    };
    log::log!(target: "azmutex", level, "{event}");
}

/// To the `tracing` crate.
fn trace(event: &Event) {
    let lock = event.lock_name();
    match event.severity() {
        Severity::Debug => tracing::debug!(lock, "{event}"),
        Severity::Info => tracing::info!(lock, "{event}"),
        Severity::Warning => tracing::warn!(lock, "{event}"),
        _ => tracing::error!(lock, "{event}"),
    }
}

/// One JSON object a line.
fn json(event: &Event) -> String {
    let (lock, severity) = (event.lock_name(), event.severity().to_string());
    serde_json::json!({ "lock": lock, "severity": severity, "text": event.to_string() }).to_string()
}

/// For a collector of metrics.
#[derive(Default)]
struct Metrics {
    held: AtomicBool,
    losses: AtomicU64,
}

impl Metrics {
    fn count(&self, event: &Event) {
        match event {
            Event::Acquired { .. } => self.held.store(true, Ordering::Relaxed),
            Event::Released { .. } => self.held.store(false, Ordering::Relaxed),
            Event::Lost { .. } => {
                self.held.store(false, Ordering::Relaxed);
                self.losses.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let emulator = Emulator::start()?;
    let container = Container::from_connection_string(&emulator.connection_string(), "locks")?;
    let metrics = Arc::new(Metrics::default());
    let counted = metrics.clone();
    let builder = Locker::builder(container.mutex("nightly-report")?).on_event(move |event| {
        log(&event);
        trace(&event);
        println!("{}", json(&event));
        counted.count(&event);
    });
    let guard = builder.renew_every(Duration::from_millis(10)).build()?.lock()?;
    emulator.steal("locks", "nightly-report")?;
    guard.wait_lost(Duration::from_secs(5));
    drop(guard);
    assert!(!metrics.held.load(Ordering::Relaxed));
    assert_eq!(metrics.losses.load(Ordering::Relaxed), 1);
    Ok(())
}
