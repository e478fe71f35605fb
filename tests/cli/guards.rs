//! Who ends a command, and what is left of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use azmutex::emulator::{Emulator, Operation};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::processes::{is_alive, is_ignored, is_stopped, pid};
use crate::signals::clogged;
use crate::support::{
    NAME, Scratch, assert_free, azmutex, break_lock, code, died, eventually, first_line, is_free, locker, run, script,
    stderr,
};

pub(crate) fn warden(front: &Child) -> Pid {
    let id = front.id();
    pid(fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap().split(' ').next().unwrap())
}

/// A command with children that left in all ways there are; their process ids, the command's first.
fn family(emulator: &Emulator, options: &[&str]) -> (Child, Vec<Pid>) {
    let file = Scratch::new();
    let text = format!(
        "p={}; sleep 600 & echo $! > $p; setsid sh -c 'echo $$ >> '$p'; exec sleep 600' &
         (setsid sh -c 'sh -c \"echo \\$\\$ >> '$p'; exec sleep 600\" &' &)
         timeout 600 sh -c 'echo $$ >> '$p'; exec sleep 600' & echo $$; exec sleep 600",
        file.path()
    );
    let mut child = script(emulator, options, &text).spawn().unwrap();
    let (line, stdout) = first_line(&mut child);
    child.stdout = Some(stdout);
    let mut members = vec![pid(&line)];
    eventually("all of them", || fs::read_to_string(file.path()).is_ok_and(|text| text.lines().count() == 4));
    members.extend(fs::read_to_string(file.path()).unwrap().lines().map(pid));
    assert!(members.iter().copied().all(is_alive));
    (child, members)
}

fn living(members: &[Pid]) -> usize {
    members.iter().copied().filter(|member| is_alive(*member)).count()
}

/// It has ended, and nobody of the family is left, who would keep its output open.
fn ended(mut child: Child, members: &[Pid]) -> Output {
    eventually("its end", || child.try_wait().unwrap().is_some());
    let left = living(members);
    for member in members {
        let _ = kill_process(*member, Signal::KILL);
    }
    assert_eq!(left, 0);
    child.wait_with_output().unwrap()
}

