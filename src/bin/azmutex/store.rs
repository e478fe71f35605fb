//! Where the locks are.

use azmutex::Container;
#[cfg(feature = "emulator")]
use azmutex::emulator::Emulator;

use crate::exit::Failure;

pub(crate) struct Store {
    pub(crate) container: Container,
    /// It stops when it is dropped.
    #[cfg(feature = "emulator")]
    _emulator: Option<Emulator>,
}

impl Store {
    /// The account that the environment names.
    pub(crate) fn account(container: &str) -> Result<Store, Failure> {
        Ok(Store {
            container: Container::from_env(container)?,
            #[cfg(feature = "emulator")]
            _emulator: None,
        })
    }
}

#[cfg(feature = "emulator")]
mod emulated {
    use azmutex::Container;
    use azmutex::emulator::Emulator;

    use super::Store;
    use crate::exit::Failure;
    use crate::signals::{self, Signal, Wait};
    use crate::tell;

    /// Where `UseDevelopmentStorage=true` looks.
    const DEVELOPMENT_PORT: u16 = 10000;

    impl Store {
        pub(crate) fn emulator(container: &str) -> Result<Store, Failure> {
            let emulator = start(0)?;
            let container = Container::from_connection_string(&emulator.connection_string(), container)?;
            tell::note("the lock is on an emulator inside this process, so nobody else sees it");
            Ok(Store { container, _emulator: Some(emulator) })
        }
    }

    pub(crate) fn serve(port: u16) -> Result<(), Failure> {
        let signals = signals::listen(Wait::none()).map_err(|error| Failure::system("listen for signals", &error))?;
        let emulator = start(port)?;
        tell::result(emulator.connection_string());
        if emulator.port() == DEVELOPMENT_PORT {
            tell::note("reached with AZURE_STORAGE_CONNECTION_STRING=UseDevelopmentStorage=true; stop it with Ctrl-C");
        } else {
            tell::note("reached with that text in AZURE_STORAGE_CONNECTION_STRING; stop it with Ctrl-C");
        }
        for signal in signals {
            match signal {
                Signal::Child => {}
                #[cfg(unix)]
                Signal::Stop => signals::stop(),
                #[cfg(unix)]
                Signal::End(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn start(port: u16) -> Result<Emulator, Failure> {
        Emulator::builder()
            .port(port)
            .start()
            .map_err(|error| Failure::system(&format!("serve an emulator on port {port}"), &error))
    }
}

#[cfg(feature = "emulator")]
pub(crate) use emulated::serve;

#[cfg(not(feature = "emulator"))]
mod absent {
    use super::Store;
    use crate::exit::{Failure, USAGE};

    impl Store {
        pub(crate) fn emulator(_: &str) -> Result<Store, Failure> {
            Err(none())
        }
    }

    pub(crate) fn serve(_: u16) -> Result<(), Failure> {
        Err(none())
    }

    fn none() -> Failure {
        Failure::new(USAGE, "this azmutex was built without an emulator; build it with the feature `emulator`")
    }
}

#[cfg(not(feature = "emulator"))]
pub(crate) use absent::serve;
