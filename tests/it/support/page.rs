//! Figures that a run writes into a page of the guide, between two marks.

use std::fs;
use std::path::Path;
use std::process::Command;

/// In the place of what is there.
pub fn write(page: &str, mark: &str, figures: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide").join(page);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, replaced(&text, mark, figures)).unwrap();
}

/// `text` with this between the marks.
pub fn replaced(text: &str, mark: &str, figures: &str) -> String {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->\n"));
    let (before, rest) = text.split_once(&begin).expect("the page has the mark");
    let (_, after) = rest.split_once(&end).expect("the page has the end mark");
    format!("{before}{begin}{figures}{end}{after}")
}

/// What was measured.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        (None, _) => "unknown".to_owned(),
    }
}
