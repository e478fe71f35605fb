//! The servers, each a process of its own.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use azmutex::emulator::Emulator;

use crate::process::{Process, heard, say};
use crate::support::account::Account;
use crate::support::azurite::azurite;

const SECOND: Duration = Duration::from_secs(1);
/// After that time without a request, Azurite closes a connection.
const IDLE: Duration = Duration::from_secs(5);

/// How often the emulator's requests are counted.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) const NAMES: [&str; 3] = ["canned", "emulator", "azurite"];

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) account: Account,
    process: Option<Process>,
}

/// Since the last time that it was asked.
pub(crate) struct Counts {
    pub(crate) requests: u64,
    /// Of the canned one.
    pub(crate) connections: u64,
    /// Of the canned one: renewals in the fullest second.
    pub(crate) burst: u64,
    /// Of the emulator: looks.
    pub(crate) reads: u64,
    /// Of the emulator: 4xx.
    pub(crate) refused: u64,
}

impl Server {
    pub(crate) fn is_canned(&self) -> bool {
        self.name == "canned"
    }

    /// How often the candidates take turns.
    pub(crate) fn rounds(&self) -> usize {
        if self.name == "azurite" { 15 } else { 75 }
    }

    pub(crate) fn title(&self) -> &'static str {
        match self.name {
            "canned" => "a server that is nothing but an answer",
            "emulator" => "the emulator",
            _ => "Azurite",
        }
    }

    /// Not of Azurite.
    pub(crate) fn counts(&mut self) -> Counts {
        let [requests, connections, burst, reads, refused] = self.process.as_mut().unwrap().ask("count");
        Counts { requests, connections, burst, reads, refused }
    }
}

/// `None` if it cannot be had.
pub(crate) fn start(name: &'static str) -> Option<Server> {
    if name == "azurite" {
        return Some(Server { name, account: Account::at(azurite()?.port()), process: None });
    }
    let mut process = Process::start(&[name]);
    let [port] = process.numbers();
    Some(Server { name, account: Account::at(port as u16), process: Some(process) })
}

pub(crate) fn emulator() {
    let emulator = &Emulator::start().unwrap();
    say(&emulator.port().to_string());
    let (counted, counting) = (&Mutex::new(Counted::default()), &AtomicBool::new(true));
    thread::scope(|scope| {
        scope.spawn(move || {
            // It forgets all but some thousands.
            while counting.load(Ordering::Relaxed) {
                counted.lock().unwrap().count(emulator);
                thread::sleep(LOOK);
            }
        });
        while heard().is_some() {
            let mut counted = counted.lock().unwrap();
            counted.count(emulator);
            say(&format!("{} 0 0 {} {}", counted.requests, counted.reads, counted.refused));
            *counted = Counted { last: counted.last, ..Counted::default() };
        }
        counting.store(false, Ordering::Relaxed);
    });
}

#[derive(Default)]
struct Counted {
    requests: usize,
    reads: usize,
    refused: usize,
    /// When the last one came that is counted.
    last: Option<Duration>,
}

impl Counted {
    fn count(&mut self, emulator: &Emulator) {
        let requests = emulator.requests();
        // What has no status is not over.
        let over = requests.iter().filter(|request| request.status.is_some());
        let new: Vec<_> = over.filter(|request| self.last.is_none_or(|last| request.at > last)).collect();
        self.requests += new.len();
        self.reads += new.iter().filter(|request| request.method == "HEAD").count();
        self.refused += new.iter().filter(|request| request.status >= Some(400)).count();
        self.last = new.last().map(|request| request.at).or(self.last);
    }
}

#[derive(Default)]
struct Seen {
    requests: usize,
    connections: usize,
    renewals: Vec<Instant>,
}

impl Seen {
    fn burst(&self) -> usize {
        let within = |from: usize| self.renewals[from..].partition_point(|at| *at - self.renewals[from] < SECOND);
        (0..self.renewals.len()).map(within).max().unwrap_or_default()
    }
}

/// A server that has one answer for each action, whoever asks, and that counts.
pub(crate) fn canned() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    say(&listener.local_addr().unwrap().port().to_string());
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = shared.clone();
            seen.lock().unwrap().connections += 1;
            thread::spawn(move || drop(answer_all(stream, &seen)));
        }
    });
    while heard().is_some() {
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        say(&format!("{} {} {} 0 0", seen.requests, seen.connections, seen.burst()));
    }
}

/// As Azurite writes them.
fn answer_all(mut stream: TcpStream, seen: &Mutex<Seen>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let (mut status, mut lease, mut id, mut line) = ("200 OK", String::new(), String::new(), String::new());
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end().split_once(": ") {
            Some(("x-ms-lease-action", "acquire")) => status = "201 Created",
            Some(("x-ms-lease-action", "renew")) => seen.lock().unwrap().renewals.push(Instant::now()),
            Some(("x-ms-proposed-lease-id" | "x-ms-lease-id", value)) => lease = value.to_owned(),
            Some(("x-ms-client-request-id", value)) => id = value.to_owned(),
            _ if line == "\r\n" => {
                let answer = format!(
                    "HTTP/1.1 {status}\r\nServer: Azurite-Blob/3.35.0\r\netag: \"0x1C6F1A5E8B5F2A0\"\r\n\
                     last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nx-ms-lease-id: {lease}\r\n\
                     x-ms-client-request-id: {id}\r\nx-ms-request-id: 2a5e6b1c-0000-4000-8000-3b1f6c8d9e0a\r\n\
                     x-ms-version: 2021-12-02\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\n\
                     Keep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"
                );
                seen.lock().unwrap().requests += 1;
                stream.write_all(answer.as_bytes())?;
                status = "200 OK";
            }
            _ => {}
        }
    }
}
