//! What serves tests alone; nothing of it ships. The simulation of many clients, a lock's threads against each other
//! and the model of std that plays them, clocks that can be set, a name that moves, the lateness of the machine's threads, the properties
//! that hold for every input, and the fuzz targets' doors to them. Tests of a single file are in that file.

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod interleavings;
#[cfg(test)]
pub(crate) mod lateness;
#[cfg(all(test, shuttle))]
pub(crate) mod model;
#[cfg(test)]
#[cfg(not(shuttle))]
mod moving;
pub(crate) mod properties;
#[cfg(test)]
pub(crate) mod settable;
#[cfg(test)]
mod sim;
#[cfg(test)]
#[cfg(not(shuttle))]
mod suspend;
