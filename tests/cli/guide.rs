//! The commands of the README and of the guide, as a shell, cron, systemd, a CI or Kubernetes runs them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use azmutex::emulator::Emulator;

/// What the pages call that is not `azmutex`.
const COMMANDS: [&str; 4] = ["report.sh", "migrate.sh", "deploy.sh", "serve.sh"];
const TOOLS: [&str; 1] = ["az"];
/// Whatever it is told of where its locks are, they are on the emulator; and there is one already.
const AZMUTEX: &str = r#"#!/bin/sh
echo "$*" >> "$GUIDE_LOG"
[ "$1" != emulator ] || exit 0
unset AZURE_TOKEN_CREDENTIALS
AZURE_STORAGE_CONNECTION_STRING=$GUIDE_STORE exec "$GUIDE_AZMUTEX" "$@"
"#;

/// What stands in the page between fences, with its language.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            blocks.push((language, text));
        }
    }
    blocks
}

/// What a shell would be given to do.
fn script(language: &str, text: &str) -> Option<String> {
    let lines = |of: fn(&str) -> Option<String>| -> Option<String> {
        let lines: Vec<_> = text.lines().filter_map(of).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    };
    match language {
        // The README's first look is .ci/run's.
        "sh" if text.starts_with("cargo ") => None,
        "sh" => Some(text.to_owned()),
        "crontab" => lines(|line| match line.split_once("  ") {
            Some((_, command)) => Some(command.to_owned()),
            None => Some(format!("export {line}")),
        }),
        "yaml" => lines(|line| {
            let line = line.trim();
            let array = line.strip_prefix("command: [").and_then(|rest| rest.strip_suffix(']'));
            let array =
                array.map(|words| words.split(", ").map(|word| word.replace('"', "'")).collect::<Vec<_>>().join(" "));
            let step = line.strip_prefix("- run: ").or_else(|| line.strip_prefix("- ")).map(str::to_owned);
            array.or(step.filter(|step| step.starts_with("azmutex ")))
        }),
        "ini" => lines(|line| line.strip_prefix("ExecStart=").map(str::to_owned)),
        _ => None,
    }
}

/// A directory with the commands in it, and one with the tools.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guide-{}-{name}", std::process::id()));
        fs::create_dir_all(place.join("bin")).unwrap();
        let program = |path: PathBuf, text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        };
        for command in COMMANDS {
            program(place.join(command), "#!/bin/sh\nexit 0\n");
        }
        for tool in TOOLS {
            program(place.join("bin").join(tool), "#!/bin/sh\necho something\n");
        }
        program(place.join("bin/azmutex"), AZMUTEX);
        Place(place)
    }

    fn shell(&self, emulator: &Emulator, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(&self.0).stdin(Stdio::null());
        shell.env("PATH", format!("{}:{path}", self.0.join("bin").display()));
        shell.env("GUIDE_STORE", emulator.connection_string()).env("GUIDE_AZMUTEX", env!("CARGO_BIN_EXE_azmutex"));
        shell.env("GUIDE_LOG", self.0.join("log")).env("PRINCIPAL", "someone").env("CI_PIPELINE_ID", "4711");
        shell
    }

    /// How often `azmutex` was called.
    fn calls(&self) -> usize {
        fs::read_to_string(self.0.join("log")).map_or(0, |log| log.lines().count())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs all blocks of the page, one after the other, and says how many there were.
fn run(name: &str, page: &str) -> usize {
    let emulator = Emulator::start().unwrap();
    // A file with a signature there is not; where the locks are is said above.
    let page = page.replace("--account myaccount --sas-file /etc/azmutex/sas ", "");
    let scripts = blocks(&page).into_iter().filter_map(|(language, text)| script(language, &text));
    let mut count = 0;
    for script in scripts {
        let place = Place::new(&format!("{name}-{count}"));
        // Into a file: what the script leaves behind may write for longer than it runs.
        let said = place.0.join("said");
        let file = File::create(&said).unwrap();
        let mut shell = place.shell(&emulator, &script);
        let status = shell.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        assert_eq!(status.code(), Some(0), "{script}\n{}", fs::read_to_string(said).unwrap());
        assert!(!script.contains("azmutex ") || place.calls() > 0, "nothing was called:\n{script}");
        count += 1;
    }
    count
}

#[test]
fn the_readmes_commands_run() {
    assert_eq!(run("readme", include_str!("../../README.md")), 1);
}

#[test]
fn the_cookbooks_commands_run() {
    assert_eq!(run("cookbook", include_str!("../../src/guide/command_line.md")), 10);
}

#[test]
fn the_commands_for_credentials_run() {
    assert_eq!(run("credentials", include_str!("../../src/guide/credentials.md")), 9);
}

#[test]
fn the_commands_for_networks_run() {
    assert_eq!(run("network", include_str!("../../src/guide/network.md")), 1);
}

#[test]
fn a_command_that_fails_is_noticed() {
    let failed = std::panic::catch_unwind(|| run("failing", "```sh\nazmutex run --no-such-option x true\n```\n"));
    assert!(failed.is_err());
}
