//! Has the simulation teeth? A copy of the library is given each mistake that is listed in `flaws.rs`, one after the
//! other, and the simulation must find it within so many runs.
//!
//! ```sh
//! cargo test --test teeth
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flaws::{FLAWS, Flaw};

mod flaws;

/// Each mistake is found within so many runs.
const RUNS: u32 = 500;

fn main() {
    // Asked for a list of its tests, as some test runners do, it has none to name.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let copy = Copy::new();
    let sound = text(&copy.simulate());
    assert!(sound.contains("test result: ok"), "it does not pass without a mistake:\n{sound}");
    println!("without a mistake: {RUNS} runs, no violation");

    let mut missed = Vec::new();
    for flaw in FLAWS {
        copy.make(flaw);
        let output = text(&copy.simulate());
        copy.mend(flaw);
        match output.lines().find_map(|line| line.trim().strip_prefix("seed ")?.split_once(" violated: ")) {
            Some((seed, violated)) => {
                let rule = violated.split(": ").next().unwrap();
                println!("{}: run {seed} violates \"{rule}\"", flaw.name);
            }
            None => {
                println!("{}: MISSED\n{output}", flaw.name);
                missed.push(flaw.name);
            }
        }
    }
    assert!(missed.is_empty(), "missed: {missed:#?}");
    println!("{} mistakes, each found within {RUNS} runs", FLAWS.len());
}

/// A copy of the library, in a folder of its own. It shares the target folder, and so what is built of other crates.
struct Copy {
    root: PathBuf,
    copy: PathBuf,
}

impl Copy {
    fn new() -> Copy {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("teeth");
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir_all(&copy).unwrap();
        for name in ["Cargo.lock", "README.md"] {
            fs::copy(root.join(name), copy.join(name)).unwrap();
        }
        copy_folder(&root.join("src"), &copy.join("src"));
        // Only the library is tested, and what is not there cannot be a target.
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let (before, after) = manifest.split_once("[[test]]").unwrap();
        let (_, after) = after.split_once("[package.metadata").unwrap();
        fs::write(copy.join("Cargo.toml"), format!("{before}[package.metadata{after}")).unwrap();
        Copy { root, copy }
    }

    fn make(&self, flaw: &Flaw) {
        for edit in flaw.edits {
            let path = self.copy.join("src").join(edit.file);
            let source = fs::read_to_string(&path).unwrap();
            let found = source.matches(edit.find).count();
            assert_eq!(found, 1, "{}: {:?} is {found} times in {}", flaw.name, edit.find, edit.file);
            fs::write(path, source.replace(edit.find, edit.replace)).unwrap();
        }
    }

    fn mend(&self, flaw: &Flaw) {
        for edit in flaw.edits {
            let file = Path::new("src").join(edit.file);
            fs::copy(self.root.join(&file), self.copy.join(&file)).unwrap();
        }
    }

    fn simulate(&self) -> Output {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        // Each mistake is built anew, and faster so.
        cargo.args(["--config", "profile.dev.package.azmutex.debug=false"]);
        cargo.args(["test", "--locked", "--lib", "testing::sim::never_two_holders", "--", "--nocapture"]);
        cargo.current_dir(&self.copy).env("CARGO_TARGET_DIR", target);
        cargo.env("AZMUTEX_SIM_RUNS", RUNS.to_string()).env_remove("AZMUTEX_SIM_SEED").env_remove("AZMUTEX_SIM_EVENTS");
        cargo.output().unwrap()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
