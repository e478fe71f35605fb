//! How many cores a client and its server run on. Where the two ends of a connection happen to be decides what it costs to
//! wake the other one, and that is for the whole life of the connection: on one core it is the same for all.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// As long as this is there, whatever this thread starts runs on the same core.
pub(crate) struct OneCore(CpuSet);

impl OneCore {
    pub(crate) fn new() -> OneCore {
        let all = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).expect("a core"));
        sched_setaffinity(None, &one).unwrap();
        OneCore(all)
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).unwrap();
    }
}
