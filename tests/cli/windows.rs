//! A command under a lock on Windows, where most tools are `.cmd` files, and their real programs are grandchildren.
//!
//! What is started here is this program again, as one of [`player`]'s parts. Each part holds a connection to its test, whose
//! end is the end of its process. With `--nocapture`, each case prints how long after the end of the last of them the next
//! holder had the lock.
//!
//! What a part does for its lock is to say what time it is. When it stopped to do so is what counts: its connection ends
//! later, by as much as its system takes to tidy up after a process. In wine that is most of a second on a busy machine, and
//! now and then it never comes.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::windows::process::CommandExt;
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use azmutex::ErrorKind;
use azmutex::emulator::{Emulator, Fault, Operation};
use send_ctrlc::Interruptible;

use crate::support::{NAME, assert_free, azmutex, break_lock, code, is_free, locker, run, stderr};

/// Which part this process has, on which port its test listens, and where this program is.
const PART: &str = "AZMUTEX_TEST_PART";
const PORT: &str = "AZMUTEX_TEST_PORT";
const PROGRAM: &str = "AZMUTEX_TEST_PROGRAM";
/// What a console runs, and which part that has.
const LINE: &str = "AZMUTEX_TEST_LINE";
const LINE_PART: &str = "AZMUTEX_TEST_LINE_PART";
/// The key that is pressed there.
const KEY: &str = "AZMUTEX_TEST_KEY";
const INTERRUPT: &str = "^C";
const BREAK: &str = "^Break";
/// What a console says where there is no such key: wine 8 has no ^Break.
const NO_KEY: &str = "no key";
/// What a part says that works, before the time.
const WORKS: &str = "works at ";
const WORK_EVERY: Duration = Duration::from_millis(10);
/// How long azmutex waits for somebody to read its last word.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Who has not worked for so long has ended, whatever becomes of its connection.
const QUIET: Duration = Duration::from_secs(10);
/// Why wine starts no process, once in some hundred times.
const INTERNAL_ERROR: &str = "(os error 1359)";
/// The part that starts another one: `.ci/closed-console` asks for it.
const APART: &str = "apart";
/// One that ^C ends before its child.
const PARENT: &str = "parent";
/// The part of a line that says when it holds the lock.
const HOLDER: &str = "holder";
/// Later than any lease ends here, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// A console of its own, which nobody sees.
const CREATE_NO_WINDOW: u32 = 0x0800_0000;
/// ^Break is for a group, or for all; ^C only for all.
const CREATE_NEW_PROCESS_GROUP: u32 = 0x0200;

/// No test, but what the tests start.
#[test]
fn player() {
    let Ok(part) = env::var(PART) else { return };
    let port: u16 = env::var(PORT).unwrap().parse().unwrap();
    if part == APART || part == PARENT {
        std::process::exit(parent(if part == APART { CREATE_NO_WINDOW } else { 0 }));
    }
    let mut test = TcpStream::connect(("127.0.0.1", port)).unwrap();
    if part == "stubborn" {
        let mut mouth = test.try_clone().unwrap();
        ctrlc::set_handler(move || writeln!(mouth, "heard").unwrap()).unwrap();
    }
    writeln!(test, "{}", std::process::id()).unwrap();
    let code = if part == "console" { console(test) } else { sit(test) };
    std::process::exit(code);
}

/// Works until the test says with what to end, or has ended.
fn sit(test: TcpStream) -> i32 {
    let mut mouth = test.try_clone().unwrap();
    thread::spawn(move || {
        let says = |mouth: &mut TcpStream| {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
            mouth.write_all(format!("{WORKS}{time}\n").as_bytes())
        };
        while says(&mut mouth).is_ok() {
            thread::sleep(WORK_EVERY);
        }
    });
    said(&test).parse().unwrap_or_default()
}

/// Starts another part, maybe in a console of its own, which so does not end with this one, and waits for it.
fn parent(flags: u32) -> i32 {
    let mut other = Command::new(env::current_exe().unwrap());
    other.args(["windows::player", "--exact", "--nocapture"]).env(PART, "stubborn").creation_flags(flags);
    other.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code().unwrap()
}

