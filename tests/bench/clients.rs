//! The vendor's own clients beside ours, where the machine has them: each a program.
//!
//! A program locks, says when and what it had computed by then, in nanoseconds, and unlocks. For each number on its input it
//! makes so many pairs, and says what it computed for them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::CHILD;
use crate::cores::OneCore;
use crate::pairs::{self, NAMES};
use crate::process::{Process, heard, say};
use crate::report::Report;
use crate::servers::{self, Server};
use crate::stats::{median, now, processor_time};
use crate::support::account::Account;

const CONTAINER: &str = "clients";
const LOCK: &str = "job";
const ROUNDS: usize = 15;
/// In a round.
const PAIRS: u32 = 50;

pub(crate) fn clients(report: &mut Report) {
    report.table("programs that lock and unlock, on a server that is nothing but an answer");
    let _one_core = OneCore::new();
    let mut server = servers::start("canned").unwrap();
    let programs: Vec<_> = programs(&server);
    let mut measured: Vec<_> = programs.iter().map(|_| Measured::default()).collect();
    for round in 0..ROUNDS {
        for i in 0..programs.len() {
            let i = (i + round) % programs.len();
            measured[i].round(programs[i].1(), &mut server);
        }
    }
    let ureq = NAMES.iter().position(|name| *name == "ureq").unwrap();
    for (i, (name, _)) in programs.iter().enumerate() {
        let each = |part: fn(&Measured) -> &Vec<f64>| {
            let ratios = part(&measured[i]).iter().zip(part(&measured[ureq])).map(|(this, other)| this / other);
            (median(part(&measured[i]).clone()), median(ratios.collect()))
        };
        let (start, start_ratio) = each(|measured| &measured.start);
        let (wall, wall_ratio) = each(|measured| &measured.wall);
        let (processor, processor_ratio) = each(|measured| &measured.processor);
        report.row(
            name,
            vec![
                ("start to first lock", format!("{start:.1} ms")),
                ("start, x ureq", format!("{start_ratio:.1}")),
                ("a pair", format!("{wall:.0} us")),
                ("time, x ureq", format!("{wall_ratio:.1}")),
                ("processor time", format!("{processor:.0} us")),
                ("processor time, x ureq", format!("{processor_ratio:.1}")),
                ("requests", format!("{:.1}", measured[i].requests)),
                ("connections of a process", measured[i].connections.to_string()),
            ],
        );
    }
}

#[derive(Default)]
struct Measured {
    /// In milliseconds.
    start: Vec<f64>,
    /// Of a pair, in microseconds.
    wall: Vec<f64>,
    processor: Vec<f64>,
    requests: f64,
    connections: u64,
}

impl Measured {
    fn round(&mut self, mut program: Command, server: &mut Server) {
        server.counts();
        let begun = now();
        let mut process = Process::of(&mut program);
        let [locked, _] = process.numbers();
        self.start.push((locked - begun) as f64 / 1e6);
        let each = |nanoseconds: u64| nanoseconds as f64 / 1e3 / f64::from(PAIRS);
        // What is made once is made.
        let [_] = process.ask("5");
        let begun = now();
        let [processor] = process.ask(&PAIRS.to_string());
        self.wall.push(each(now() - begun));
        self.processor.push(each(processor));
        drop(process);
        let counts = server.counts();
        self.requests = counts.requests as f64 / f64::from(1 + 5 + PAIRS);
        self.connections = counts.connections;
    }
}

type Program = (&'static str, Box<dyn Fn() -> Command>);

/// Those that there are. Says which there are not.
fn programs(server: &Server) -> Vec<Program> {
    let account = &server.account;
    // The JavaScript client insists on the protocol.
    let store = format!("DefaultEndpointsProtocol=http;{}", account.connection_string());
    let port = account.port().to_string();
    let url = account.url(&format!("{CONTAINER}/{LOCK}"));
    let ours = |name: &'static str| -> Program {
        let port = port.clone();
        (name, Box::new(move || command(&env::current_exe().unwrap(), &[CHILD, "client", name, &port])))
    };
    let mut programs: Vec<Program> = NAMES.map(ours).into();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |path: &str| root.join(path);
    let named = |variable: &str, path: &str| env::var_os(variable).map_or_else(|| file(path), PathBuf::from);

    let python = named("AZMUTEX_TEST_PYTHON", "target/python/bin/python");
    let modules = named("AZMUTEX_TEST_NODE_MODULES", "target/javascript/node_modules");
    let rust = file("target/azure_storage_blob/release/bench-azure-storage-blob");
    if python.exists() {
        let (script, store) = (file("tests/bench/client.py"), store.clone());
        let program = move || command(&python, &[script.to_str().unwrap(), &store, CONTAINER, LOCK]);
        programs.push(("azure-storage-blob (Python)", Box::new(program)));
    } else {
        println!("  the Python client is not there: see CONTRIBUTING.md");
    }
    if modules.exists() {
        let script = file("tests/bench/client.js");
        programs.push((
            "@azure/storage-blob (JS)",
            Box::new(move || {
                let mut node = command(Path::new("node"), &[script.to_str().unwrap(), &store, CONTAINER, LOCK]);
                node.env("NODE_PATH", &modules);
                node
            }),
        ));
    } else {
        println!("  the JavaScript client is not there: see CONTRIBUTING.md");
    }
    if rust.exists() {
        programs.push(("azure_storage_blob (Rust)", Box::new(move || command(&rust, &[&url]))));
    } else {
        println!("  the Rust client is not there: see CONTRIBUTING.md");
    }
    programs
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    // No proxy between two programs of one machine.
    command.args(arguments).env("NO_PROXY", "127.0.0.1");
    command
}

/// One of ours.
pub(crate) fn one(candidate: &str, port: &str) {
    let mut candidate = pairs::candidate(candidate, &Account::at(port.parse().unwrap()), CONTAINER);
    candidate.lock(&mut || say(&format!("{} {}", now(), processor_time().as_nanos())));
    while let Some(pairs) = heard() {
        let before = processor_time();
        (0..pairs.parse::<u32>().unwrap()).for_each(|_| candidate.pair());
        say(&(processor_time() - before).as_nanos().to_string());
    }
}
