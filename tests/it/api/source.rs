//! The public API, read from the source: enough of Rust's grammar to find what is public, and what it is made of.
//!
//! The compiler sees to it that what is written `pub` can be reached (`unreachable_pub`) and names nothing private
//! (`private_interfaces`), so no more than the word has to be looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::arrows::source::tokens;

/// What needs no `use`, as far as the API has it.
const PRELUDE: &str = "Box Clone Copy Debug Default Drop Eq Fn FnMut FnOnce From Hash Into IntoIterator Iterator Option \
                       Ord PartialEq PartialOrd Result Self Send String Sync Vec";
/// Of traits that are there.
const ASSOCIATED: &str = "Item";

/// What is public in a file, and what the names in it mean.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Structs and enums.
    pub(super) types: Vec<String>,
    /// Traits, and other names of types.
    others: Vec<String>,
    /// What each `pub use` begins with.
    exported: BTreeSet<String>,
    /// Each public signature, field and variant.
    signatures: Vec<Vec<String>>,
    /// Of each `impl`; public if it is about something public.
    headers: Vec<Vec<String>>,
    /// By name, the path from which a `use` has it.
    imported: BTreeMap<String, Vec<String>>,
}

/// The library's files, without its tests and what serves them.
pub(super) fn files() -> Vec<File> {
    let mut files = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files
}

fn read(folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            // The guide's programs are no part of the library.
            _ if ["bin", "guide", "testing", "tests"].contains(&stem.as_str()) => {}
            true => read(&path, files),
            false => files.push(File::of(&fs::read_to_string(&path).unwrap())),
        }
    }
}

/// The crates that the library depends on, as its code spells them.
pub(super) fn dependencies() -> BTreeSet<String> {
    let mut crates = BTreeSet::new();
    let mut is_table = false;
    for line in include_str!("../../../Cargo.toml").lines() {
        if line.starts_with('[') {
            is_table = line.ends_with("dependencies]") && !line.contains("dev-");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_table)
            && name.starts_with(|first: char| first.is_ascii_lowercase())
        {
            crates.insert(name.replace('-', "_"));
        }
    }
    crates
}

/// Everything in the API that comes neither from this crate nor from std: a crate, or a name of which it is not known
/// whose it is.
pub(super) fn foreign(files: &[File], dependencies: &BTreeSet<String>) -> BTreeSet<String> {
    let ours = files.iter().flat_map(|file| file.types.iter().chain(&file.others));
    let ours: BTreeSet<&str> = ours.map(String::as_str).collect();
    let mut foreign = BTreeSet::new();
    for file in files {
        let is_ours = |path: &Vec<&str>| {
            path.last().is_some_and(|name| ours.contains(name)) && file.foreign(path, &ours, dependencies).is_none()
        };
        let is_of_a_crate =
            |path: &Vec<&str>| file.foreign(path, &ours, dependencies).is_some_and(|name| dependencies.contains(&name));
        // A header is of a type of ours; or of a foreign one, with ours in the name of the trait.
        let is_public = |header: &&Vec<String>| {
            let subject = header.iter().rposition(|token| token == "for").map_or(0, |at| at + 1);
            let (of, subject) = (paths(&header[..subject]), paths(&header[subject..]));
            subject.iter().any(is_ours) || subject.iter().any(is_of_a_crate) && of.iter().any(is_ours)
        };
        for signature in file.signatures.iter().chain(file.headers.iter().filter(is_public)) {
            foreign.extend(paths(signature).iter().filter_map(|path| file.foreign(path, &ours, dependencies)));
        }
        foreign.extend(file.exported.intersection(dependencies).cloned());
    }
    foreign
}

