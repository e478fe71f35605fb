//! Whether locking would work.

use azmutex::Locker;
use azmutex::preflight::{Preflight, Status};
use azmutex::retry::Policy;

use crate::arguments::Doctor;
use crate::exit::{self, Failure};
use crate::json::Object;
use crate::place::Store;
use crate::tell;

/// The exit code, unless it is a failure of ours.
pub(crate) fn doctor(arguments: &Doctor) -> Result<u8, Failure> {
    let store = Store::open(&arguments.place, Policy::default())?;
    let mutex = store.container.mutex(&arguments.name).map_err(|error| Failure::usage(&error))?;
    let locker = Locker::builder(mutex).lease(arguments.lease).build().map_err(|error| Failure::usage(&error))?;
    let report = locker.preflight();
    exit::printed(if arguments.json { tell::result(object(&report)) } else { tell::result(&report) })?;
    let error = report.obstacle().map(|check| check.error());
    Ok(error.map_or(0, |error| error.map_or(exit::SYSTEM, exit::code)))
}

fn object(report: &Preflight) -> Object {
    let check = |check: &azmutex::preflight::Check| {
        let status = match check.status() {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
            _ => "not_tried",
        };
        Object::new()
            .text("subject", snake(&format!("{:?}", check.subject())))
            .text("status", status)
            .text("text", check.sentence())
    };
    let checks: Vec<_> = report.checks().iter().map(check).collect();
    Object::new()
        .truth("can_lock", report.can_lock())
        .array("checks", &checks)
        .text("least_role", report.least_role())
        .text("least_sas", report.least_sas())
}

/// `RoundTrip` is `round_trip`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
