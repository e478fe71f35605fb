//! The emulator of the service's vendor: one for the whole test process.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Account;
use super::skipped::skip;
use super::{in_ci, loud, unique};

const MAIN: &str = "node_modules/azurite/dist/src/blob/main.js";
pub const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/cert.pem");
const INSTALL_LIMIT: Duration = Duration::from_secs(300);
const START_LIMIT: Duration = Duration::from_secs(60);
/// A server that outlived its test process would never be found again.
const EXIT_WITH_STDIN: &str =
    "process.stdin.on('close', () => process.exit()).on('error', () => process.exit()).resume();\n";

pub struct Azurite {
    account: Account,
    /// Open as long as this process lives, however it ends. `None` if somebody else started it.
    _stdin: Option<ChildStdin>,
}

/// The emulator, started on first use. `None`, for a test that then does not run, where it cannot be had; but a panic
/// with `CI` or `AZMUTEX_REQUIRE_AZURITE` set, lest a build be green untested.
pub fn azurite() -> Option<&'static Azurite> {
    static AZURITE: OnceLock<Result<Azurite, String>> = OnceLock::new();
    started(&AZURITE, 0, &[])
}

/// Another one, which speaks https, with the certificate in `tls/`, and so takes tokens.
pub fn azurite_https() -> Option<&'static Azurite> {
    static AZURITE: OnceLock<Result<Azurite, String>> = OnceLock::new();
    started(
        &AZURITE,
        1,
        &[
            "--oauth",
            "basic",
            "--cert",
            CERTIFICATE,
            "--key",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/key.pem"),
        ],
    )
}

/// One whose certificate is an authority's, as `openssl req -x509` makes them by itself.
pub fn azurite_with_an_authority_s_certificate() -> Option<&'static Azurite> {
    static AZURITE: OnceLock<Result<Azurite, String>> = OnceLock::new();
    let [certificate, key] = [
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/authority.pem"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/authority-key.pem"),
    ];
    started(&AZURITE, 2, &["--cert", certificate, "--key", key])
}

fn started(
    azurite: &'static OnceLock<Result<Azurite, String>>,
    number: usize,
    options: &[&str],
) -> Option<&'static Azurite> {
    let azurite = azurite.get_or_init(|| {
        let azurite = from_outside(number).map_or_else(|| start(options), Ok);
        if let Err(reason) = &azurite {
            loud(&format!(
                "\n*** Azurite could not be started: {reason}\n\
                 *** The tests that need it do not run. (AZMUTEX_REQUIRE_AZURITE=1 makes them fail instead.)\n"
            ));
        }
        azurite
    });
    match azurite {
        Ok(azurite) => Some(azurite),
        Err(reason) if is_required() => panic!("Azurite could not be started: {reason}"),
        Err(_) => {
            skip("they need Azurite, which could not be started");
            None
        }
    }
}

/// Where these tests cannot start it, as in another system's clothes: the variable has the ports of all three, in the
/// order of the functions above.
fn from_outside(number: usize) -> Option<Azurite> {
    let ports = env::var("AZMUTEX_TEST_AZURITE").ok()?;
    let port = ports.split(',').nth(number).and_then(|port| port.parse().ok()).expect("three ports");
    Some(Azurite { account: Account::at(port), _stdin: None })
}

fn is_required() -> bool {
    in_ci() || env::var_os("AZMUTEX_REQUIRE_AZURITE").is_some()
}

