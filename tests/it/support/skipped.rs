//! Tests that could not run. The harness counts a test as passed that returns, and a test cannot say that it was
//! ignored: so how many did not run, and why, is the last line of their target.

use std::env;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::loud;

/// Only this process's end closes its stdin, and nothing of this process comes after that. In one piece, and on lines
/// of its own, since cargo may be about to name the next target.
const LAST_LINES: &str = r#"lines=$(sort | uniq -c | while read -r count why; do
    echo "*** $0: $count of the tests that passed DID NOT RUN: $why"
done)
printf '\n%s\n' "$lines" >&2"#;

/// Of a test that cannot run: why.
pub fn skip(why: &str) {
    static LISTENER: Mutex<Option<ChildStdin>> = Mutex::new(None);
    let mut listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    if listener.is_none() {
        *listener = listen();
    }
    let heard = listener.as_mut().is_some_and(|listener| writeln!(listener, "{why}").is_ok());
    if !heard {
        loud(&format!("*** a test that passed DID NOT RUN: {why}"));
    }
}

/// `None` where there is no shell.
fn listen() -> Option<ChildStdin> {
    let target = env::current_exe().ok()?.file_stem()?.to_string_lossy().into_owned();
    let (target, _) = target.rsplit_once('-')?;
    let mut shell = Command::new("sh");
    shell.args(["-c", LAST_LINES, target]).stdin(Stdio::piped()).stdout(Stdio::null());
    shell.spawn().ok()?.stdin.take()
}