/// Runs a line in this console, where it also presses a key, and tells what it ended with.
fn console(mut test: TcpStream) -> i32 {
    /// All in this console, or a group of them.
    struct Pressed(u32);
    impl Interruptible for Pressed {
        fn pid(&mut self) -> io::Result<Option<u32>> {
            Ok(Some(self.0))
        }
    }

    ctrlc::set_handler(|| {}).unwrap();
    let (words, is_break) = (env::var(LINE).unwrap(), env::var(KEY).unwrap() == BREAK);
    let mut words = words.split('\n');
    let mut line = Command::new(words.next().unwrap());
    line.args(words).env(PART, env::var(LINE_PART).unwrap()).stdin(Stdio::piped());
    if env::var(LINE_PART).unwrap() == HOLDER {
        line.stdout(Stdio::piped());
    }
    if is_break {
        line.creation_flags(CREATE_NEW_PROCESS_GROUP);
    }
    let mut child = line.spawn().unwrap();
    let _input = child.stdin.take();
    if let Some(stdout) = child.stdout.take() {
        // That it holds the lock.
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        test.write_all(line.as_bytes()).unwrap();
    }
    let (mut fingers, id) = (test.try_clone().unwrap(), child.id());
    thread::spawn(move || {
        while said(&fingers) == "press" {
            let pressed = if is_break { Pressed(id).terminate() } else { Pressed(0).interrupt() };
            if let Err(error) = pressed {
                writeln!(fingers, "{NO_KEY}: {error}").unwrap();
            }
        }
    });
    // A test that has failed hears nothing.
    let _ = writeln!(test, "{}", child.wait().unwrap().code().unwrap());
    0
}

/// A line, without its end.
fn said(mut stream: &TcpStream) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|count| count == 1) && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// A directory of scripts, and a place where the parts that they start call.
struct Stage {
    listener: TcpListener,
    directory: PathBuf,
}

