//! A copy of the library with all mistakes in it, of which an environment variable turns one on. To build it once for
//! each would take half an hour.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::flaws::{Edit, Finder, Flaw, RUNS};

/// Says by its number which mistake is turned on.
const TURNED_ON: &str = "AZMUTEX_TEETH_FLAW";
/// No finder takes as long as that, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(150);

/// What is changed in a body, and where, by which mistake.
type Changes<'a> = BTreeMap<usize, Vec<(usize, &'a Edit)>>;
/// The files of a copy, by their paths in it.
type Files = BTreeMap<PathBuf, String>;

pub(crate) struct Copy {
    folder: PathBuf,
    /// The library's tests.
    tests: PathBuf,
}

/// What came of a finder.
pub(crate) struct Run {
    pub(crate) passed: bool,
    pub(crate) output: String,
    ended: bool,
}

impl Copy {
    /// It shares the target folder, and so what is built of other crates.
    pub(crate) fn build(flaws: &[Flaw]) -> Copy {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("teeth");
        let mut files = Files::new();
        read_folder(root, Path::new("src"), &mut files);
        for name in ["Cargo.lock", "README.md"] {
            files.insert(name.into(), fs::read_to_string(root.join(name)).unwrap());
        }
        // Only the library is tested, and what is not there cannot be a target.
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let (before, after) = manifest.split_once("[[test]]").unwrap();
        let (_, after) = after.split_once("[package.metadata").unwrap();
        files.insert("Cargo.toml".into(), format!("{before}[package.metadata{after}"));
        plant(&mut files, flaws);
        write(&folder, &files);

        let mut cargo = Command::new(env!("CARGO"));
        // The simulation is run again and again, so it is worth while to optimise it a little.
        for option in ["debug=false", "opt-level=1"] {
            cargo.arg("--config").arg(format!("profile.dev.package.azmutex.{option}"));
        }
        cargo.args(["test", "--locked", "--lib", "--no-run", "--message-format=json-render-diagnostics"]);
        cargo.current_dir(&folder);
        // What the outer one says of this package would have build scripts run anew, and again after this.
        for (name, _) in
            env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
        cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap());
        let built = cargo.output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let built = String::from_utf8(built.stdout).unwrap();
        let tests = built.lines().find_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next());
        let tests = PathBuf::from(tests.expect("an executable"));
        Copy { folder, tests }
    }

    /// Runs `finder` with the mistake of this number turned on.
    pub(crate) fn run(&self, number: Option<usize>, finder: Finder) -> Run {
        let mut tests = Command::new(&self.tests);
        let name = match finder {
            Finder::Simulation => "testing::sim::never_two_holders",
            Finder::Test(name) => name,
        };
        tests.args([name, "--exact", "--nocapture"]).current_dir(&self.folder);
        tests.env("RUST_BACKTRACE", "0").env("AZMUTEX_SIM_RUNS", RUNS.to_string());
        for name in ["AZMUTEX_SIM_SEED", "AZMUTEX_SIM_EVENTS", "AZMUTEX_RACES_SEED"] {
            tests.env_remove(name);
        }
        if let Some(number) = number {
            tests.env(TURNED_ON, number.to_string());
        }
        // A file, since a pipe that nobody reads fills. Others run at the same time.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = self.folder.with_extension(format!("output-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = fs::File::create(&path).unwrap();
        tests.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null());
        let mut child = tests.spawn().unwrap();
        let end = Instant::now() + LIMIT;
        let status = loop {
            match child.try_wait().unwrap() {
                None if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
                status => break status,
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let output = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        fs::remove_file(&path).unwrap();
        let passed = status.is_some_and(|status| status.success());
        assert!(!passed || output.contains("test result: ok. 1 passed"), "there is no such test: {finder}");
        Run { passed, output, ended: status.is_some() }
    }
}

impl Run {
    /// How `finder` found the mistake, if it did.
    pub(crate) fn finding(&self, finder: Finder) -> Option<String> {
        if self.passed || !self.ended {
            return None;
        }
        let lines: Vec<&str> = self.output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match finder {
            Finder::Simulation => {
                let violation = lines.iter().find_map(|line| line.strip_prefix("seed ")?.split_once(" violated: "));
                let (seed, violated) = violation?;
                let rule = violated.split(": ").next().unwrap();
                Some(format!("run {seed} violates \"{rule}\""))
            }
            Finder::Test(_) => {
                // The words of a panic come after its place.
                let place = lines.iter().rposition(|line| line.contains("panicked at"))?;
                let words = lines.get(place + 1).copied().unwrap_or_default();
                Some(format!("{finder} says {:?}", words.chars().take(80).collect::<String>()))
            }
        }
    }
}

