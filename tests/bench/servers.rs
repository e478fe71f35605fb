//! The servers, each a process of its own.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use azmutex::emulator::Emulator;

use crate::CHILD;
use crate::support::account::Account;
use crate::support::azurite::azurite;

pub(crate) const NAMES: [&str; 3] = ["canned", "emulator", "azurite"];

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) account: Account,
    _process: Option<Process>,
}

impl Server {
    pub(crate) fn is_canned(&self) -> bool {
        self.name == "canned"
    }
}

/// Ends with its input, and so with this one.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// Those of the servers that there are.
pub(crate) fn all() -> impl Iterator<Item = Server> {
    NAMES.into_iter().filter_map(start)
}

pub(crate) fn start(name: &'static str) -> Option<Server> {
    if name == "azurite" {
        return Some(Server { name, account: Account::at(azurite()?.port()), _process: None });
    }
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    let mut child = command.args([CHILD, name]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let process = Process { stdin: child.stdin.take(), child };
    Some(Server { name, account: Account::at(line.trim().parse().expect("a port")), _process: Some(process) })
}

fn serve_until_nobody_needs_it(port: u16) {
    println!("{port}");
    io::stdout().flush().unwrap();
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

pub(crate) fn emulator() {
    let emulator = Emulator::start().unwrap();
    serve_until_nobody_needs_it(emulator.port());
}

/// A server that has one answer for each action, whoever asks.
pub(crate) fn canned() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || drop(answer_all(stream)));
        }
    });
    serve_until_nobody_needs_it(port);
}

/// As Azurite writes them.
fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let (mut status, mut lease, mut id, mut line) = ("200 OK", String::new(), String::new(), String::new());
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end().split_once(": ") {
            Some(("x-ms-lease-action", "acquire")) => status = "201 Created",
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
                stream.write_all(answer.as_bytes())?;
                status = "200 OK";
            }
            _ => {}
        }
    }
}
