//! The lock against a real server, one file a topic.

mod faults;
mod hostile;
mod locker;
mod loss;
mod mutex;
mod names;
mod processes;
mod service;
mod support;
mod wire;
