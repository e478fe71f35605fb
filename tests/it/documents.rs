//! What the README and the guide say is what the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// All files with that end of their name below `folder`.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The texts of a Rust file, as they are when it runs, up to the tests below it.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut texts = Vec::new();
    let mut chars = source.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        match c {
            '/' if before == '/' => while chars.next().is_some_and(|c| c != '\n') {},
            // A character, or the name of a lifetime.
            '\'' => {
                let rest: String = chars.clone().take(3).collect();
                let length = if rest.starts_with('\\') { 3 } else { 2 };
                if rest.chars().nth(length - 1) == Some('\'') {
                    chars.nth(length - 1);
                }
            }
            '"' => texts.push(literal(&mut chars)),
            _ => {}
        }
        before = c;
    }
    texts
}

fn literal(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => text.push('\n'),
                Some(c) => text.push(c),
                None => break,
            },
            c => text.push(c),
        }
    }
    text
}

/// The text's parts between what is put into it.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                parts.push(String::new());
            }
            c if depth == 0 => parts.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    parts
}

fn words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

/// What stands between backticks, and is no link.
fn quotes(page: &str) -> Vec<String> {
    let mut quotes = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].chars().take_while(|c| *c == '`').count();
        let end = "`".repeat(ticks);
        let inner = &rest[start + ticks..];
        let Some(length) = inner.find(&end) else { break };
        quotes.push(inner[..length].trim().to_owned());
        rest = &inner[length + ticks..];
    }
    quotes
}

/// The texts that the page on trouble explains: the first cells of its tables, and what of them stands in the second.
fn explained() -> Vec<String> {
    let page = read("src/guide/troubleshooting.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let texts = quotes(cells[0]).into_iter().take(1);
        texts.chain(quotes(cells[1]).into_iter().filter(|text| words(text) >= 4))
    })
    .collect()
}

fn is_in(piece: &str, texts: &[String]) -> bool {
    texts.iter().any(|text| parts(text).iter().any(|part| part.contains(piece)))
}

#[test]
fn each_text_that_is_explained_is_one_of_the_codes() {
    let texts: Vec<_> = files("src", ".rs").iter().flat_map(|path| literals(&read(path))).collect();
    let explained = explained();
    assert!(explained.len() > 100, "{}", explained.len());
    for text in &explained {
        let pieces: Vec<_> = text.split('…').map(|piece| piece.trim_matches([' ', ','])).collect();
        for piece in pieces.into_iter().filter(|piece| words(piece) > 0) {
            assert!(is_in(piece, &texts), "nothing says {piece:?}, of {text:?}");
        }
    }
}