impl Stage {
    fn new() -> Stage {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("windows {}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = path::absolute(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)).unwrap();
        fs::create_dir_all(&directory).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Stage { listener, directory }
    }

    fn script(&self, name: &str, lines: &[&str]) -> String {
        let path = self.directory.join(name);
        fs::write(&path, format!("@echo off\r\n{}\r\n", lines.join("\r\n"))).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// A script whose grandchild has the part.
    fn family(&self) -> String {
        self.script(
            "inner.cmd",
            &[&format!(r#""%{PROGRAM}%" windows::player --exact --nocapture"#), "exit /b %errorlevel%"],
        );
        self.script("family.cmd", &["cmd /c \"%~dp0inner.cmd\"", "exit /b %errorlevel%"])
    }

    /// azmutex, which runs it under a short lease, and the grandchild. As azmutex has a last word to say, and nobody reads
    /// what it says, it is there for two seconds after all that it has to do.
    fn family_under_the_lock(&self, emulator: &Emulator) -> (Child, Player, PipeReader) {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut command = run(emulator, &["--lease", "15"], &[&self.family()]);
        command.stdout(Stdio::null()).stderr(writer.try_clone().unwrap());
        let child = self.dress(&mut command, "stubborn").spawn().unwrap();
        drop(command);
        thread::spawn(move || while writer.write_all(&[b' '; 64]).is_ok() {});
        (child, self.worker(), reader)
    }

    fn dress<'a>(&self, command: &'a mut Command, part: &str) -> &'a mut Command {
        command.env(PART, part).env(PORT, self.listener.local_addr().unwrap().port().to_string());
        command.env(PROGRAM, env::current_exe().unwrap())
    }

    /// The next one that calls.
    fn player(&self) -> Player {
        let start = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Player::new(stream),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(start.elapsed() < PATIENCE, "nobody calls");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next one that calls, once it works.
    fn worker(&self) -> Player {
        let player = self.player();
        player.work.recv_timeout(PATIENCE).expect("work");
        player
    }

    /// A console in which that runs.
    fn console(&self, key: &str, line: &Command, part: &str) -> Child {
        let words = [line.get_program()].into_iter().chain(line.get_args());
        let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["windows::player", "--exact", "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::null());
        for (name, value) in line.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env(LINE, words.join("\n")).env(LINE_PART, part).env(KEY, key).creation_flags(CREATE_NO_WINDOW);
        self.dress(&mut command, "console").spawn().unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Somebody who has called.
struct Player {
    stream: TcpStream,
    id: String,
    /// That it has begun to work.
    work: Receiver<()>,
    /// Each with when it last worked before.
    lines: Receiver<(String, SystemTime)>,
}

impl Player {
    fn new(stream: TcpStream) -> Player {
        stream.set_nonblocking(false).unwrap();
        let id = said(&stream);
        let ((sender, lines), ear) = (mpsc::channel(), stream.try_clone().unwrap());
        let (begins, work) = mpsc::channel();
        thread::spawn(move || {
            let (mut ear, mut at) = (BufReader::new(ear), UNIX_EPOCH);
            loop {
                let mut line = String::new();
                // Who was ended may have been in the middle of a word.
                let is_whole = ear.read_line(&mut line).is_ok() && line.ends_with('\n');
                let line = if is_whole { line.trim_end().to_owned() } else { String::new() };
                let is_end = line.is_empty();
                if let Some(time) = line.strip_prefix(WORKS) {
                    if at == UNIX_EPOCH {
                        ear.get_ref().set_read_timeout(Some(QUIET)).unwrap();
                        let _ = begins.send(());
                    }
                    at = UNIX_EPOCH + Duration::from_micros(time.parse().unwrap());
                } else if sender.send((line, at)).is_err() || is_end {
                    return;
                }
            }
        });
        Player { stream, id, work, lines }
    }

    fn hears(&self, word: &str) {
        writeln!(&self.stream, "{word}").unwrap();
    }

    fn says(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a word").0
    }

    /// When it last did anything, once it has ended.
    fn end(&self) -> SystemTime {
        let (word, at) = self.lines.recv_timeout(PATIENCE).expect("its end");
        assert_eq!(word, "", "that is not its end");
        at
    }

    fn is_alive(&self) -> bool {
        self.lines.try_recv() == Err(mpsc::TryRecvError::Empty)
    }
}

/// When the next holder has the lock.
fn next_holder(emulator: &Emulator) -> SystemTime {
    let start = Instant::now();
    loop {
        match locker(emulator).try_lock() {
            Ok(guard) => {
                let at = SystemTime::now();
                guard.unlock().unwrap();
                return at;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(start.elapsed() < PATIENCE, "the lock is never free");
        thread::sleep(Duration::from_millis(2));
    }
}

#[allow(clippy::print_stdout, reason = "it is there to be watched")]
fn is_without_break(console: &Player) -> bool {
    let word = console.lines.recv_timeout(Duration::from_secs(1)).map(|(word, _)| word).unwrap_or_default();
    if word.starts_with(NO_KEY) {
        println!("not tried, {BREAK}: {word}");
    }
    word.starts_with(NO_KEY)
}

/// The last of them was gone before.
#[allow(clippy::print_stdout, reason = "it is there to be watched")]
fn margin(case: &str, end: SystemTime, next: SystemTime) {
    assert_ne!(end, UNIX_EPOCH, "{case}: it never worked");
    match next.duration_since(end) {
        Ok(margin) => println!("margin, {case}: {margin:?}"),
        Err(error) => panic!("{case}: the next holder was {:?} too early", error.duration()),
    }
}

#[test]
fn a_loss_ends_the_grandchild_of_a_script_before_anybody_else_has_the_lock() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    let (mut child, player, _reader) = stage.family_under_the_lock(&emulator);
    emulator.fail_next_of(Operation::RenewLease, 1000, Fault::status(503, "ServerBusy"));
    let next = next_holder(&emulator);
    margin("the lease runs out", player.end(), next);
    assert_eq!(child.wait().unwrap().code(), Some(70));
}

#[test]
fn a_broken_lease_ends_all_of_it_before_azmutex_ends() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    let (mut child, player, _reader) = stage.family_under_the_lock(&emulator);
    break_lock(&emulator);
    assert_eq!(child.wait().unwrap().code(), Some(70));
    let ended = SystemTime::now();
    let margin = ended.duration_since(player.end()).unwrap();
    assert!(margin > LAST_WORDS / 2, "it ended with azmutex, and not before: {margin:?}");
    assert_free(&emulator);

    let mut command = run(&emulator, &["--lease", "15"], &[&stage.family()]);
    let child = stage.dress(&mut command, "stubborn").spawn().unwrap();
    stage.worker();
    break_lock(&emulator);
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output).contains("lost: somebody broke the lease; the command was ended"), "{}", stderr(&output));
}

#[test]
fn a_killed_wrapper_leaves_nothing() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    let (mut child, player, _reader) = stage.family_under_the_lock(&emulator);
    child.kill().unwrap();
    let end = player.end();
    assert!(!is_free(&emulator), "it frees itself");
    margin("a killed wrapper", end, next_holder(&emulator));
    child.wait().unwrap();
}

#[test]
fn what_is_left_behind_goes_on_and_is_named() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    let start = format!(r#"start "" /b "%{PROGRAM}%" windows::player --exact --nocapture"#);
    let script = stage.script("leave.cmd", &[&start, "set /p line=", "exit /b 5"]);
    // No pipes, which would be the player's, too.
    let told = stage.directory.join("told");
    let mut command = run(&emulator, &[], &[&script]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(&told).unwrap());
    let mut child = stage.dress(&mut command, "stubborn").spawn().unwrap();
    let player = stage.worker();
    writeln!(child.stdin.take().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let text = fs::read_to_string(&told).unwrap();
    let named = text.trim_end().rsplit_once("the command left others behind, which go on without the lock: ");
    let (id, program) = (&player.id, env::current_exe().unwrap());
    let expected = format!("{} ({id})", program.file_name().unwrap().display());
    assert!(named.is_some_and(|(_, named)| named.contains(&expected)), "{expected} in {text}");
    assert_free(&emulator);
    thread::sleep(Duration::from_millis(500));
    assert!(player.is_alive());
    player.hears("0");
    player.end();
}

#[test]
fn exit_codes_are_passed_on_whole() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    let script = stage.script("end.cmd", &["exit /b %1"]);
    for expected in [0, 1, 255, 256, 3010, 65536, i32::MAX, -1, -1_073_741_819] {
        let text = expected.to_string();
        for line in [&["cmd", "/c", "exit", &text][..], &[&script, &text]] {
            let mut output = run(&emulator, &[], line).output().unwrap();
            if stderr(&output).contains(INTERNAL_ERROR) {
                assert_eq!(code(&output), 126);
                output = run(&emulator, &[], line).output().unwrap();
            }
            assert_eq!(code(&output), expected, "{line:?}: {}", stderr(&output));
            assert_eq!(stderr(&output), "");
        }
    }
    assert_free(&emulator);
}

#[test]
fn a_lock_is_not_waited_for_by_who_has_it() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    let azmutex = path::absolute(env!("CARGO_BIN_EXE_azmutex")).unwrap();
    let line = format!(r#""{}" run -w 5 {NAME} -- cmd /c exit 0"#, azmutex.display());
    let nested = stage.script("nested.cmd", &[&line, "exit /b %errorlevel%"]);
    let output = run(&emulator, &[], &[&nested]).output().unwrap();
    assert_eq!(code(&output), 64, "{}", stderr(&output));
    assert!(stderr(&output).contains("it is held for the very command that this one is part of"));
    // What only looks like it waits as for any other.
    let looks = stage.script("looks.cmd", &["set AZMUTEX_HELD=", &line, "exit /b %errorlevel%"]);
    assert_eq!(code(&run(&emulator, &[], &[&looks]).output().unwrap()), 75);
}

#[test]
fn scripts_are_found_by_their_names() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    stage.script("tool-of-a-test.cmd", &["echo cmd[%~1][%~2]", "exit /b 7"]);
    stage.script("other.tool.bat", &["echo bat[%~1][%~2]", "exit /b 8"]);
    let path =
        env::join_paths([stage.directory.clone()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())));
    let path = path.unwrap();
    for (word, said, ended) in [
        ("tool-of-a-test", "cmd", 7),
        ("TOOL-OF-A-TEST.CMD", "cmd", 7),
        ("other.tool", "bat", 8),
        ("other.tool.bat", "bat", 8),
    ] {
        let output = run(&emulator, &[], &[word, "a b", "c d"]).env("PATH", &path).output().unwrap();
        assert_eq!(code(&output), ended, "{word}: {}", stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), format!("{said}[a b][c d]"), "{word}");
    }
    // As with PowerShell, the current directory has to be named.
    for (word, ended) in [("tool-of-a-test", 127), (r".\tool-of-a-test", 7), (r".\tool-of-a-test.cmd", 7)] {
        let output = run(&emulator, &[], &[word]).current_dir(&stage.directory).output().unwrap();
        assert_eq!(code(&output), ended, "{word}: {}", stderr(&output));
    }
}

