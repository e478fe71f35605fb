//! Which room may know which, and what only one of them may do: read from the text of `src`.
//!
//! A file may use what is in a lower row, and in its own row as long as nothing goes in a circle. What serves tests is
//! left out.

pub(crate) mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use source::{Path, Source};

/// Files and folders of `src`, from the top down. The emulator stands aside: it must not agree with the client by
/// construction.
const ROWS: [&[&str]; 20] = [
    &["bin/azmutex/"],
    &["guide.rs"],
    &["lib.rs"],
    &["emulator/"],
    &["preflight.rs", "preflight/"],
    &["locker.rs"],
    &["guard.rs"],
    &["renewal.rs"],
    &["threads.rs", "watchdog.rs", "mutex.rs", "locks.rs", "cancel.rs"],
    &["hold.rs", "hold/", "question.rs", "standing.rs", "notes.rs", "container.rs", "container/", "queue.rs", "queue/"],
    &["rest/"],
    &["credential/"],
    &["environment.rs", "connection_string.rs", "transport.rs", "transport/", "retry.rs", "event.rs", "names.rs"],
    &["lease.rs", "kept.rs", "with.rs"],
    &["metadata.rs"],
    &["error.rs"],
    &["card.rs"],
    &["lost.rs", "redact.rs", "fencing.rs"],
    &["clock.rs", "process.rs", "random.rs"],
    &["sync.rs"],
];

/// The only ones that ask for the time, or sleep.
const CLOCKS: [&str; 3] = ["bin/azmutex/clock.rs", "clock.rs", "emulator/clock.rs"];

/// The only ones that start threads.
const THREADS: [&str; 8] = [
    "bin/azmutex/threads.rs",
    "credential/entra/cache.rs",
    "credential/entra/command.rs",
    "emulator/server.rs",
    "event.rs",
    "threads.rs",
    "transport/resolver.rs",
    "watchdog.rs",
];