#[test]
fn a_loss_ends_also_those_that_left() {
    let emulator = Emulator::start().unwrap();
    let (child, members) = family(&emulator, &["--lease", "15"]);
    break_lock(&emulator);
    let output = ended(child, &members);
    assert_eq!(code(&output), 70, "{}", stderr(&output));
    // Told once, in one line.
    let told = stderr(&output);
    assert!(told.ends_with("lost: somebody broke the lease; the command was ended\n"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn a_front_that_is_killed_ends_all_and_the_lock_is_free_at_once() {
    let emulator = Emulator::start().unwrap();
    let (child, members) = family(&emulator, &[]);
    let start = Instant::now();
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    eventually("the end of the family", || living(&members) == 0);
    eventually("the lock is free", || is_free(&emulator));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(died(&child.wait_with_output().unwrap().status), 9);
}

#[test]
fn a_warden_that_is_killed_ends_all() {
    let emulator = Emulator::start().unwrap();
    let (child, members) = family(&emulator, &[]);
    kill_process(warden(&child), Signal::KILL).unwrap();
    let output = ended(child, &members);
    assert_eq!(code(&output), 70, "{}", stderr(&output));
    assert!(stderr(&output).contains("the warden was killed, so the command was ended"), "{}", stderr(&output));
    // Nobody is there who could release it.
    assert!(!is_free(&emulator));
}

/// The card names it, so that is whom an operator asks to end.
#[test]
fn a_warden_that_is_asked_to_end_passes_it_on() {
    let emulator = Emulator::start().unwrap();
    let mut child = script(&emulator, &[], "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done").spawn().unwrap();
    child.stdout = Some(first_line(&mut child).1);
    kill_process(warden(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert_free(&emulator);
}

#[test]
fn if_both_are_killed_the_command_itself_ends() {
    let emulator = Emulator::start().unwrap();
    let (child, members) = family(&emulator, &[]);
    let warden = warden(&child);
    for process in [Pid::from_child(&child), warden] {
        kill_process(process, Signal::STOP).unwrap();
    }
    for process in [Pid::from_child(&child), warden] {
        kill_process(process, Signal::KILL).unwrap();
    }
    eventually("the end of the command", || !is_alive(members[0]));
    for member in members.into_iter().skip(1).filter(|member| is_alive(*member)) {
        let _ = kill_process(member, Signal::KILL);
    }
    drop(child.wait_with_output());
}

#[test]
fn chains_of_forks_are_no_way_out() {
    let emulator = Emulator::start().unwrap();
    let file = Scratch::new();
    let fifo = file.path();
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    let link = Scratch::new();
    fs::write(link.path(), "sh $0 &\n").unwrap();
    let text = format!("exec 9> {fifo}; for i in 1 2 3 4 5 6; do sh {}; done; echo up; sleep 600", link.path());
    let mut child = script(&emulator, &[], &text).spawn().unwrap();
    let mut pipe = fs::File::open(fifo).unwrap();
    first_line(&mut child);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    // Its end is the end of the last of them.
    assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    eventually("the lock is free", || is_free(&emulator));
    drop(child.wait());
}

#[test]
fn what_is_left_in_the_session_keeps_the_lock() {
    let emulator = Emulator::start().unwrap();
    let mut child = script(&emulator, &[], "sleep 600 & echo $!; exit 4").spawn().unwrap();
    let (line, _stdout) = first_line(&mut child);
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains(&format!("what it left behind keeps the lock: {line} (")), "{told}");
    assert!(!is_free(&emulator) && is_alive(pid(&line)));
    kill_process(pid(&line), Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert_free(&emulator);
}

#[test]
fn a_daemon_is_named_and_let_go() {
    let emulator = Emulator::start().unwrap();
    let text = "setsid sleep 600 > /dev/null 2>&1 < /dev/null & echo $!; while ! [ \"$(ps -o comm= -p $!)\" = sleep ]; do :; done";
    let output = script(&emulator, &[], text).output().unwrap();
    let daemon = pid(&String::from_utf8(output.stdout.clone()).unwrap());
    assert_eq!(code(&output), 0);
    assert!(is_alive(daemon));
    let name = format!("{} (sleep)", daemon.as_raw_nonzero());
    assert!(stderr(&output).contains(&name), "{}", stderr(&output));
    assert_free(&emulator);
    kill_process(daemon, Signal::KILL).unwrap();
}

#[test]
fn a_lock_is_not_waited_for_by_who_has_it() {
    let emulator = Emulator::start().unwrap();
    let azmutex = env!("CARGO_BIN_EXE_azmutex");
    let nested = |text: &str| script(&emulator, &[], text).output().unwrap();
    // Also if a session lies between.
    for between in ["", "setsid --wait "] {
        let output = nested(&format!("{between}{azmutex} run -w 10 {NAME} true"));
        assert_eq!(code(&output), 64, "{}", stderr(&output));
        assert!(stderr(&output).contains("it is held for the very command that this one is part of"));
    }
    assert_eq!(code(&nested(&format!("{azmutex} run other {azmutex} run --container others {NAME} true"))), 0);
    // What only looks like it waits as for any other.
    let output = nested(&format!("env -u AZMUTEX_HELD {azmutex} run -n {NAME} true"));
    assert_eq!(code(&output), 75);
}

#[test]
fn every_signal_is_passed_on() {
    let emulator = Emulator::start().unwrap();
    for (name, signal) in [
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("ALRM", Signal::ALARM),
        ("VTALRM", Signal::VTALARM),
        ("PROF", Signal::PROF),
        ("URG", Signal::URG),
        ("WINCH", Signal::WINCH),
        ("IO", Signal::IO),
        ("PWR", Signal::POWER),
        ("XCPU", Signal::XCPU),
        ("SYS", Signal::SYS),
        ("TRAP", Signal::TRAP),
        ("ABRT", Signal::ABORT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
    ] {
        if is_ignored(signal) {
            continue;
        }
        let text = format!("trap 'exit 7' {name}; echo up; while :; do sleep 0.02; done");
        let mut child = script(&emulator, &["--no-card"], &text).spawn().unwrap();
        let (_, stdout) = first_line(&mut child);
        child.stdout = Some(stdout);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(code(&child.wait_with_output().unwrap()), 7, "{name}");
    }
}

#[test]
fn it_runs_in_odd_places() {
    let emulator = Emulator::start().unwrap();
    let azmutex = env!("CARGO_BIN_EXE_azmutex");
    let connection_string = emulator.connection_string();
    let (whole, own) = (format!("{azmutex} run {NAME} sh -c 'echo ran; exit 5'"), "AZURE_STORAGE_CONNECTION_STRING");
    for line in [
        whole.clone(),
        format!("setsid --wait {whole}"),
        format!("env -i PATH=\"$PATH\" {own}=\"${own}\" {whole}"),
        format!("timeout 60 {whole}"),
        format!("nohup {whole} 2> /dev/null"),
        format!("{whole} < /dev/null"),
        format!("{whole} <&-"),
        format!("{whole} 2>&-"),
        format!("{whole} 2> /dev/full"),
        format!("trap '' CHLD; {whole}"),
        format!("trap '' INT TERM HUP; {whole}"),
        format!("cd / && exec {whole}"),
        // With a child that is nobody's business.
        format!("sleep 600 > /dev/null 2>&1 & p=$!; ({whole}); r=$?; kill $p; exit $r"),
        format!("ulimit -n 30; {whole}"),
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", &line]).env(own, &connection_string).stdin(Stdio::null());
        let output = command.process_group(0).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), &*said), (Some(5), "ran\n"), "{line}: {}", stderr(&output));
    }
    // Without stdout, nothing can be said.
    let output =
        Command::new("bash").args(["-c", &format!("{whole} >&-")]).env(own, &connection_string).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert_free(&emulator);
}

/// A program that ignores the end of its children hands that on.
#[test]
fn the_end_of_the_command_is_heard_by_who_was_started_to_ignore_it() {
    let emulator = Emulator::start().unwrap();
    let program = "import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])";
    let mut command = Command::new("python3");
    command.args(["-c", program, env!("CARGO_BIN_EXE_azmutex"), "run", NAME, "sh", "-c", "exit 5"]);
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    let Ok(output) = command.output() else { return };
    assert_eq!(code(&output), 5, "{}", stderr(&output));
}

/// Whoever starts it may have all signals blocked.
#[test]
fn blocked_signals_do_not_hang_it() {
    let emulator = Emulator::start().unwrap();
    let program = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])";
    let blocked = |line: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", program, env!("CARGO_BIN_EXE_azmutex"), "run", "--lease", "15", NAME]).args(line);
        command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    assert_eq!(code(&blocked(&["sh", "-c", "exit 5"]).wait_with_output().unwrap()), 5);

    let mut child = blocked(&["sh", "-c", "echo up; exec sleep 600"]);
    let (_, stdout) = first_line(&mut child);
    child.stdout = Some(stdout);
    break_lock(&emulator);
    assert_eq!(code(&child.wait_with_output().unwrap()), 70);

    let guard = locker(&emulator).lock().unwrap();
    let requests = emulator.requests().len();
    let mut child = blocked(&["true"]);
    eventually("a wait", || emulator.requests().len() > requests + 1);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(died(&child.wait().unwrap()), 15);
    guard.unlock().unwrap();
}

/// What is blocked or ignored is so for the command, as if nobody stood between. (But for PIPE, which Rust's library
/// ignores before a program can see whether it was, and which is as usual again for the command.)
#[test]
fn the_command_has_the_signals_masks_of_whoever_started_us() {
    let emulator = Emulator::start().unwrap();
    let program = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, eval(sys.argv[1]))
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.signal(signal.SIGTSTP, signal.SIG_IGN)
os.execvp(sys.argv[2], sys.argv[2:])";
    let masks = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    for blocked in ["[]", "[signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD]", "signal.valid_signals()"] {
        let said = |between: &[&str]| {
            let mut command = Command::new("python3");
            command.args(["-c", program, blocked]).args(between).args(masks);
            command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        if Command::new("python3").arg("--version").output().is_err() {
            return;
        }
        let alone = said(&[]);
        assert_eq!(alone.lines().count(), 2, "{alone}");
        assert_eq!(said(&[env!("CARGO_BIN_EXE_azmutex"), "run", NAME]), alone, "{blocked}");
    }
}

/// As the first process of a container: nothing kills it that it does not know, and it reaps orphans.
#[test]
fn it_may_be_the_first_process() {
    let emulator = Emulator::start().unwrap();
    let inside = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        unshare.arg(env!("CARGO_BIN_EXE_azmutex")).args(["run", NAME]).args(command);
        unshare.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        unshare.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    };
    let output = inside(&["sh", "-c", "echo $PPID; (sleep 0.1 & sleep 0.1 &) ; sleep 0.3; exit 5"]);
    if stderr(&output).starts_with("unshare:") {
        return;
    }
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let output = inside(&["sh", "-c", "kill -TERM $$"]);
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert_free(&emulator);
}