#[test]
fn a_line_is_the_shells() {
    let emulator = Emulator::start().unwrap();
    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string());
    command.args(["run", NAME, "-c", r#"echo "a  b" c&& exit 5"#]);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "\"a  b\" c\r\n");
}

#[test]
fn a_key_ends_an_obedient_command_and_the_lock_is_kept_to_its_end() {
    for key in [INTERRUPT, BREAK] {
        let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
        let program = env::current_exe().unwrap();
        let line = [program.to_str().unwrap(), "windows::player", "--exact", "--nocapture"];
        let mut child = stage.console(key, &run(&emulator, &[], &line), "obedient");
        let (console, player) = (stage.player(), stage.worker());
        console.hears("press");
        if key == BREAK && is_without_break(&console) {
            continue;
        }
        let next = next_holder(&emulator);
        margin(&format!("{key}, obeyed"), player.end(), next);
        // What its code is then, Windows and wine disagree about.
        console.says();
        child.wait().unwrap();
    }
}

#[test]
fn a_stubborn_command_or_child_of_it_keeps_the_lock_to_its_end() {
    'keys: for (key, part) in [(INTERRUPT, "stubborn"), (INTERRUPT, PARENT), (BREAK, "stubborn")] {
        let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
        let program = env::current_exe().unwrap();
        let line = [program.to_str().unwrap(), "windows::player", "--exact", "--nocapture"];
        let mut child = stage.console(key, &run(&emulator, &[], &line), part);
        let (console, player) = (stage.player(), stage.worker());
        // Once its parent has ended, a second one ends the child, too.
        for _ in 0..if part == PARENT { 1 } else { 2 } {
            console.hears("press");
            if key == BREAK && is_without_break(&console) {
                continue 'keys;
            }
            assert_eq!(player.says(), "heard");
            thread::sleep(Duration::from_millis(500));
            assert!(!is_free(&emulator) && player.is_alive());
        }
        player.hears("3010");
        let next = next_holder(&emulator);
        margin(&format!("{key}, not obeyed by a {part}"), player.end(), next);
        let code = console.says();
        assert!(code == "3010" || part == PARENT, "{code}");
        child.wait().unwrap();
    }
}

#[test]
fn a_key_ends_a_wait_and_a_hold() {
    let (emulator, stage) = (Emulator::start().unwrap(), Stage::new());
    let guard = locker(&emulator).lock().unwrap();
    let requests = emulator.requests().len();
    let mut child = stage.console(INTERRUPT, &run(&emulator, &[], &["there-is-no-such-command"]), "obedient");
    let console = stage.player();
    crate::support::eventually("a wait", || emulator.requests().len() > requests + 1);
    console.hears("press");
    assert_eq!(console.says(), "130");
    guard.unlock().unwrap();
    child.wait().unwrap();
    assert_free(&emulator);

    let mut command = azmutex();
    command.env("AZURE_STORAGE_CONNECTION_STRING", emulator.connection_string()).args(["hold", NAME]);
    let mut child = stage.console(INTERRUPT, &command, HOLDER);
    let console = stage.player();
    assert!(console.says().starts_with("ready "));
    console.hears("press");
    assert_eq!(console.says(), "0");
    child.wait().unwrap();
    assert_free(&emulator);
}