/// Writes each mistake beside what is right.
fn plant(files: &mut Files, flaws: &[Flaw]) {
    let mut all: BTreeMap<&str, Vec<(usize, &Flaw, &Edit)>> = BTreeMap::new();
    for (number, flaw) in (1..).zip(flaws) {
        for edit in flaw.edits {
            all.entry(edit.file).or_default().push((number, flaw, edit));
        }
    }
    for (file, edits) in all {
        let planted = files.get_mut(&Path::new("src").join(file)).unwrap_or_else(|| panic!("there is no {file}"));
        let source = planted.clone();
        // Each function's body, and what is changed in it, and where, by which mistake.
        let mut bodies: BTreeMap<(usize, usize), Changes<'_>> = BTreeMap::new();
        for (number, flaw, edit) in edits {
            let found: Vec<usize> = source.match_indices(edit.find).map(|(at, _)| at).collect();
            let [at] = found[..] else { panic!("{}: {:?} is {} times in {file}", flaw.name, edit.find, found.len()) };
            let body = body_around(&source, at..at + edit.find.len());
            let body = body.unwrap_or_else(|| panic!("{}: {:?} is in no function of {file}", flaw.name, edit.find));
            bodies.entry((body.start, body.end)).or_default().entry(number).or_default().push((at, edit));
        }
        for ((start, end), flaws) in bodies.into_iter().rev() {
            let body = &source[start..end];
            let mut arms = String::new();
            for (number, mut edits) in flaws {
                let mut flawed = body.to_string();
                // From the end on, so that each place stays what it is.
                edits.sort_by_key(|(at, _)| Reverse(*at));
                for (at, edit) in edits {
                    flawed.replace_range(at - start..at - start + edit.find.len(), edit.replace);
                }
                writeln!(arms, "{number} => {{{flawed}}}").unwrap();
            }
            planted.replace_range(start..end, &format!("\nmatch crate::turned_on() {{\n{arms}_ => {{{body}}}\n}}\n"));
        }
    }
    let library = files.get_mut(Path::new("src/lib.rs")).unwrap();
    write!(
        library,
        "
/// The mistake that is turned on.
pub(crate) fn turned_on() -> usize {{
    static NUMBER: std::sync::LazyLock<usize> =
        std::sync::LazyLock::new(|| std::env::var({TURNED_ON:?}).map_or(0, |text| text.parse().unwrap()));
    *NUMBER
}}
"
    )
    .unwrap();
}

/// What is between the braces of the innermost function around `place`. By how the code is formatted, and not by its
/// grammar.
fn body_around(source: &str, place: Range<usize>) -> Option<Range<usize>> {
    let mut innermost = None;
    let mut start = 0;
    for line in source.split_inclusive('\n') {
        let signature = line.trim_start();
        let indentation = &line[..line.len() - signature.len()];
        let is_function =
            ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "].iter().any(|it| signature.starts_with(it));
        if is_function && start < place.start {
            let begin = start + source[start..].find("{\n")? + 1;
            let end = begin + source[begin..].find(&format!("\n{indentation}}}\n"))? + 1;
            if begin < place.start && place.end <= end {
                innermost = Some(begin..end);
            }
        }
        start += line.len();
    }
    innermost
}

fn read_folder(root: &Path, path: &Path, files: &mut Files) {
    for entry in fs::read_dir(root.join(path)).unwrap().map(Result::unwrap) {
        let path = path.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            read_folder(root, &path, files);
        } else {
            files.insert(path.clone(), fs::read_to_string(root.join(path)).unwrap());
        }
    }
}

/// What is as it was is not written again, so that it is not built again.
fn write(folder: &Path, files: &Files) {
    let mut old = Files::new();
    if folder.exists() {
        read_folder(folder, Path::new(""), &mut old);
    }
    for path in old.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(folder.join(path)).unwrap();
    }
    for (path, text) in files.iter().filter(|(path, text)| old.get(*path) != Some(*text)) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}
