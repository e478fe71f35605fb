//! What the wrapper costs, beside that of a lock of this machine alone.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use azmutex::emulator::Emulator;

use crate::family::NAME;

const RUNS: usize = 20;

/// From the start to the first word of the command, and to the end of it all: the quickest of all runs, which others on the
/// machine have disturbed least.
fn times(mut command: impl FnMut() -> Command) -> [Duration; 2] {
    let runs: Vec<_> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let mut child = command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            let begun = start.elapsed();
            assert!(child.wait().unwrap().success());
            [begun, start.elapsed()]
        })
        .collect();
    [0, 1].map(|which| runs.iter().map(|run| run[which]).min().unwrap())
}

#[test]
fn the_time_from_the_start_to_the_command() {
    let emulator = Emulator::start().unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wrapped-{}-flock", std::process::id()));
    let flock = times(|| {
        let mut command = Command::new("flock");
        command.arg(&file).args(["echo", "up"]);
        command
    });
    std::fs::remove_file(&file).unwrap();
    let azmutex = times(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_azmutex"));
        command.args(["run", NAME, "echo", "up"]);
        command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        command
    });
    for (what, [begun, all]) in [("flock on a file", flock), ("azmutex on an emulator", azmutex)] {
        println!("{what}: {begun:.1?} to the command's first word, and {all:.1?} to the end");
    }
    // A command that waits for a second without a reason would be told of.
    assert!(azmutex[0] < Duration::from_secs(1), "{azmutex:?}");
}