/// Whoever stops the whole job does not stop the one who has the lock.
#[test]
fn a_job_that_is_stopped_is_renewed() {
    let emulator = Emulator::start().unwrap();
    let mut child = run(&emulator, &["--lease", "15"], &["sh", "-c", "echo up; exec sleep 600"]);
    let mut child = child.process_group(0).spawn().unwrap();
    first_line(&mut child);
    kill_process_group(Pid::from_child(&child), Signal::STOP).unwrap();
    let renewals = || emulator.requests().iter().filter(|request| request.operation == Operation::RenewLease).count();
    let before = renewals();
    eventually("a renewal", || renewals() > before);
    kill_process_group(Pid::from_child(&child), Signal::CONT).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(died(&child.wait().unwrap()), 15);
}

/// However soon after it was stopped it is continued, and whoever of it hears of that last: nobody stays stopped.
#[test]
fn a_job_that_is_stopped_for_a_moment_goes_on() {
    let emulator = Emulator::start().unwrap();
    let mut child = run(&emulator, &[], &["sh", "-c", "echo $$; exec sleep 600"]);
    let mut child = child.process_group(0).spawn().unwrap();
    let (line, _stdout) = first_line(&mut child);
    let (front, command) = (Pid::from_child(&child), pid(&line));
    let rounds = [Signal::STOP, Signal::TSTP].into_iter().cycle().take(200);
    for (round, stop) in rounds.enumerate() {
        // From none to some milliseconds, and not by chance.
        let pause = Duration::from_micros(round as u64 * 7919 % 6000);
        let other = if round % 3 == 0 { command } else { front };
        match round % 4 {
            0..=1 => kill_process_group(front, stop).unwrap(),
            2 => kill_process(command, stop).unwrap(),
            // The warden is told, and stops the command.
            _ => kill_process(front, Signal::TSTP).unwrap(),
        }
        spin(pause);
        match round % 5 {
            0..=2 => kill_process_group(front, Signal::CONT).unwrap(),
            _ => {
                kill_process(front, Signal::CONT).unwrap();
                spin(pause / 3);
                kill_process(other, Signal::CONT).unwrap();
            }
        }
    }
    kill_process_group(front, Signal::CONT).unwrap();
    eventually("both go on", || ![front, command].into_iter().any(is_stopped));
    kill_process(front, Signal::TERM).unwrap();
    eventually("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(died(&child.wait().unwrap()), 15);
    assert_free(&emulator);
}

/// Shorter than a sleep can be.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A stopped job that loses its lock says so, and is not left for ever.
#[test]
fn a_stopped_command_is_ended_at_a_loss() {
    let emulator = Emulator::start().unwrap();
    let mut child = run(&emulator, &["--lease", "15"], &["sh", "-c", "echo $$; exec sleep 600"]);
    let mut child = child.process_group(0).spawn().unwrap();
    let (line, stdout) = first_line(&mut child);
    child.stdout = Some(stdout);
    kill_process(pid(&line), Signal::STOP).unwrap();
    eventually("the front stops, too", || is_stopped(Pid::from_child(&child)));
    break_lock(&emulator);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 70, "{}", stderr(&output));
    assert!(locker(&emulator).try_lock().is_ok());
}

