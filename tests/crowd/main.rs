//! Crowds, which need the machine for themselves: a target of their own, since cargo runs one after the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

use std::env;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[path = "../it/support/mod.rs"]
mod support;

use support::server::Server;
use support::{quick, unique};

const SECOND: Duration = Duration::from_secs(1);

on_both_servers!(a_hundred_threads_take_their_turns);

// Scenario 1, its second half.
fn a_hundred_threads_take_their_turns(server: &Server) {
    let container = server.container(&unique("hundred"));
    let locker = quick(&container, "job").build().unwrap();
    let (inside, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let threads: Vec<_> = (0..100)
        .map(|_| {
            let (locker, inside, turns) = (locker.clone(), inside.clone(), turns.clone());
            thread::spawn(move || {
                let guard = locker.lock().unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                thread::sleep(Duration::from_millis(10));
                turns.fetch_add(1, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
                guard.unlock().unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(turns.load(Ordering::SeqCst), 100);
    assert!(start.elapsed() < 60 * SECOND, "{:?}", start.elapsed());
}

#[cfg(unix)]
mod counter {
    use super::*;
    use support::process::{self, Process, say};

    on_both_servers!(eight_processes_count_exactly);

    const PROCESSES: usize = 8;

    /// Not a test of its own, but what each process does: adds to a number in a file that nothing else protects.
    #[test]
    fn child() {
        let Some((container, name)) = process::given() else { return };
        let files = env::temp_dir().join(name);
        let locker =
            quick(&container, "counter").pauses(Duration::from_millis(4), Duration::from_millis(20)).build().unwrap();
        let increments: usize = fs::read_to_string(files.join("increments")).unwrap().parse().unwrap();
        for _ in 0..increments {
            let guard = locker.lock().unwrap();
            let number: usize = fs::read_to_string(files.join("number")).unwrap().parse().unwrap();
            let history = fs::read_to_string(files.join("history")).unwrap();
            // Long enough for another to come in between, if it could.
            thread::sleep(Duration::from_millis(1));
            fs::write(files.join("number"), (number + 1).to_string()).unwrap();
            fs::write(files.join("history"), format!("{history}{} ", std::process::id())).unwrap();
            guard.unlock().unwrap();
            // Room for the others, who have just looked in vain.
            thread::sleep(Duration::from_millis(20));
        }
        say("done");
    }

    // Scenario 1, its first half.
    fn eight_processes_count_exactly(server: &Server) {
        let name = unique("counter");
        let files = env::temp_dir().join(&name);
        fs::create_dir(&files).unwrap();
        // Azurite has the other crowds to see to, and takes its time.
        let increments = if server.as_emulator().is_some() { 200 } else { 50 };
        fs::write(files.join("increments"), increments.to_string()).unwrap();
        fs::write(files.join("number"), "0").unwrap();
        fs::write(files.join("history"), "").unwrap();
        let start = || process::again(child).container(&server.connection_string(), &name).start();
        let mut processes: Vec<Process> = (0..PROCESSES).map(|_| start()).collect();
        for process in &mut processes {
            assert_eq!(process.says().0, "done");
            assert!(process.ends_well());
        }
        let number = fs::read_to_string(files.join("number")).unwrap();
        let history = fs::read_to_string(files.join("history")).unwrap();
        fs::remove_dir_all(&files).unwrap();
        let turns: Vec<&str> = history.split_whitespace().collect();
        let changes = turns.windows(2).filter(|turns| turns[0] != turns[1]).count();
        println!("{number} increments; of {} turns {changes} came after another process's", turns.len());
        assert_eq!(number, (PROCESSES * increments).to_string());
        assert_eq!(turns.len(), PROCESSES * increments);
        assert!(changes > PROCESSES * increments / 2, "they hardly met: {changes} changes");
    }
}

#[cfg(target_os = "linux")]
mod rounds {
    use super::*;
    use support::process::{self, say, threads};

    on_both_servers!(a_thousand_quick_rounds_leave_no_lease_and_no_thread);

    /// Not a test of its own: in a process of its own, for the other tests of this one have the library's threads too.
    #[test]
    fn child() {
        let Some((container, _)) = process::given() else { return };
        let locker = container.locker("job").unwrap();
        let mut most = 0;
        for round in 0..1_000 {
            let guard = locker.try_lock().unwrap();
            if round % 2 == 0 {
                guard.unlock().unwrap();
            } else {
                drop(guard);
            }
            most = most.max(threads().len());
        }
        // The watchdog, and a few locks' threads that are about to end.
        assert!(most <= 8, "{most} threads at once");
        let since = Instant::now();
        while !threads().is_empty() {
            assert!(since.elapsed() < 10 * SECOND, "still there: {:?}", threads());
            thread::sleep(Duration::from_millis(10));
        }
        say(&format!("{most} threads at most, the last gone after {:?}", since.elapsed()));
    }

    // Scenario 17, its second half.
    fn a_thousand_quick_rounds_leave_no_lease_and_no_thread(server: &Server) {
        let name = unique("rounds");
        let mut process = process::again(child).container(&server.connection_string(), &name).start();
        println!("{}", process.says().0);
        assert!(process.ends_well());
        assert_eq!(server.lease_state(&name, "job"), "available");
    }
}
