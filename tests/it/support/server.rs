//! The servers that a lock's tests run on: Azurite, whose clock nobody moves, and the emulator in the box.

use std::ops::Deref;
use std::time::Duration;

use azmutex::emulator::Emulator;

use super::account::Account;
use super::azurite::azurite;

pub struct Server {
    account: Account,
    /// Of one test alone, so that it may move its clock. `None` is Azurite.
    emulator: Option<Emulator>,
}

impl Server {
    /// `None` where it cannot be had.
    pub fn azurite() -> Option<Server> {
        Some(Server { account: Account::at(azurite()?.port()), emulator: None })
    }

    pub fn emulator() -> Server {
        let emulator = Emulator::start().expect("a port and a thread");
        Server { account: Account::at(emulator.port()), emulator: Some(emulator) }
    }

    /// The emulator in the box, if it is that.
    pub fn as_emulator(&self) -> Option<&Emulator> {
        self.emulator.as_ref()
    }

    /// Moves the clock on, if that can be done: by how much.
    pub fn skip(&self, time: Duration) -> Duration {
        self.emulator.as_ref().map_or(Duration::ZERO, |emulator| {
            emulator.advance(time);
            time
        })
    }
}

impl Deref for Server {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

/// Two tests of each of these functions, which take a server: or, before a semicolon, what runs them on either.
#[macro_export]
macro_rules! on_both_servers {
    ($($test:ident),+ $(,)?) => {
        $crate::on_the_emulator!($($test),+);
        $crate::on_azurite!($($test),+);
    };
    ($on_the_emulator:path, $(#[$where:meta])? $on_azurite:path; $($test:ident),+ $(,)?) => {
        $crate::on_the_emulator!($on_the_emulator; $($test),+);
        $(#[$where])?
        $crate::on_azurite!($on_azurite; $($test),+);
    };
}

/// A test of each of these functions, on an emulator of its own.
#[macro_export]
macro_rules! on_the_emulator {
    ($($test:ident),+ $(,)?) => {
        $crate::on_the_emulator!($crate::support::server::on_the_emulator; $($test),+);
    };
    ($run:path; $($test:ident),+) => {
        mod on_the_emulator {
            $(
                #[test]
                fn $test() {
                    $run($test, super::$test);
                }
            )+
        }
    };
}

/// A test of each of these functions, on Azurite.
#[macro_export]
macro_rules! on_azurite {
    ($($test:ident),+ $(,)?) => {
        $crate::on_azurite!($crate::support::server::on_azurite; $($test),+);
    };
    ($run:path; $($test:ident),+) => {
        mod on_azurite {
            $(
                #[test]
                fn $test() {
                    $run($test, super::$test);
                }
            )+
        }
    };
}

pub fn on_the_emulator(_: fn(), test: fn(&Server)) {
    test(&Server::emulator());
}

pub fn on_azurite(_: fn(), test: fn(&Server)) {
    if let Some(server) = Server::azurite() {
        test(&server);
    }
}
