//! What we exit with where it is not the command's code. These are fixed: scripts depend on them.

use std::io;

use azmutex::{Error, ErrorKind};

pub(crate) const USAGE: u8 = 64;
pub(crate) const UNREACHABLE: u8 = 69;
pub(crate) const LOST: u8 = 70;
pub(crate) const SYSTEM: u8 = 71;
pub(crate) const NOT_OBTAINED: u8 = 75;
pub(crate) const NOT_AUTHORISED: u8 = 77;
pub(crate) const CONFIGURATION: u8 = 78;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// For the help and the README.
const TABLE: [(&str, &str); 11] = [
    ("the command's", "it ran to its end, and the lock was ours until then"),
    ("64", "wrong arguments; or a lock that is held by whoever runs this"),
    ("69", "the service cannot be reached"),
    ("70", "the lock was lost, and the command was ended if it still ran"),
    ("71", "the operating system refused something"),
    ("75", "somebody else has the lock, or it was not obtained in time"),
    ("77", "not authorised, or a wrong clock"),
    ("78", "a wrong connection string, key, URL or other setting, or none"),
    ("126", "the command cannot be executed"),
    ("127", "the command was not found"),
    ("128 + signal", "the command died of that signal, or it came before the lock was ours"),
];

const CREDENTIALS: &str = "\
Credentials come from the environment: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT
with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or with an identity of Entra ID if this program
was built with the feature entra. AZURE_STORAGE_SERVICE_ENDPOINT is the account's URL where it is not
in the public cloud, and AZMUTEX_SERVICE_VERSION the version of the service's interface where that
is older than usual, as on Azure Stack Hub: 2017-11-09, for one.";

/// What stands below the help.
pub(crate) fn help() -> String {
    let rows = TABLE.iter().map(|(code, meaning)| format!("\n{code:>15}  {meaning}"));
    format!("Exit codes:{}\n\n{CREDENTIALS}", rows.collect::<String>())
}

/// The end, with the reason.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// A failure of the system that nobody expects.
    pub(crate) fn system(doing: &str, error: &io::Error) -> Failure {
        Failure::new(SYSTEM, format!("could not {doing}: {error}"))
    }

    /// What cannot be used, before anything was asked of the service.
    pub(crate) fn configuration(error: &Error) -> Failure {
        Failure::new(CONFIGURATION, sentence(error))
    }

    /// What was said on the command line, unless it is the system's fault.
    pub(crate) fn usage(error: &Error) -> Failure {
        Failure::new(if error.kind() == ErrorKind::InvalidInput { USAGE } else { code(error) }, sentence(error))
    }

    pub(crate) fn not_printed(error: &io::Error) -> Failure {
        Failure::system("write to stdout", error)
    }

    /// A command that could not be started.
    pub(crate) fn not_started(program: &str, error: &io::Error) -> Failure {
        let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
        Failure::new(code, format!("could not run {program}: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(code(&error), sentence(&error))
    }
}

/// A reader who has gone away has seen enough.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::not_printed(&error)),
        _ => Ok(()),
    }
}

/// With its causes.
pub(crate) fn sentence(error: &Error) -> String {
    format!("{error:?}")
}

/// For what the service said, or did not say.
pub(crate) fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::TimedOut => match last_failure(error) {
            // Nobody else had it, as far as is known.
            Some(failure) if failure.kind() != ErrorKind::WouldBlock => code(failure),
            _ => NOT_OBTAINED,
        },
        ErrorKind::WouldBlock | ErrorKind::Outdated => NOT_OBTAINED,
        ErrorKind::Unavailable => UNREACHABLE,
        ErrorKind::Unexpected if error.http_status().is_some() => UNREACHABLE,
        ErrorKind::Credential | ErrorKind::PermissionDenied | ErrorKind::ClockSkew => NOT_AUTHORISED,
        ErrorKind::LeaseLost => LOST,
        ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::Untrusted => CONFIGURATION,
        _ => SYSTEM,
    }
}

/// What stood in the way of a wait at its end.
pub(crate) fn last_failure(error: &Error) -> Option<&Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// As shells do it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn signalled(signal: i32) -> u8 {
    u8::try_from(signal).map_or(SYSTEM, |signal| signal.saturating_add(128))
}

/// The command's own: on Windows, any number.
#[cfg(not(target_os = "linux"))]
pub(crate) fn passed_on(status: std::process::ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return signalled(signal).into();
    }
    status.code().unwrap_or(SYSTEM.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such as a thread that could not be started.
    #[test]
    fn what_is_not_the_command_lines_fault_is_not_called_so() {
        use azmutex::Container;
        use azmutex::retry::Policy;

        // Nobody listens there.
        let nowhere =
            "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:1/a;";
        let builder = azmutex::container::Builder::from_connection_string(nowhere, "locks").unwrap();
        let container: Container = builder.retry(Policy::default().retries(0)).build().unwrap();
        let error = container.mutex("x").unwrap().inspect().unwrap_err();
        assert_eq!(Failure::usage(&error).code, UNREACHABLE, "{error:?}");
        assert_eq!(Failure::usage(&container.mutex("").unwrap_err()).code, USAGE);
    }

    #[test]
    fn the_readme_has_the_same_table() {
        let readme = include_str!("../../../README.md");
        let (_, table) = readme.split_once("| exit code | |\n| --- | --- |\n").expect("a table of exit codes");
        let rows: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
        assert_eq!(rows, TABLE.map(|(code, meaning)| format!("| {code} | {meaning} |")));
    }
}