/// The front has more to tell than fits between the two.
#[test]
fn a_warden_that_reads_nothing_does_not_keep_the_front_from_its_guard() {
    let emulator = Emulator::start().unwrap();
    let (child, members) = family(&emulator, &["--lease", "15"]);
    kill_process(warden(&child), Signal::STOP).unwrap();
    for _ in 0..600 {
        kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
        // Two that come at once are one.
        spin(Duration::from_millis(2));
    }
    let output = ended(child, &members);
    assert_eq!(code(&output), 70, "{}", stderr(&output));
    assert!(stderr(&output).contains("the warden stood still, so the command was ended"), "{}", stderr(&output));
}

#[test]
fn a_wait_ends_though_its_warden_reads_nothing() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let before = emulator.requests().len();
    let mut child = run(&emulator, &[], &["true"]).spawn().unwrap();
    eventually("a wait", || emulator.requests().len() > before + 1);
    let warden = warden(&child);
    kill_process(warden, Signal::STOP).unwrap();
    for _ in 0..600 {
        kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
        spin(Duration::from_millis(2));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    eventually("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(died(&child.wait().unwrap()), 15);
    kill_process(warden, Signal::KILL).unwrap();
    guard.unlock().unwrap();
}

/// Nobody reads what it says, and there is no more room for it.
#[test]
fn a_front_that_cannot_speak_ends_nevertheless() {
    let emulator = Emulator::start().unwrap();
    let (unread, full) = clogged();
    let mut command = script(&emulator, &[], "echo $$; exec sleep 600");
    let mut child = command.stderr(full.try_clone().unwrap()).spawn().unwrap();
    let (line, _stdout) = first_line(&mut child);
    let guarded = pid(&line);
    for action in ["run", "hold"] {
        let mut other = azmutex();
        other.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string()).args([action, "-n", NAME]);
        let other = other.args(["true"].iter().filter(|_| action == "run")).stderr(full.try_clone().unwrap());
        let mut other = other.spawn().unwrap();
        eventually(action, || other.try_wait().unwrap().is_some());
        assert_eq!(other.wait().unwrap().code(), Some(75));
    }
    kill_process(warden(&child), Signal::KILL).unwrap();
    eventually("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(70));
    assert!(!is_alive(guarded));
    drop(unread);
}

/// As a service manager or `pkill` sends them, by user, by service or by name.
#[test]
fn what_is_sent_to_all_processes_does_not_end_the_warden() {
    let emulator = Emulator::start().unwrap();
    let (child, members) = family(&emulator, &[]);
    let warden = warden(&child);
    for signal in [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::XFSZ, Signal::XCPU, Signal::IO, Signal::POWER] {
        kill_process(warden, signal).unwrap();
    }
    eventually("it has got them all", || is_alive(warden) && pending(warden) == 0 || !is_alive(warden));
    assert!(is_alive(warden));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut child = child;
    eventually("its end", || child.try_wait().unwrap().is_some());
    for member in members.into_iter().filter(|member| is_alive(*member)) {
        let _ = kill_process(member, Signal::KILL);
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(died(&output.status), 15, "{}", stderr(&output));
}

/// The signals that wait for it.
fn pending(process: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap_or_default();
    let masks = status.lines().filter_map(|line| line.strip_prefix("ShdPnd:").or(line.strip_prefix("SigPnd:")));
    masks.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap()).sum()
}

#[test]
fn where_files_may_not_grow_nothing_is_run() {
    let emulator = Emulator::start().unwrap();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("ulimit -f 0; {} run {NAME} echo ran", env!("CARGO_BIN_EXE_azmutex"))]);
    let output = command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string()).output().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (71, 0), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("azmutex: could not "), "{}", stderr(&output));
    assert_free(&emulator);
}

