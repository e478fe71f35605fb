//! Instructions of a lock and its unlock, which are the same on every machine: counted by valgrind, where it is there.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::pairs;
use crate::report::Report;
use crate::servers;

const FEW: u32 = 100;
const MANY: u32 = 600;

pub(crate) fn instructions(report: &mut Report) {
    report.table("instructions of a lock and its unlock");
    if !are_counted() {
        return;
    }
    let counts = pairs::NAMES.map(of_a_pair);
    for (name, count) in pairs::NAMES.into_iter().zip(counts) {
        report.row(
            name,
            vec![
                ("instructions", format!("{:.1} k", count / 1e3)),
                ("x socket", format!("{:.2}", count / counts[0])),
                ("x ureq", format!("{:.2}", count / counts[1])),
            ],
        );
    }
}

/// Says so if they are not.
pub(crate) fn are_counted() -> bool {
    let is_there = Command::new("valgrind").arg("--version").output().is_ok();
    if !is_there {
        println!("  instructions are not counted: there is no valgrind");
    }
    is_there
}

/// Without what comes but once.
pub(crate) fn of_a_pair(candidate: &str) -> f64 {
    let [few, many] = [FEW, MANY].map(|pairs| count(candidate, pairs));
    (many - few) / f64::from(MANY - FEW)
}

/// Of a process that makes so many pairs. It is built anew, as rustix does without libc otherwise, which valgrind 3.19
/// does not bear; and without TLS, which is not measured.
fn count(candidate: &str, pairs: u32) -> f64 {
    let server = servers::start("canned").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runner = r#"target."cfg(all())".runner = ["valgrind", "--tool=cachegrind", "--cache-sim=no",
        "--cachegrind-out-file=/dev/null"]"#;
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg rustix_use_libc")
        .args(["--config", &runner.replace('\n', "")])
        .args(["test", "--release", "--no-default-features", "--features", "emulator", "--locked", "--test", "bench"])
        .args(["--target-dir", "target/valgrind", "--", crate::CHILD, "pairs", candidate])
        .args([&server.account.port().to_string(), "pairs", &pairs.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let count = said.lines().rev().find_map(|line| line.split_once("refs:")).expect("a count").1;
    count.trim().replace(',', "").parse().unwrap()
}