impl Deref for Azurite {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

fn start(options: &[&str]) -> Result<Azurite, String> {
    let home = install(azurite_version()?)?;
    let preload = home.join("exit-with-stdin.js");
    replace_file(&preload, EXIT_WITH_STDIN).map_err(|error| format!("{}: {error}", preload.display()))?;

    let mut server = Command::new("node")
        .arg("--require")
        .arg(&preload)
        .arg(home.join(MAIN))
        .args(["--blobHost", "127.0.0.1", "--blobPort", "0"])
        .args(["--inMemoryPersistence", "--disableTelemetry", "--silent"])
        .args(options)
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node: {error}"))?;
    let stdin = server.stdin.take().expect("a pipe was asked for");
    match listening_port(&mut server) {
        Ok(port) => Ok(Azurite { account: Account::at(port), _stdin: Some(stdin) }),
        Err(reason) => {
            let _ = server.kill();
            let _ = server.wait();
            Err(reason)
        }
    }
}

/// Reads the output of the server for as long as it lives, for a full pipe would stop it.
fn listening_port(server: &mut Child) -> Result<u16, String> {
    let stdout = server.stdout.take().expect("a pipe was asked for");
    let stderr = server.stderr.take().expect("a pipe was asked for");
    let (sender, port) = mpsc::channel();
    let said = Arc::new(Mutex::new(String::new()));
    drain(stdout, sender.clone(), Arc::clone(&said));
    drain(stderr, sender, Arc::clone(&said));

    let said = || said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    port.recv_timeout(START_LIMIT).map_err(|error| match error {
        RecvTimeoutError::Timeout => format!("no port after {START_LIMIT:?}: {}", said()),
        RecvTimeoutError::Disconnected => format!("it ended at once: {}", said()),
    })
}

fn drain(output: impl io::Read + Send + 'static, port: Sender<u16>, said: Arc<Mutex<String>>) {
    const ENOUGH: usize = 8 * 1024;
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if text.contains("successfully listens on")
                && let Some((_, port_number)) = text.trim_end().rsplit_once(':')
                && let Ok(number) = port_number.parse()
            {
                let _ = port.send(number);
            }
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() < ENOUGH {
                let _ = write!(said, "{text}");
            }
            drop(said);
            line.clear();
        }
    });
}

/// The newest version that the Node which is there can run.
fn azurite_version() -> Result<&'static str, String> {
    let output = Command::new("node").arg("--version").output().map_err(|error| format!("node: {error}"))?;
    let version = String::from_utf8_lossy(&output.stdout);
    let major = version.trim().strip_prefix('v').and_then(|version| {
        let (major, _) = version.split_once('.')?;
        major.parse::<u32>().ok()
    });
    match major {
        Some(22..) => Ok("3.37.0"),
        Some(20..) => Ok("3.35.0"),
        _ => Err(format!("Node 20 or newer is needed, not {version:?}")),
    }
}

/// The directory with this version of Azurite in it, from the package registry if need be.
fn install(version: &str) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = target.parent().unwrap_or(target);
    let home = target.join(format!("azurite-{version}"));
    if home.join(MAIN).exists() {
        return Ok(home);
    }

    let workshop = target.join(unique("azurite-install"));
    let installed = npm_install(&workshop, version).and_then(|()| {
        // Another process may have been faster; then its work is as good as ours.
        match fs::rename(&workshop, &home) {
            Err(error) if !home.join(MAIN).exists() => Err(format!("{}: {error}", home.display())),
            _ => Ok(()),
        }
    });
    let _ = fs::remove_dir_all(&workshop);
    installed.map(|()| home)
}

fn npm_install(workshop: &Path, version: &str) -> Result<(), String> {
    let in_workshop = |error: io::Error| format!("{}: {error}", workshop.display());
    let log = workshop.join("npm.log");
    fs::create_dir_all(workshop).map_err(in_workshop)?;
    // Without it npm would look for a project further up.
    fs::write(workshop.join("package.json"), "{ \"private\": true }\n").map_err(in_workshop)?;
    let out = fs::File::create(&log).map_err(in_workshop)?;
    let err = out.try_clone().map_err(in_workshop)?;

    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let mut install = Command::new(npm)
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
        .arg(format!("azurite@{version}"))
        .current_dir(workshop)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|error| format!("{npm}: {error}"))?;
    let since = Instant::now();
    let end = loop {
        match install.try_wait().map_err(in_workshop)? {
            Some(status) if status.success() && workshop.join(MAIN).exists() => return Ok(()),
            Some(status) => break status.to_string(),
            None if since.elapsed() > INSTALL_LIMIT => {
                let _ = install.kill();
                let _ = install.wait();
                break format!("not done after {INSTALL_LIMIT:?}");
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    let said = fs::read_to_string(&log).unwrap_or_default();
    Err(format!("npm install of azurite {version}: {end}\n{said}"))
}

/// Whole at every moment, whoever else writes or reads it.
fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_file_name(unique("new"));
    fs::write(&new, text)?;
    fs::rename(&new, path)
}