#[test]
fn a_warden_that_cannot_start_says_why_and_nobody_else_does() {
    let emulator = Emulator::start().unwrap();
    let mut failures = 0;
    for limit in 4..20 {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -n {limit}; {} run -n {NAME} echo ran", env!("CARGO_BIN_EXE_azmutex"))]);
        let output = command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string()).output().unwrap();
        let told = stderr(&output);
        if output.status.code() == Some(71) {
            failures += 1;
            assert_eq!(told.lines().count(), 1, "{limit}: {told}");
        }
    }
    assert!(failures > 2, "{failures}");
}

/// Also of one that few programs know.
#[test]
fn it_dies_of_what_the_command_died_of() {
    let emulator = Emulator::start().unwrap();
    for signal in [9, 10, 15, 16, 24, 25, 29, 30, 31] {
        let output = script(&emulator, &["--no-card"], &format!("ulimit -c 0; kill -{signal} $$")).output().unwrap();
        assert_eq!(died(&output.status), signal, "{}", stderr(&output));
    }
}

/// A program such as setsid takes the place of the command.
#[test]
fn a_command_that_begins_a_session_is_signalled_too() {
    let emulator = Emulator::start().unwrap();
    let text = "sleep 600 & echo $! $$; wait";
    let mut child = run(&emulator, &[], &["setsid", "sh", "-c", text]).spawn().unwrap();
    let (line, stdout) = first_line(&mut child);
    child.stdout = Some(stdout);
    let members: Vec<_> = line.split(' ').map(pid).collect();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = ended(child, &members);
    assert_eq!(died(&output.status), 15, "{}", stderr(&output));
    assert_free(&emulator);
}

