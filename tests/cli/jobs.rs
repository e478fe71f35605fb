//! At a terminal, under shells with job control, as without the wrapper.

use std::fs;
use std::thread;
use std::time::Duration;

use azmutex::emulator::{Emulator, Operation};
use rustix::process::{Signal, kill_process};

use crate::processes::{Stat, is_alive, pid};
use crate::support::{Scratch, assert_free, eventually, is_free, locker};
use crate::terminal::Terminal;

const BASH: &[&str] = &["bash", "--norc", "--noprofile", "-i"];
const DASH: &[&str] = &["dash", "-i"];

/// In each shell, on an emulator of its own.
fn in_each(test: impl Fn(&Emulator, &mut Terminal)) {
    for shell in [BASH, DASH] {
        let emulator = Emulator::start().unwrap();
        test(&emulator, &mut Terminal::start(&emulator, shell));
        eventually("the lock is free", || is_free(&emulator));
    }
}

#[test]
fn a_command_may_ask_at_the_terminal() {
    in_each(|_, terminal| {
        terminal.line("run sh -c 'printf \"your na\"me? > /dev/tty; read x < /dev/tty; echo \"so it is $x\"'");
        terminal.expect("your name?");
        terminal.line("Ada");
        terminal.expect("so it is Ada");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 0);
        // With the echo off, as for a password.
        terminal.line("run sh -c 'stty -echo; printf \"pass\"word:; read x; stty echo; echo \"it has ${#x}\"'");
        terminal.expect("password:");
        terminal.line("secret");
        assert!(!terminal.expect("it has 6").contains("secret"));
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 0);
    });
}

#[test]
fn a_shell_may_run_with_jobs_of_its_own() {
    in_each(|_, terminal| {
        terminal.line("PS1='inn''er> ' run bash --norc --noprofile -i");
        terminal.expect("inner> ");
        terminal.line("sleep 600");
        terminal.expect_foreground("sleep");
        terminal.keys("\x03");
        terminal.expect("inner> ");
        terminal.line("sleep 601");
        terminal.expect_foreground("sleep");
        terminal.keys("\x1a");
        terminal.expect("inner> ");
        terminal.line("fg");
        terminal.expect_foreground("sleep");
        terminal.keys("\x03");
        terminal.expect("inner> ");
        terminal.line("exit 7");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 7);
    });
}

#[test]
fn a_key_ends_the_command_and_it_is_seen_to_have_died_of_it() {
    in_each(|emulator, terminal| {
        for (key, code) in [("\x03", 130), ("\x1c", 131)] {
            terminal.line("run sh -c 'echo u\"\"p; exec sleep 600'");
            terminal.expect("up");
            terminal.keys(key);
            terminal.expect("$> ");
            assert_eq!(terminal.code(), code);
            assert_free(emulator);
        }
    });
}

#[test]
fn a_script_does_not_go_on_after_a_key() {
    in_each(|_, terminal| {
        for shell in ["bash", "dash"] {
            let azmutex = env!("CARGO_BIN_EXE_azmutex");
            terminal.line(&format!("{shell} -c \"{azmutex} run job sh -c 'echo u''p; exec sleep 600'; echo went on\""));
            terminal.expect("\nup");
            terminal.keys("\x03");
            let shown = terminal.expect("$> ");
            assert!(!shown.contains("went on"), "{shown}");
        }
    });
}

#[test]
fn a_script_that_traps_the_key_does_what_it_wants() {
    in_each(|_, terminal| {
        terminal.line("run bash -c 'trap \"echo tr\"\"apped; x=1\" INT; echo u\"\"p; until [ $x ]; do sleep 0.05; done; echo en\"\"d; exit 3'");
        terminal.expect("\nup");
        terminal.keys("\x03");
        terminal.expect("trapped");
        terminal.expect("end");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 3);
    });
}