#[test]
fn rooms_know_what_is_below_them_and_do_what_is_theirs() {
    let house = House::of(files());
    let wrong = house.wrong();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text of each file that ships, by its path below `src`.
fn files() -> BTreeMap<String, String> {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
            if path.is_dir() {
                // The guide's programs use the library as others do.
                if name != "testing" && name != "guide" && !name.ends_with("/tests") {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

struct House {
    sources: BTreeMap<String, Source>,
    /// The file of each module. The command line is a crate of its own, and its modules begin with `bin`.
    modules: BTreeMap<Path, String>,
}

impl House {
    fn of(files: BTreeMap<String, String>) -> House {
        let modules = files.keys().map(|file| (module(file), file.clone())).collect();
        let sources = files.into_iter().map(|(file, text)| (file, Source::read(&text))).collect();
        House { sources, modules }
    }

    /// All that is not as it should be, in words.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (file, source) in &self.sources {
            if rows(file).count() != 1 {
                wrong.push(format!("{file} is in {} rows", rows(file).count()));
            }
            wrong.extend(forbidden(file, source));
        }
        let known = |place: &&&str| self.sources.keys().any(|file| is_in(file, place));
        let stale = ROWS.iter().flat_map(|row| row.iter()).filter(|place| !known(place));
        wrong.extend(stale.map(|place| format!("{place} has a row, and is not there")));

        let arrows = self.arrows();
        for (from, to) in &arrows {
            let is_in_emulator = |file: &str| file.starts_with("emulator/");
            match (rows(from).next(), rows(to).next()) {
                (Some(_), Some(_)) if is_in_emulator(from) && !is_in_emulator(to) => {
                    wrong.push(format!(
                        "{from} uses {to}: the emulator and the client must not share what they believe"
                    ));
                }
                (Some(above), Some(below)) if above > below => {
                    wrong.push(format!("{from} uses {to}, which is above it"))
                }
                _ => {}
            }
        }
        wrong.extend(circle(&arrows).map(|files| format!("in a circle: {}", files.join(" -> "))));
        wrong
    }

    /// Which file uses which other.
    fn arrows(&self) -> BTreeSet<(String, String)> {
        let mut arrows = BTreeSet::new();
        for (file, source) in &self.sources {
            let here = module(file);
            let used =
                source.imports.iter().filter(|import| !import.is_reexport || source.words.contains(&import.name));
            let targets = used.filter_map(|import| {
                let (module, rest) = self.resolve(&here, &import.path)?;
                // A module that is named alone is used where something in it is.
                (!rest.is_empty() || import.name == "*").then_some(module)
            });
            let paths = source.paths.iter().filter_map(|path| Some(self.resolve(&here, path)?.0));
            for target in targets.chain(paths) {
                if let Some(other) = self.modules.get(&target).filter(|other| *other != file) {
                    arrows.insert((file.clone(), other.clone()));
                }
            }
        }
        arrows
    }

    /// The module that what `path` names in `module` is in, and what is left of the path there.
    fn resolve(&self, module: &Path, path: &[String]) -> Option<(Path, Path)> {
        let root: &[String] = if module.first().is_some_and(|first| first == "bin") { &module[..1] } else { &[] };
        let (mut at, mut rest) = match path[0].as_str() {
            // What serves tests is not looked at.
            "crate" if path.get(1).is_some_and(|next| next == "testing") => return None,
            "crate" => (root.to_vec(), &path[1..]),
            "self" => (module.clone(), &path[1..]),
            "super" => (module[..module.len() - 1].to_vec(), &path[1..]),
            name if self.is_child(module, name) => (module.clone(), path),
            name => {
                let import = self.source(module)?.imports.iter().find(|import| import.name == name)?;
                if import.path == path {
                    return None;
                }
                let whole: Path = import.path.iter().chain(&path[1..]).cloned().collect();
                return self.resolve(module, &whole);
            }
        };
        while let Some(next) = rest.first() {
            if next == "super" {
                at.pop();
            } else if self.is_child(&at, next) {
                at.push(next.clone());
            } else {
                break;
            }
            rest = &rest[1..];
        }
        // What is there only to be had from elsewhere is followed to where it is.
        let name = rest.first();
        let imported = self.source(&at)?.imports.iter().find(|import| Some(&import.name) == name);
        let elsewhere = imported.filter(|import| import.path != path);
        elsewhere.and_then(|import| self.resolve(&at, &import.path)).or_else(|| Some((at, rest.to_vec())))
    }

    fn source(&self, module: &Path) -> Option<&Source> {
        self.sources.get(self.modules.get(module)?)
    }

    fn is_child(&self, module: &Path, name: &str) -> bool {
        let child: Path = module.iter().cloned().chain([name.to_owned()]).collect();
        self.modules.contains_key(&child)
    }
}

fn module(file: &str) -> Path {
    let path = file.strip_suffix(".rs").unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let path = path.strip_prefix("bin/azmutex").map_or_else(|| path.to_owned(), |rest| format!("bin{rest}"));
    let path = path.strip_suffix("/main").unwrap_or(&path);
    if path == "lib" { Path::new() } else { path.split('/').map(str::to_owned).collect() }
}

fn is_in(file: &str, place: &str) -> bool {
    file == place || place.ends_with('/') && file.starts_with(place)
}

/// Those that the file is in, which should be one.
fn rows(file: &str) -> impl Iterator<Item = usize> {
    ROWS.iter().enumerate().filter(move |(_, row)| row.iter().any(|place| is_in(file, place))).map(|(row, _)| row)
}

/// What is done in this file, and should not be done there.
fn forbidden(file: &str, source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let all = || source.paths.iter().chain(source.imports.iter().map(|import| &import.path));
    let has = |path: &Path, module: &str, names: &[&str]| {
        path.windows(2).any(|pair| pair[0] == module && names.contains(&pair[1].as_str()))
    };
    let is_transport = ["transport.rs", "transport/"].iter().any(|place| is_in(file, place));
    if (source.words.contains("ureq") || all().any(|path| path[0] == "ureq")) && !is_transport {
        wrong.push(format!("{file} names ureq"));
    }
    if all().any(|path| has(path, "ureq", &["unversioned"])) && file != "transport/unversioned.rs" {
        wrong.push(format!("{file} uses what is not versioned of ureq"));
    }
    let is_clock = all().any(|path| {
        has(path, "Instant", &["now"])
            || has(path, "SystemTime", &["now"])
            || has(path, "thread", &["sleep", "park_timeout"])
    });
    if is_clock && !CLOCKS.contains(&file) {
        wrong.push(format!("{file} has a clock of its own"));
    }
    let is_starting = all().any(|path| has(path, "thread", &["spawn", "Builder", "scope"]));
    if is_starting != THREADS.contains(&file) {
        wrong.push(format!("{file} {} threads", if is_starting { "starts" } else { "is listed, and starts no" }));
    }
    let prints = ["print", "println", "eprint", "eprintln", "dbg"].iter().any(|name| source.macros.contains(*name))
        || all().any(|path| has(path, "io", &["stdout", "stderr"]));
    if prints && !file.starts_with("bin/") {
        wrong.push(format!("{file} prints"));
    }
    wrong
}

/// One that the arrows go in, if there is any.
fn circle(arrows: &BTreeSet<(String, String)>) -> Option<Vec<String>> {
    // What has no arrow out, or only to such, is in none.
    let mut left = arrows.clone();
    loop {
        let from: BTreeSet<_> = left.iter().map(|(from, _)| from.clone()).collect();
        let before = left.len();
        left.retain(|(_, to)| from.contains(to));
        if left.len() == before {
            break;
        }
    }
    let mut walk = vec![left.first()?.0.clone()];
    loop {
        let (_, next) = left.iter().find(|(from, _)| Some(from) == walk.last())?;
        if let Some(start) = walk.iter().position(|file| file == next) {
            walk.push(next.clone());
            return Some(walk.split_off(start));
        }
        walk.push(next.clone());
    }
}

/// What is wrong when this stands in that file, too, or when there is such a file.
fn wrong_with(file: &str, more: &str) -> Vec<String> {
    let mut files = files();
    let text = files.remove(file).unwrap_or_default();
    files.insert(file.to_owned(), format!("{more}\n{text}"));
    House::of(files).wrong()
}

#[test]
fn what_a_file_must_not_do_is_noticed() {
    for (file, more, expected) in [
        ("lease.rs", "use crate::locker::Locker;", "lease.rs uses locker.rs, which is above it"),
        ("clock.rs", "fn f() -> crate::Result<()> {}", "clock.rs uses error.rs, which is above it"),
        (
            "redact.rs",
            "use super::{lost::Lost, credential::entra::{self}}; type A = entra::TokenSource;",
            "redact.rs uses credential/entra/source.rs, which is above it",
        ),
        (
            "names.rs",
            "use crate::connection_string::Parts;",
            "in a circle: connection_string.rs -> names.rs -> connection_string.rs",
        ),
        (
            "transport/resolver.rs",
            "use super::unversioned::agent;",
            "in a circle: transport/resolver.rs -> transport/unversioned.rs -> transport/resolver.rs",
        ),
        (
            "emulator/http.rs",
            "use crate::lease::LeaseId;",
            "emulator/http.rs uses lease.rs: the emulator and the client must not share what they believe",
        ),
        (
            "transport/emulated.rs",
            "use crate::emulator::Emulator;",
            "transport/emulated.rs uses emulator/mod.rs, which is above it",
        ),
        ("attic.rs", "", "attic.rs is in 0 rows"),
        ("rest/mod.rs", "type A = ureq::Agent;", "rest/mod.rs names ureq"),
        (
            "transport.rs",
            "use ureq::unversioned::resolver::Resolver;",
            "transport.rs uses what is not versioned of ureq",
        ),
        ("guard.rs", "fn f() { std::time::Instant::now(); }", "guard.rs has a clock of its own"),
        ("guard.rs", "use crate::sync::thread; fn f() { thread::sleep(X); }", "guard.rs has a clock of its own"),
        ("names.rs", "fn f() { std::thread::spawn(g); }", "names.rs starts threads"),
        ("event.rs", "fn f() { eprintln!(\"x\"); }", "event.rs prints"),
        ("event.rs", "fn f() { std::io::stderr(); }", "event.rs prints"),
    ] {
        let wrong = wrong_with(file, more);
        assert!(wrong.iter().any(|message| message.starts_with(expected)), "{file}: {more}: {wrong:?}");
    }
}

#[test]
fn what_a_file_may_do_is_not() {
    for (file, more) in [
        ("locker.rs", "use crate::lease::LeaseId;"),
        ("lease.rs", "// use crate::locker::Locker;"),
        (
            "lease.rs",
            "const A: [&str; 2] = [\"use crate::locker::Locker;\", r#\"\"crate::locker::Locker\"#]; const B: char = '\"';",
        ),
        ("lease.rs", "/// See [`Locker`](crate::locker::Locker).\nstruct A<'a>(&'a str);"),
        (
            "lease.rs",
            "#[cfg(test)]\n#[cfg(unix)]\nmod tests {\n    use crate::locker::Locker;\n    fn f() { println!(); }\n}",
        ),
        ("guard.rs", "fn f() { crate::clock::sleep(X); }"),
    ] {
        assert_eq!(wrong_with(file, more), Vec::<String>::new(), "{file}: {more}");
    }
}