/// There are processes, but `/proc` tells of others.
#[test]
fn without_proc_the_command_itself_is_signalled_and_ended() {
    let emulator = Emulator::start().unwrap();
    for (signal, expected) in [("TERM", 143), ("KILL", 137)] {
        let azmutex = env!("CARGO_BIN_EXE_azmutex");
        let text = format!(
            "{azmutex} run {NAME} sh -c 'echo up; exec sleep 600' & front=$!; read go; kill -{signal} $front
             wait $front; code=$?; while kill -0 -1 2> /dev/null; do sleep 0.05; done; exit $code"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "dash", "-c", &text]);
        unshare.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = unshare.spawn().unwrap();
        let (line, _stdout) = first_line(&mut child);
        if line.is_empty() {
            // It may not be had here.
            drop(child.wait());
            return;
        }
        drop(child.stdin.take());
        eventually(signal, || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(expected));
        assert!(stderr(&child.wait_with_output().unwrap()).contains("/proc does not show what runs here"));
        assert_free(&emulator);
    }
}

/// Before the lock is taken.
#[test]
fn that_there_is_no_proc_is_told() {
    let emulator = Emulator::start().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    unshare.arg(format!("mount -t tmpfs none /proc && exec {} run {NAME} true", env!("CARGO_BIN_EXE_azmutex")));
    unshare.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    let output = unshare.output().unwrap();
    let told = stderr(&output);
    if ["unshare:", "mount:"].iter().any(|start| told.starts_with(start)) {
        // It may not be had here.
        return;
    }
    assert_eq!(
        (code(&output), &*told),
        (71, "azmutex: could not start a warden: it takes /proc, which is not there\n")
    );
    assert!(emulator.requests().is_empty());
}

/// For want of a thread, or of anything else.
#[test]
fn a_failure_once_the_lock_is_held_leaves_nothing_that_runs() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let before = emulator.requests().len();
    // The limit does not count for root, so it has to be another user's: one that has no other processes.
    let user = (100_000 + std::process::id() % 100_000).to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--clear-groups", env!("CARGO_BIN_EXE_azmutex"), "run", NAME, "sh", "-c"]);
    command.args(["echo $$; exec sleep 600"]).env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("a wait, or no such user", || {
        emulator.requests().len() > before + 2 || child.try_wait().unwrap().is_some()
    });
    if child.try_wait().unwrap().is_some() {
        return;
    }
    let warden = warden(&child).as_raw_nonzero().to_string();
    let mut limit = Command::new("setpriv");
    limit.args(["--reuid", &user, "--clear-groups", "prlimit", "--pid", &warden, "--nproc=1:1"]);
    assert!(limit.status().unwrap().success());
    guard.unlock().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (71, 0), "{}", stderr(&output));
    assert_free(&emulator);
}