#[test]
fn the_key_twice_comes_twice() {
    in_each(|_, terminal| {
        let text = "n=0; trap \"n=\\$((n+1)); echo g\"\"ot \\$n\" INT; echo u\"\"p; while [ $n -lt 2 ]; do sleep 0.05; done; exit 6";
        terminal.line(&format!("run bash -c '{text}'"));
        terminal.expect("\nup");
        terminal.keys("\x03");
        terminal.expect("got 1");
        terminal.keys("\x03");
        terminal.expect("got 2");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 6);
    });
}

/// The command keeps its lock while it is stopped, for longer than the lease.
#[test]
fn a_command_that_is_stopped_keeps_its_lock() {
    let emulator = Emulator::start().unwrap();
    let mut terminal = Terminal::bash(&emulator);
    terminal.line("run --lease 15 sh -c 'echo u\"\"p; read x; echo \"read $x\"; exit 5'");
    terminal.expect("\nup");
    terminal.keys("\x1a");
    terminal.expect("Stopped");
    terminal.expect("$> ");
    let renewals = || emulator.requests().iter().filter(|request| request.operation == Operation::RenewLease).count();
    let before = renewals();
    for round in 1..=2 {
        eventually("a renewal", || renewals() >= before + round);
        // More than half of the lease each time, and less than what is left until the next renewal.
        emulator.advance(Duration::from_secs(8));
        assert!(locker(&emulator).try_lock().is_err());
    }
    terminal.line("fg");
    terminal.expect_foreground("sh");
    terminal.line("word");
    terminal.expect("read word");
    terminal.expect("$> ");
    assert_eq!(terminal.code(), 5);
    assert_free(&emulator);
}

#[test]
fn a_command_that_is_stopped_goes_on_in_the_background() {
    in_each(|_, terminal| {
        let (file, word) = (Scratch::new(), Scratch::new());
        let until = format!("until [ -e {} ]; do sleep 0.05; done", word.path());
        terminal.line(&format!("run sh -c 'echo u\"\"p; {until}; echo done > {}'", file.path()));
        terminal.expect("\nup");
        terminal.keys("\x1a");
        terminal.expect("topped");
        terminal.expect("$> ");
        terminal.run("bg");
        std::fs::write(word.path(), "").unwrap();
        eventually("its end", || std::fs::read_to_string(file.path()).is_ok_and(|text| text == "done\n"));
        terminal.run("wait");
    });
}

#[test]
fn a_job_in_the_background_stops_when_it_reads_and_goes_on_in_the_foreground() {
    in_each(|_, terminal| {
        terminal.run("run sh -c 'read x; echo \"so $x\"; exit 4' &");
        eventually("a stop", || terminal.run("jobs").contains("topped"));
        terminal.line("fg");
        terminal.expect_foreground("sh");
        terminal.line("word");
        terminal.expect("so word");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 4);
    });
}

#[test]
fn a_job_in_the_background_stops_when_it_must_not_write() {
    in_each(|_, terminal| {
        terminal.run("stty tostop");
        terminal.run("run sh -c 'echo from be\"\"low; exit 4' &");
        eventually("a stop", || terminal.run("jobs").contains("topped"));
        terminal.line("fg");
        terminal.expect("from below");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 4);
        terminal.run("stty -tostop");
    });
}

#[test]
fn a_job_in_the_background_is_ended_by_kill() {
    in_each(|emulator, terminal| {
        terminal.line("run sh -c 'echo u\"\"p; exec sleep 600' &");
        terminal.expect("up");
        terminal.run("kill %1");
        terminal.run("wait");
        eventually("the lock is free", || is_free(emulator));
    });
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).exists())
}

#[test]
fn another_program_of_the_pipeline_may_read_the_terminal() {
    in_each(|_, terminal| {
        terminal.line(
            "run sh -c 'echo thro\"\"ugh' | sh -c 'read x; echo as\"\"ks; read y < /dev/tty; echo \"$x and $y\"'",
        );
        terminal.expect("\nasks");
        terminal.line("typed");
        terminal.expect("through and typed");
        terminal.expect("$> ");
    });
}

