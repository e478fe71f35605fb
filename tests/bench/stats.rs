//! What many measurements come to.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Of this process and all its threads, also those that have ended.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty());
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// How long it took, and how much of that this process computed.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) processor: Duration,
}

pub(crate) fn spent(work: impl FnOnce()) -> Spent {
    let (begun, before) = (Instant::now(), processor_time());
    work();
    Spent { wall: begun.elapsed(), processor: processor_time() - before }
}

/// In microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