/// Each as long as it goes on: `Option`, `io::Result`.
fn paths(tokens: &[String]) -> Vec<Vec<&str>> {
    let mut paths: Vec<Vec<&str>> = Vec::new();
    let mut goes_on = false;
    for token in tokens.iter().map(String::as_str) {
        match (is_word(token), paths.last_mut()) {
            (true, Some(path)) if goes_on => path.push(token),
            (true, _) => paths.push(vec![token]),
            (false, _) => {}
        }
        goes_on = token == "::";
    }
    paths
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

impl File {
    pub(super) fn of(text: &str) -> File {
        let mut file = File::default();
        let mut tokens = Tokens { all: tokens(text), at: 0 };
        while let Some(token) = tokens.next() {
            match token.as_str() {
                "#" => {
                    let attribute = tokens.attribute();
                    let has = |word: &str| attribute.iter().any(|token| token == word);
                    if has("cfg") && !has("not") && ["test", "doctest", "fuzzing"].into_iter().any(has) {
                        tokens.skip_item();
                    } else if has("derive") {
                        file.signatures.extend(Some(attribute).filter(|_| tokens.is_public_next()));
                    }
                }
                "impl" => {
                    let header = tokens.until(&["{", ";"]);
                    let body = tokens.ahead(&["}"]);
                    for (i, _) in body.iter().enumerate().filter(|(_, token)| *token == "type") {
                        let value = body.iter().skip(i + 2).take_while(|token| *token != ";");
                        file.headers.push(header.iter().chain(value).cloned().collect());
                    }
                    file.headers.push(header);
                }
                "fn" => drop(tokens.until(&["{", ";"])),
                "use" => file.import(&[], &tokens.until(&[";"])),
                "pub" if tokens.is_next("(") => {
                    tokens.until(&["("]);
                    tokens.until(&[")"]);
                }
                "pub" => file.public(&mut tokens),
                _ => {}
            }
        }
        file
    }

    fn public(&mut self, tokens: &mut Tokens) {
        let first = tokens.next().unwrap_or_default();
        let signature = match first.as_str() {
            "mod" => return,
            "use" => {
                let tree = tokens.until(&[";"]);
                self.exported.extend(tree.first().cloned());
                return self.import(&[], &tree);
            }
            "struct" => tokens.ahead(&["{", "(", ";"]),
            "enum" => {
                let mut signature = tokens.until(&["{"]);
                let variants = tokens.until(&["}"]);
                signature.extend(branches(&variants).iter().flat_map(|variant| without_name(variant)).cloned());
                signature
            }
            "trait" => {
                let header = tokens.until(&["{"]);
                let mut body = Tokens { all: tokens.until(&["}"]), at: 0 };
                while let Some(token) = body.next() {
                    if ["fn", "type", "const"].contains(&token.as_str()) {
                        self.signatures.push(body.until(&["{", ";"]));
                    }
                }
                header
            }
            "type" => tokens.until(&[";"]),
            "const" | "static" if !tokens.is_next("fn") => {
                tokens.until(&[":"]);
                tokens.until(&["=", ";"])
            }
            "fn" | "const" | "async" | "unsafe" | "extern" => tokens.until(&["{", ";"]),
            // A field: of no matter if more than its type is read.
            _ => [first.clone()].into_iter().chain(tokens.ahead(&[")", "}"])).collect(),
        };
        match first.as_str() {
            "struct" | "enum" => self.types.extend(signature.first().cloned()),
            "trait" | "type" => self.others.extend(signature.first().cloned()),
            _ => {}
        }
        self.signatures.push(signature);
    }

    /// `a::{self, b::C as D}`
    fn import(&mut self, above: &[String], tree: &[String]) {
        for branch in branches(tree) {
            let words = branch.iter().take_while(|token| *token != "{" && *token != "as");
            let path: Vec<String> = above.iter().chain(words.filter(|token| is_word(token))).cloned().collect();
            match &branch[branch.iter().take_while(|token| *token != "{" && *token != "as").count()..] {
                [open, inner @ .., _] if open == "{" => self.import(&path, inner),
                [_, name] => drop(self.imported.insert(name.clone(), path)),
                _ => {
                    let path: Vec<String> =
                        path.into_iter().filter(|word| word != "self" || above.is_empty()).collect();
                    self.imported.extend(path.last().cloned().map(|name| (name, path)));
                }
            }
        }
    }

    /// Whose the path is, unless it is ours or std's.
    fn foreign(&self, path: &[&str], ours: &BTreeSet<&str>, dependencies: &BTreeSet<String>) -> Option<String> {
        if let [word] = path
            && !word.starts_with(|first: char| first.is_ascii_uppercase())
        {
            return None;
        }
        let imported = self.imported.get(path[0]).into_iter().flatten().map(String::as_str);
        let whole: Vec<&str> = match (imported.collect::<Vec<_>>(), path) {
            (imported, [_, rest @ ..]) if !imported.is_empty() => [&imported, rest].concat(),
            _ => path.to_vec(),
        };
        match whole[..] {
            ["std", ..] => None,
            [name] if name.len() == 1 || PRELUDE.split(' ').chain([ASSOCIATED]).any(|known| known == name) => None,
            // What the model of the tests has a stand-in for.
            ["crate", "sync", "channel", ..] => Some("crossbeam_channel".to_owned()),
            [root, _, ..] if dependencies.contains(root) => Some(root.to_owned()),
            [.., name] if ours.contains(name) => None,
            _ => Some(whole.join("::")),
        }
    }
}

/// What the commas that are in no brackets set apart.
fn branches(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    let parts = tokens.split(|token| {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        token == "," && depth == 0
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Of a variant, with its attributes.
fn without_name(variant: &[String]) -> &[String] {
    match variant {
        [hash, ..] if hash == "#" => {
            let end = variant.iter().position(|token| token == "]").unwrap();
            without_name(&variant[end + 1..])
        }
        [_, rest @ ..] => rest,
        [] => &[],
    }
}

struct Tokens {
    all: Vec<String>,
    at: usize,
}

impl Tokens {
    fn next(&mut self) -> Option<String> {
        self.at += 1;
        self.all.get(self.at - 1).cloned()
    }

    fn is_next(&self, token: &str) -> bool {
        self.all.get(self.at).is_some_and(|next| next == token)
    }

    /// Up to the first of these that is in no brackets.
    fn ahead(&self, ends: &[&str]) -> Vec<String> {
        let mut depth = 0;
        let is_inside = |token: &&String| {
            if depth == 0 && ends.contains(&token.as_str()) {
                return false;
            }
            match token.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            true
        };
        self.all[self.at.min(self.all.len())..].iter().take_while(is_inside).cloned().collect()
    }

    /// The same, and goes on after it.
    fn until(&mut self, ends: &[&str]) -> Vec<String> {
        let tokens = self.ahead(ends);
        self.at += tokens.len() + 1;
        tokens
    }

    /// What is in the brackets after a `#`.
    fn attribute(&mut self) -> Vec<String> {
        self.until(&["["]);
        self.until(&["]"])
    }

    fn is_public_next(&self) -> bool {
        let mut rest = Tokens { all: self.all[self.at..].to_vec(), at: 0 };
        loop {
            match rest.next().as_deref() {
                Some("#") => drop(rest.attribute()),
                Some("pub") => return rest.next().is_some_and(|next| next != "("),
                _ => return false,
            }
        }
    }

    fn skip_item(&mut self) {
        let head = self.until(&["{", ";", ","]);
        let is_end = self.all.get(self.at - 1).is_none_or(|end| end != "{");
        if is_end {
            return;
        }
        self.until(&["}"]);
        if head.iter().any(|token| token == "use") {
            self.until(&[";"]);
        }
    }
}
