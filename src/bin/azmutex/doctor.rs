//! Whether there could be a lock.

use std::time::Duration;

use azmutex::Locker;

use crate::arguments::Doctor;
use crate::exit::{self, Failure};
use crate::store::Store;
use crate::tell;

/// The exit code, unless it is a failure of ours.
pub(crate) fn doctor(arguments: Doctor) -> Result<u8, Failure> {
    let Doctor { container, emulator, lease, name } = arguments;
    let store = if emulator { Store::emulator(&container)? } else { Store::account(&container)? };
    let locker = Locker::builder(store.container.mutex(&name)?).lease(Duration::from_secs(lease)).build()?;
    let report = locker.preflight();
    tell::result(&report);
    let error = report.obstacle().map(|check| check.error());
    Ok(error.map_or(0, |error| error.map_or(exit::FAILED, |error| exit::code(error.kind()))))
}
