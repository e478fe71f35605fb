//! An emulator that others join.

use azmutex::emulator::Emulator;

use crate::support::{azmutex, code};

#[test]
#[cfg(unix)]
fn serves_until_it_is_stopped() {
    use azmutex::Container;
    use rustix::process::{Pid, Signal, kill_process};

    let mut child = azmutex().args(["emulator", "--port", "0"]).spawn().unwrap();
    let (connection_string, _stdout) = crate::support::first_line(&mut child);
    let locker = Container::from_connection_string(&connection_string, "locks").unwrap().locker("job").unwrap();
    let guard = locker.try_lock().unwrap();
    let output = azmutex()
        .env("AZURE_STORAGE_CONNECTION_STRING", &connection_string)
        .args(["run", "--timeout", "0", "job", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 75);
    guard.unlock().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(code(&child.wait_with_output().unwrap()), 0);
}

#[test]
fn a_port_that_is_taken() {
    let emulator = Emulator::start().unwrap();
    let output = azmutex().args(["emulator", "--port", &emulator.port().to_string()]).output().unwrap();
    assert_eq!(code(&output), 71);
    assert!(output.stdout.is_empty());
}
