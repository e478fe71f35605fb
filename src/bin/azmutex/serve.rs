//! An emulator that others join.

use crate::arguments::Emulator;
use crate::exit::Failure;

#[cfg(feature = "emulator")]
pub(crate) fn serve(arguments: &Emulator) -> Result<u8, Failure> {
    use crate::{exit, place, signals, tell};

    /// Where `UseDevelopmentStorage=true` looks.
    const DEVELOPMENT_PORT: u16 = 10000;

    let end = signals::end().map_err(|error| Failure::system("listen for signals", &error))?;
    let emulator = place::start(arguments.port)?;
    exit::printed(tell::result(emulator.connection_string()))?;
    if emulator.port() == DEVELOPMENT_PORT {
        tell::note("reached with AZURE_STORAGE_CONNECTION_STRING=UseDevelopmentStorage=true; stop it with Ctrl-C");
    } else {
        tell::note("reached with that text in AZURE_STORAGE_CONNECTION_STRING; stop it with Ctrl-C");
    }
    let _ = end.recv();
    Ok(0)
}

#[cfg(not(feature = "emulator"))]
pub(crate) fn serve(_: &Emulator) -> Result<u8, Failure> {
    Err(crate::place::no_emulator())
}
