//! Where a program is, by the name that it has for a shell: with one of the endings of `PATHEXT`, in a directory of `PATH`.
//! The current directory is none of them, as somebody else may have put something there: `.\program` says so.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Those that the system can start. What else `PATHEXT` has is for the shell.
const ENDINGS: [&str; 4] = [".COM", ".EXE", ".BAT", ".CMD"];

/// The system would look in other places, too, such as this program's own directory.
pub(super) fn program(word: &OsStr) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let endings = env::var("PATHEXT").unwrap_or_else(|_| ENDINGS.join(";"));
    candidates(Path::new(word), env::split_paths(&path), &endings).into_iter().find(|file| file.is_file())
}

fn candidates(word: &Path, path: impl Iterator<Item = PathBuf>, endings: &str) -> Vec<PathBuf> {
    let endings: Vec<_> =
        endings.split(';').filter(|ending| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))).collect();
    let with_endings = |file: &Path| {
        if file.file_name().is_none() {
            return Vec::new();
        }
        let whole = file.extension().map(|_| file.to_owned());
        let ended = endings.iter().map(|ending| {
            let mut file = file.as_os_str().to_owned();
            file.push(ending);
            PathBuf::from(file)
        });
        whole.into_iter().chain(ended).collect::<Vec<_>>()
    };
    // Only a bare name is looked for.
    match word.parent() {
        Some(parent) if parent.as_os_str().is_empty() => path
            .filter(|directory| directory.is_absolute())
            .flat_map(|directory| with_endings(&directory.join(word)))
            .collect(),
        _ => with_endings(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(word: &str, endings: &str) -> Vec<String> {
        let path = [r"C:\a", "here", r"D:\b c"].map(PathBuf::from);
        let found = candidates(Path::new(word), path.into_iter(), endings);
        found.into_iter().map(|file| file.into_os_string().into_string().unwrap()).collect()
    }

    #[test]
    fn a_bare_name_is_looked_for_with_each_ending_in_each_directory() {
        let expected = [r"C:\a\npm.cmd", r"C:\a\npm.EXE", r"D:\b c\npm.cmd", r"D:\b c\npm.EXE"];
        assert_eq!(found("npm", ".cmd;.EXE;.VBS;;cmd"), expected);
    }

    #[test]
    fn a_name_with_an_ending_is_looked_for_as_it_is_first() {
        let expected = [r"C:\a\tool.2", r"C:\a\tool.2.BAT", r"D:\b c\tool.2", r"D:\b c\tool.2.BAT"];
        assert_eq!(found("tool.2", ".BAT"), expected);
    }

    #[test]
    fn a_path_is_where_it_is() {
        assert_eq!(found(r".\build", ".CMD;.BAT"), [r".\build.CMD", r".\build.BAT"]);
        assert_eq!(found(r"C:\x y\build.cmd", ".COM"), [r"C:\x y\build.cmd", r"C:\x y\build.cmd.COM"]);
    }

    #[test]
    fn what_is_nowhere_is_not_found() {
        for word in ["there-is-no-such-command", "", ".", r"C:\"] {
            assert_eq!(program(OsStr::new(word)), None, "{word}");
        }
        assert!(program(OsStr::new("cmd")).unwrap().is_file());
    }
}
