//! Rust as text: what a file imports, and what it calls by a path. As much of the language as this crate's files use.

use std::collections::BTreeSet;

/// A path as it is written, such as `["crate", "error", "Error"]`.
pub(super) type Path = Vec<String>;

/// What one file says, without its comments, its texts and its tests.
pub(super) struct Source {
    /// The modules that it declares, each in a file of its own.
    pub(super) modules: BTreeSet<String>,
    /// What its `use` declarations bring, by the name that it has here; `*` for all of a module.
    pub(super) imports: Vec<Import>,
    /// Every path of two segments or more outside of `use` declarations.
    pub(super) paths: Vec<Path>,
    /// Every other word.
    pub(super) words: BTreeSet<String>,
    /// The macros that it calls.
    pub(super) macros: BTreeSet<String>,
}

pub(super) struct Import {
    pub(super) name: String,
    pub(super) path: Path,
    /// For others: no import of this file's own, unless it uses the name as well.
    pub(super) is_reexport: bool,
}

impl Source {
    pub(super) fn read(text: &str) -> Source {
        let tokens = tokens(without_tests(text));
        let mut source = Source {
            modules: BTreeSet::new(),
            imports: Vec::new(),
            paths: Vec::new(),
            words: BTreeSet::new(),
            macros: BTreeSet::new(),
        };
        let mut at = 0;
        // Of each module in the file itself, how many braces are open around it.
        let (mut inside, mut open) = (Vec::new(), 0);
        while at < tokens.len() {
            let next = |ahead: usize| tokens.get(at + ahead).map_or("", String::as_str);
            match next(0) {
                "{" => {
                    open += 1;
                    at += 1;
                }
                "}" => {
                    open -= 1;
                    inside.retain(|outside| *outside < open);
                    at += 1;
                }
                // Who may see something is not what it uses.
                "pub" if next(1) == "(" && next(2) == "in" => {
                    at += tokens[at..].iter().position(|token| token == ")").unwrap();
                }
                "mod" if next(2) == "{" => {
                    inside.push(open);
                    at += 2;
                }
                "mod" if next(2) == ";" => {
                    source.modules.insert(next(1).to_owned());
                    at += 3;
                }
                "use" => {
                    let is_reexport = is_after_visibility(&tokens[..at]);
                    let end = at + tokens[at..].iter().position(|token| token == ";").unwrap();
                    let mut found = Vec::new();
                    tree(&tokens[..end], &mut (at + 1), &[], &mut found);
                    let imports = found.into_iter().map(|(name, path)| {
                        let path = of_the_file(path, inside.len());
                        Import { name, path, is_reexport }
                    });
                    source.imports.extend(imports);
                    at = end + 1;
                }
                word if is_word(word) => {
                    let mut path = vec![word.to_owned()];
                    at += 1;
                    while tokens.get(at).is_some_and(|token| token == "::")
                        && tokens.get(at + 1).is_some_and(|token| is_word(token))
                    {
                        path.push(tokens[at + 1].clone());
                        at += 2;
                    }
                    if tokens.get(at).is_some_and(|token| token == "!") {
                        source.macros.insert(path.last().unwrap().clone());
                    }
                    source.words.insert(path[0].clone());
                    if path.len() > 1 {
                        source.paths.push(of_the_file(path, inside.len()));
                    }
                }
                _ => at += 1,
            }
        }
        source
    }
}

/// What a path means that stands in a module in a module .. of the file, so many deep.
fn of_the_file(path: Path, depth: usize) -> Path {
    let ups = path.iter().take(depth).take_while(|segment| *segment == "super").count();
    if ups == 0 { path } else { [&["self".to_owned()], &path[ups..]].concat() }
}

/// A module of tests is a file's last item.
fn without_tests(text: &str) -> &str {
    let is_start = |at: &usize| text[*at..].lines().find(|line| !line.starts_with("#[")) == Some("mod tests {");
    let mut starts =
        text.match_indices("#[cfg(").map(|(at, _)| at).filter(|at| *at == 0 || text[..*at].ends_with('\n'));
    starts.find(is_start).map_or(text, |at| &text[..at])
}

/// Words, `::`, and every other character by itself.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c == '"' {
            text_length(rest)
        } else if let Some(hashes) = raw_text(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = rest.find('"').unwrap() + 1;
            begin + rest[begin..].find(&end).unwrap() + end.len()
        } else if c == '\'' {
            character_length(rest)
        } else if is_word(&rest[..c.len_utf8()]) {
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    end.unwrap() + 2
}

/// `r"`, `br#"` and the like: how many `#` there are.
fn raw_text(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Of a character, or of the mark of a lifetime.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => 4 + rest[3..].find('\'').unwrap(),
        _ => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
    }
}

fn is_after_visibility(before: &[String]) -> bool {
    match before.last().map(String::as_str) {
        Some("pub") => true,
        Some(")") => {
            let open = before.iter().rposition(|token| token == "(").unwrap();
            open > 0 && before[open - 1] == "pub"
        }
        _ => false,
    }
}

/// The tree of a `use` declaration, as the paths that it stands for, each with the name that it has here.
fn tree(tokens: &[String], at: &mut usize, before: &[String], found: &mut Vec<(String, Path)>) {
    let mut path = before.to_vec();
    let mut name = None;
    while let Some(token) = tokens.get(*at).map(String::as_str).filter(|token| !matches!(*token, "," | "}")) {
        *at += 1;
        match token {
            "::" => {}
            "as" => {
                name = Some(tokens[*at].clone());
                *at += 1;
            }
            "{" => {
                while tokens[*at] != "}" {
                    tree(tokens, at, &path, found);
                    *at += usize::from(tokens[*at] == ",");
                }
                *at += 1;
                return;
            }
            "*" => name = Some("*".to_owned()),
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
    }
    found.push((name.unwrap_or_else(|| path.last().unwrap().clone()), path));
}