#[test]
fn an_editor_and_a_pager_have_the_whole_terminal() {
    if !["vim", "less"].iter().all(|name| is_installed(name)) {
        return;
    }
    in_each(|_, terminal| {
        let file = Scratch::new();
        std::fs::write(file.path(), "first-line\n").unwrap();
        terminal.line(&format!("TERM=xterm run vim -u NONE -i NONE -n {}", file.path()));
        // What no path has in it.
        terminal.expect("first-line");
        terminal.keys("Gosecond-line\x1b");
        // As a key, it stops.
        terminal.keys("\x1a");
        terminal.expect("topped");
        terminal.expect("$> ");
        terminal.line("fg");
        // It shows its text again when it has the terminal.
        terminal.expect("second-line");
        terminal.keys(":wq\n");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 0);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "first-line\nsecond-line\n");
        terminal.line(&format!("TERM=xterm run less {}", file.path()));
        terminal.expect("second-line");
        terminal.keys("q");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 0);
    });
}

/// As when its window is closed: a command that runs, one that is stopped, and one in the background.
#[test]
fn a_terminal_that_closes_ends_the_command() {
    for shell in [BASH, DASH] {
        for (what, keys, shown) in
            [("sleep 600", "", ""), ("sleep 600", "\x1a", "topped"), ("sleep 600 &", "", "keeps the lock")]
        {
            let emulator = Emulator::start().unwrap();
            let mut terminal = Terminal::start(&emulator, shell);
            terminal.line(&format!("run sh -c 'echo u\"\"p; exec {what}'"));
            terminal.expect("\nup");
            terminal.keys(keys);
            terminal.expect(shown);
            terminal.close();
            eventually("the lock is free", || is_free(&emulator));
        }
    }
}

#[test]
fn a_command_under_nohup_survives_its_terminal() {
    let emulator = Emulator::start().unwrap();
    let mut terminal = Terminal::bash(&emulator);
    let azmutex = env!("CARGO_BIN_EXE_azmutex");
    let (file, word) = (Scratch::new(), Scratch::new());
    let until = format!("until [ -e {} ]; do sleep 0.05; done", word.path());
    let text = format!("echo up > {0}; {until}; echo end > {0}", file.path());
    terminal.line(&format!("nohup {azmutex} run nightly-report sh -c '{text}' > /dev/null 2>&1 &"));
    eventually("its start", || std::fs::read_to_string(file.path()).is_ok_and(|text| text == "up\n"));
    terminal.close_and_wait();
    std::fs::write(word.path(), "").unwrap();
    eventually("its end", || std::fs::read_to_string(file.path()).is_ok_and(|text| text == "end\n"));
    eventually("the lock is free", || is_free(&emulator));
}

#[test]
fn a_wait_stops_and_goes_on_and_takes_no_lock_in_between() {
    in_each(|emulator, terminal| {
        let guard = locker(emulator).lock().unwrap();
        let looks =
            || emulator.requests().iter().filter(|request| request.operation == Operation::GetBlobProperties).count();
        terminal.line("run echo mi\"\"ne");
        eventually("a wait", || looks() >= 2);
        terminal.keys("\x1a");
        terminal.expect("topped");
        terminal.expect("$> ");
        guard.unlock().unwrap();
        // Long enough for a wait that goes on to take it.
        thread::sleep(Duration::from_millis(1500));
        assert_free(emulator);
        terminal.line("fg");
        terminal.expect("\nmine");
        terminal.expect("$> ");
        assert_eq!(terminal.code(), 0);
    });
}

