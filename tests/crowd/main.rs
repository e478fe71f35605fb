//! Crowds, which need the machine for themselves: a target of their own, since cargo runs one after the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods)]

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
    use std::{env, fs};

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

#[cfg(unix)]
mod handovers {
    use std::collections::HashSet;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Mutex, PoisonError};
    use std::time::SystemTime;

    use azmutex::ErrorKind;
    use azmutex::lease::Card;
    use rustix::process::Signal;

    use super::*;
    use support::process::{self, Process, say};

    on_the_emulator!(a_thousand_hand_overs_with_random_kills_have_tokens_that_only_grow);

    const PROCESSES: usize = 6;
    const HAND_OVERS: usize = 1_000;
    const LEASE: Duration = Duration::from_secs(15);
    const RESOURCE: &str = "AZMUTEX_TEST_RESOURCE";

    /// Whatever may be, in a row that its seed repeats.
    struct Dice(u64);

    impl Dice {
        fn new() -> Dice {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Dice(since.as_nanos() as u64 ^ u64::from(std::process::id()))
        }

        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    /// What the lock guards: takes what comes with a greater token than all before.
    #[derive(Default)]
    struct Resource {
        greatest: u64,
        taken: usize,
        refused: usize,
        seen: HashSet<u64>,
        twice: Vec<u64>,
    }

    impl Resource {
        fn write(&mut self, token: u64) -> &'static str {
            if !self.seen.insert(token) {
                self.twice.push(token);
            }
            if token <= self.greatest {
                self.refused += 1;
                return "refused";
            }
            self.greatest = token;
            self.taken += 1;
            if self.taken < HAND_OVERS { "taken" } else { "enough" }
        }

        fn serve(this: &Mutex<Resource>, stream: TcpStream) -> std::io::Result<()> {
            for line in BufReader::new(stream.try_clone()?).lines() {
                let token = line?.parse().expect("a token");
                let answer = this.lock().unwrap_or_else(PoisonError::into_inner).write(token);
                writeln!(&stream, "{answer}")?;
            }
            Ok(())
        }
    }

    /// Not a test of its own, but what each process does.
    #[test]
    fn child() {
        let Some((container, _)) = process::given() else { return };
        let builder = quick(&container, "job").pauses(Duration::from_millis(4), Duration::from_millis(20));
        let locker = builder.fencing(true).card(Card::new("one of a crowd")).build().unwrap();
        let resource = TcpStream::connect(process::variable(RESOURCE).unwrap()).unwrap();
        let mut answers = BufReader::new(resource.try_clone().unwrap());
        let (mut dice, mut answer) = (Dice::new(), String::new());
        while answer != "enough\n" {
            let guard = match locker.lock() {
                Ok(guard) => guard,
                // Its lease was ended before it had written its token.
                Err(error) if error.kind() == ErrorKind::LeaseLost => continue,
                Err(error) => panic!("{error:?}"),
            };
            let token = guard.fencing_token().unwrap();
            thread::sleep(Duration::from_millis(dice.below(4)));
            answer.clear();
            writeln!(&resource, "{token}").unwrap();
            answers.read_line(&mut answer).unwrap();
            thread::sleep(Duration::from_millis(dice.below(4)));
            match guard.unlock().map_err(|error| error.kind()) {
                Ok(()) => assert_ne!(answer, "refused\n", "{token} was refused, and nobody had taken the lock"),
                Err(kind) => assert_eq!(kind, ErrorKind::LeaseLost),
            }
        }
        say("done");
    }

    // Scenario 28.
    fn a_thousand_hand_overs_with_random_kills_have_tokens_that_only_grow(server: &Server) {
        let emulator = server.as_emulator().unwrap();
        let name = unique("handovers");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let resource = Arc::new(Mutex::new(Resource::default()));
        let served = resource.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, served) = (stream.unwrap(), served.clone());
                // The killed hang up.
                thread::spawn(move || drop(Resource::serve(&served, stream)));
            }
        });
        let start = || {
            let again = process::again(child).container(&server.connection_string(), &name);
            again.env(RESOURCE, &address).start()
        };
        let taken = || resource.lock().unwrap_or_else(PoisonError::into_inner).taken;

        let mut dice = Dice::new();
        println!("by the dice {}", dice.0);
        let mut processes: Vec<Process> = (0..PROCESSES).map(|_| start()).collect();
        let (mut killed, mut stopped, mut broken, mut deleted, mut ended) = (0, 0, 0, 0, 0);
        let since = Instant::now();
        while taken() < HAND_OVERS {
            assert!(since.elapsed() < 300 * SECOND, "{} hand-overs, {killed} kills", taken());
            thread::sleep(Duration::from_millis(20 + dice.below(80)));
            let process = &mut processes[dice.below(PROCESSES as u64) as usize];
            if let Some(end) = process.end() {
                assert!(end.success() && taken() >= HAND_OVERS, "{end}");
                break;
            }
            match dice.below(48) {
                // The next token has to wait for the next second then.
                0 => deleted += usize::from(emulator.delete(&name, "job").is_ok()),
                1..=4 => broken += usize::from(emulator.break_lock(&name, "job").is_ok()),
                5..=12 => {
                    process.signal(Signal::STOP);
                    emulator.advance(LEASE);
                    thread::sleep(Duration::from_millis(50));
                    process.signal(Signal::CONT);
                    stopped += 1;
                }
                _ => {
                    process.signal(Signal::KILL);
                    *process = start();
                    killed += 1;
                }
            }
            let before = taken();
            let patience = Instant::now() + Duration::from_millis(60);
            while taken() == before && Instant::now() < patience {
                thread::sleep(Duration::from_millis(2));
            }
            if taken() == before {
                // One of the dead has it, as far as can be seen.
                emulator.advance(LEASE);
                ended += 1;
            }
        }
        for process in &mut processes {
            assert_eq!(process.says().0, "done");
            assert!(process.ends_well());
        }
        let resource = resource.lock().unwrap_or_else(PoisonError::into_inner);
        println!(
            "{} hand-overs in {:.0?}: {killed} kills, {stopped} stops, {broken} breaks, {deleted} deletions, {ended} \
             leases ended; {} came too late and were refused",
            resource.taken,
            since.elapsed(),
            resource.refused
        );
        assert!(resource.taken >= HAND_OVERS);
        assert_eq!(resource.twice, [0; 0], "tokens that two had");
        assert_eq!(resource.seen.len(), resource.taken + resource.refused);
        assert!(killed > 10, "{killed} kills only");
    }
}