/// What the service, the network and the environment are told to people in is all there.
#[test]
fn each_text_for_people_is_explained() {
    // What is asked for, and which right it takes, is put into other texts.
    const PUT_IN: [&str; 16] = [
        "Storage Blob Data Contributor",
        "renew the credential's token",
        "create the lock's blob",
        "create the lock's container",
        "write to the lock's metadata",
        "look at the lock",
        "(`w`)",
        "(`r`) blobs",
        "create containers, which",
        "list (`l`) blobs",
        "in the time that was left",
        "{} min {direction} the service's",
        "an old App Service",
        "the identity of a job of GitHub Actions",
        "the service principal {}{by} at {}",
        "the workload identity {} at {}",
    ];
    // What other servers say.
    const OTHERS: [&str; 4] =
        ["to an https server", "ssl-enabled server port", "invalid peer certificate", "on the way"];
    // What is no text for people at all.
    const NONE: [&str; 2] = ["CONNECT {target}", "settings do nothing until `build`"];
    const PLACES: [&str; 15] = [
        "src/lost.rs",
        "src/rest/explain.rs",
        "src/transport.rs",
        "src/transport/proxy.rs",
        "src/environment.rs",
        "src/names.rs",
        "src/connection_string.rs",
        "src/credential/entra/authority.rs",
        "src/credential/entra/azure_cli.rs",
        "src/credential/entra/cache.rs",
        "src/credential/entra/certificate.rs",
        "src/credential/entra/endpoint.rs",
        "src/credential/entra/service_principal.rs",
        "src/credential/entra/workload_identity.rs",
        "src/credential/sas.rs",
    ];
    let explained = explained();
    let pieces: Vec<_> = explained.iter().flat_map(|text| text.split('…')).map(str::trim).collect();
    let pieces: Vec<_> = pieces.into_iter().filter(|piece| words(piece) >= 2).collect();
    let mut missing = Vec::new();
    for path in PLACES {
        for text in literals(&read(path)) {
            let is_known = PUT_IN.iter().chain(&OTHERS).chain(&NONE).any(|known| text.contains(known));
            if words(&parts(&text).join(" ")) < 4 || is_known {
                continue;
            }
            if !pieces.iter().any(|piece| text.contains(piece)) {
                missing.push(format!("{path}: {text:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "nothing explains {missing:#?}");
}

#[test]
fn the_readme_is_short() {
    let count = read("README.md").split_whitespace().count();
    assert!(count <= 1_200, "{count} words, table lines included");
}

/// The table in the README is compared with the code's by the command line itself.
#[test]
fn the_guide_has_the_readmes_exit_codes() {
    let codes = |page: &str| -> Vec<String> {
        let page = read(page);
        let (_, table) = page.split_once("| exit code |").unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('|').take(3).map(str::trim).collect::<Vec<_>>().join("|")).collect()
    };
    assert_eq!(codes("src/guide/command_line.md"), codes("README.md"));
}

/// The one sentence on evidence has the figures of the last run.
#[test]
fn the_readme_has_the_figures_of_the_evidence() {
    let (readme, evidence) = (read("README.md").replace('\n', " "), read("src/guide/evidence.md"));
    let number = |text: &str| text.replace(',', "").parse::<u32>().unwrap();
    let count = |what: &str| {
        let (_, rest) = evidence.split_once(&format!("| {what} | ")).unwrap_or_else(|| panic!("no {what}"));
        number(rest.split(" |").next().unwrap())
    };
    let killed = count("a holder killed with `kill -9`") + count("another process killed with `kill -9`");
    let processes = evidence.split_once(" processes, ").unwrap().0.rsplit(' ').next().unwrap();
    assert!(readme.contains(&format!("({processes} processes, {killed} killed)")), "{processes}, {killed}");
    for nothing in ["**two holders at a time**", "**lost updates**"] {
        assert!(evidence.contains(&format!("| {nothing} | **0** |")), "{nothing}");
    }
    assert!(read("src/testing/sim/mod.rs").contains("20_000_000") && readme.contains("20 million simulated events"));
}

#[test]
fn the_readme_names_the_oldest_rust() {
    let manifest = read("Cargo.toml");
    let (_, oldest) = manifest.split_once("\nrust-version = \"").unwrap();
    let oldest = oldest.split('"').next().unwrap();
    assert!(read("README.md").contains(&format!("\nRust {oldest} or later")), "{oldest}");
}

#[test]
fn the_readme_names_the_features() {
    let manifest = read("Cargo.toml");
    let (_, features) = manifest.split_once("\n[features]\n").unwrap();
    let features = features.split("\n[").next().unwrap().lines().filter_map(|line| line.split_once(" = "));
    let features: BTreeSet<_> = features.map(|(name, _)| name).filter(|name| !name.contains([' ', '#'])).collect();
    let readme = read("README.md");
    let (_, list) = readme.split_once("\n## Features\n").unwrap();
    let list = list.split("\n## ").next().unwrap();
    let named: BTreeSet<_> = list.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next()).collect();
    let default = BTreeSet::from(["default"]);
    assert_eq!(named, features.difference(&default).copied().collect());
    assert!(manifest.contains("default = [\"rustls\"]") && list.contains("`rustls` (default)"));
}

#[test]
fn the_readme_has_the_defaults() {
    let readme = read("README.md").replace('\n', " ");
    let (_, defaults) = readme.split_once("Defaults: ").unwrap();
    let defaults = defaults.split(". ").next().unwrap();
    let is = |path: &str, line: &str| assert!(read(path).contains(line), "{path}: {line}");
    for (told, path, line) in [
        ("lease 30 s", "src/lease.rs", "pub(crate) const DEFAULT_LEASE: Duration = Duration::from_secs(30);"),
        ("renewal every 10 s", "src/locker.rs", "assemble(Term::DEFAULT, DEFAULT_LEASE / 3, None)"),
        ("one request 5 s", "src/retry.rs", "ATTEMPT_LIMIT: Duration = Duration::from_secs(5);"),
        ("pauses while waiting 0.1 s", "src/locker.rs", "FIRST_PAUSE: Duration = Duration::from_millis(100);"),
        ("to 1 s", "src/locker.rs", "LONGEST_PAUSE: Duration = Duration::from_secs(1);"),
        ("an unreachable service 30 s", "src/retry.rs", "patience: Duration::from_secs(30)"),
        ("wait in drop 2 s", "src/locker.rs", "DROP_LIMIT: Duration = Duration::from_secs(2);"),
    ] {
        assert!(defaults.contains(told), "{told:?} is not in {defaults:?}");
        is(path, line);
    }
}

/// The variables that are read, and those that the guide names.
#[test]
fn the_guide_names_the_variables_that_are_read() {
    let is_name = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        plain && ["AZURE_", "AZMUTEX_", "IDENTITY_", "MSI_", "ACTIONS_ID_"].iter().any(|start| text.starts_with(start))
    };
    let read_by_us: BTreeSet<_> =
        literals(&read("src/environment.rs")).into_iter().filter(|text| is_name(text)).collect();
    let mut named = BTreeSet::new();
    for page in ["README.md", "src/guide/credentials.md", "src/guide/command_line.md", "src/guide/network.md"] {
        let page = read(page);
        named.extend(
            page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .filter(|word| is_name(word))
                .map(str::to_owned),
        );
    }
    // For the Azure CLI.
    let others = BTreeSet::from(["AZURE_CORE_NO_COLOR".to_owned()]);
    let missing: Vec<_> = read_by_us.difference(&named).filter(|name| !others.contains(*name)).collect();
    assert!(missing.is_empty(), "in no page: {missing:?}");
    // What the command line reads, and what it gives to its command.
    let sources: String = files("src/bin", ".rs").iter().map(read).collect();
    for name in named.difference(&read_by_us) {
        let own = name.strip_prefix("AZMUTEX_").unwrap_or_else(|| panic!("{name} is nothing that is read"));
        assert!(sources.contains(&format!("\"{own}\"")) || sources.contains(&format!("\"{name}\"")), "{name}");
    }
}

/// Links between the pages of the guide are rustdoc's to check; those of the README to the guide are not.
#[test]
fn the_readme_links_to_pages_that_are_there() {
    let (readme, guide) = (read("README.md"), read("src/guide.rs"));
    let pages: Vec<_> = readme.split("/azmutex/guide/").skip(1).filter_map(|rest| rest.split('/').next()).collect();
    assert!(pages.len() > 4);
    for page in pages.into_iter().filter(|page| !page.starts_with("index.html")) {
        assert!(guide.contains(&format!("pub mod {page} {{}}")), "{page}");
    }
    let files = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for file in files.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{file}");
    }
}