#[test]
fn a_wait_ends_by_a_key() {
    in_each(|emulator, terminal| {
        let guard = locker(emulator).lock().unwrap();
        terminal.line("run echo mi\"\"ne");
        terminal.expect("waiting, somebody else holds it");
        terminal.keys("\x03");
        let shown = terminal.expect("$> ");
        assert!(!shown.contains("\nmine"), "{shown}");
        assert_eq!(terminal.code(), 130);
        guard.unlock().unwrap();
    });
}

/// On a terminal that can do that, the wait is shown on one line, which is gone when the lock is there.
#[test]
fn a_wait_is_shown_on_one_line() {
    let emulator = Emulator::start().unwrap();
    let mut terminal = Terminal::bash(&emulator);
    let guard = locker(&emulator).lock().unwrap();
    terminal.line("TERM=xterm run echo mi\"\"ne");
    terminal.expect("\r\x1b[K\x1b[2mazmutex: lock \"nightly-report\": waiting for 0s, somebody else holds it\x1b[0m");
    terminal.expect("\r\x1b[K\x1b[2mazmutex: lock \"nightly-report\": waiting for 2s, somebody else holds it\x1b[0m");
    guard.unlock().unwrap();
    let shown = terminal.expect("mine");
    assert!(shown.ends_with("\r\x1b[K"), "{shown:?}");
    terminal.expect("$> ");

    let guard = locker(&emulator).lock().unwrap();
    terminal.line("NO_COLOR=1 TERM=xterm run echo mi\"\"ne");
    terminal.expect("\r\x1b[Kazmutex: lock \"nightly-report\": waiting for 0s, ");
    // A look shows it, which may come a moment later.
    terminal.expect("\r\x1b[Kazmutex: lock \"nightly-report\": waiting for ");
    terminal.expect("the last card left: \"echo\", host ");
    guard.unlock().unwrap();
    terminal.expect("mine");
}

/// Its line stands in a terminal that shows nothing for a while.
#[test]
fn a_terminal_that_is_halted_does_not_keep_the_front_from_its_guard() {
    let emulator = Emulator::start().unwrap();
    let guard = locker(&emulator).lock().unwrap();
    let mut terminal = Terminal::bash(&emulator);
    let file = Scratch::new();
    let text = format!("setsid sh -c \"echo \\$\\$ > {}; exec sleep 600\" & exec sleep 600", file.path());
    terminal.line(&format!("TERM=xterm run sh -c '{text}'"));
    terminal.expect("waiting for 1s");
    terminal.keys("\x13");
    // Until it is seen to have no effect more: whatever is shown from then on.
    terminal.expect_halt();
    guard.unlock().unwrap();
    eventually("the command runs", || fs::read_to_string(file.path()).is_ok_and(|text| text.ends_with('\n')));
    let daemon = pid(&fs::read_to_string(file.path()).unwrap());
    let warden = Stat::parent_of(Stat::parent_of(daemon));
    kill_process(warden, Signal::KILL).unwrap();
    eventually("the end of the daemon", || !is_alive(daemon));
    terminal.keys("\x11");
    terminal.expect("the warden was killed, so the command was ended");
    terminal.expect("$> ");
    assert_eq!(terminal.code(), 70);
}

/// A terminal that stops jobs in the background which write to it.
#[test]
fn a_job_in_the_background_that_may_not_write_ends_without_a_word() {
    let emulator = Emulator::start().unwrap();
    let mut terminal = Terminal::bash(&emulator);
    terminal.run("stty tostop");
    terminal.line("run sh -c 'echo $$ > /dev/null; exec sleep 600' &");
    let is_command = |stat: &Stat| stat.name == "sleep" && stat.session == terminal.session();
    eventually("the command", || Stat::all().any(|stat| is_command(&stat)));
    let command = Stat::all().find(is_command).unwrap();
    kill_process(Stat::parent_of(command.pid), Signal::KILL).unwrap();
    terminal.line("wait $!");
    terminal.expect("$> ");
    terminal.line("wait $!");
    terminal.expect("$> ");
    assert_eq!(terminal.code(), 70);
}
