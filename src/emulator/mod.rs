//! A Blob service on this machine, inside the program, for the tests of code that takes locks.
//!
//! An [`Emulator`] is an HTTP server on a free port of the loopback interface. It speaks the part of the Blob service
//! that locks use, as the real service does, and keeps everything in memory. A lock on it excludes only those who use
//! the same emulator, so nothing falls back to it by itself: it is used where its connection string is.
//!
//! What is hard to come by with a real account is a call away: time that passes ([`Emulator::advance`]), somebody who
//! breaks, takes or deletes the lock ([`break_lock`](Emulator::break_lock), [`steal`](Emulator::steal),
//! [`delete`](Emulator::delete), [`delete_container`](Emulator::delete_container)), and a service or a network that
//! fails ([`Emulator::fail_next`]). [`Emulator::requests`] tells what arrived.
//!
//! # Testing what happens when the lock is lost
//!
//! ```
//! use std::time::Duration;
//!
//! use azmutex::emulator::Emulator;
//! use azmutex::lease::Lost;
//! use azmutex::{Container, ErrorKind, LockGuard, Locker};
//!
//! /// The code under test: it must stop when the lock is gone.
//! fn work(guard: &LockGuard, mut step: impl FnMut()) -> azmutex::Result<u32> {
//!     let mut done = 0;
//!     while done < 1_000_000 {
//!         guard.ensure_held()?;
//!         step();
//!         done += 1;
//!     }
//!     Ok(done)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::start()?;
//! let container = Container::from_connection_string(&emulator.connection_string(), "locks")?;
//! let locker = Locker::builder(container.mutex("nightly-report")?)
//!     .renew_every(Duration::from_millis(10)) // the renewal is what meets the thief
//!     .build()?;
//!
//! let guard = locker.lock()?;
//! emulator.steal("locks", "nightly-report")?;
//! let outcome = work(&guard, || std::thread::sleep(Duration::from_millis(1)));
//! assert_eq!(outcome.unwrap_err().kind(), ErrorKind::LeaseLost);
//! assert_eq!(guard.wait_lost(Duration::from_secs(5)), Some(Lost::Taken));
//! drop(guard);
//!
//! // The thief's lease runs out, without anybody waiting for it.
//! assert_eq!(locker.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
//! emulator.advance(Duration::from_secs(60));
//! locker.try_lock()?.unlock()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! The server's clock runs as clocks do, and [`advance`](Emulator::advance) moves it on. A program that holds a lock
//! judges that by a clock of its own, which does not move along: to it the service has ended the lease early. (The
//! dates of requests are judged as if their senders' clocks had moved along.) Leases end to the moment here, where the
//! service may be off by some seconds.
//!
//! # Tokens
//!
//! Besides its account's key and signatures (SAS), it takes the tokens of Entra ID that it issued itself
//! ([`Emulator::issue_token`]), for as long as its clock says that they are good. Any other it refuses as the service
//! does, with 401. What becomes of an identity that lacks a role is a [`Fault`] with status 403 and the code
//! `AuthorizationPermissionMismatch`.
//!
//! # What it is not
//!
//! It lists the blobs of a container, with their metadata, and nothing else: no containers, and none by a delimiter. It
//! knows no snapshots, versions, copies, blocks, pages' contents, checksums, tags, tiers, leases of containers or stored
//! access policies. A request that asks for what it does not know, were it by one header or
//! parameter, is not carried out: the answer is 501, and names it. A blob, a page blob too, has at most 256 KiB, and
//! all that is stored 64 MiB. It takes service versions from 2017-07-29 on, and no https.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

pub(crate) mod address;
mod answer;
pub(crate) mod auth;
mod call;
pub(crate) mod clock;
mod code;
mod condition;
mod connection;
mod fault;
pub(crate) mod guid;
pub(crate) mod http;
mod known;
mod lease;
mod listing;
mod locked;
mod metadata;
mod operation;
mod properties;
mod record;
pub(crate) mod sas;
mod server;
pub(crate) mod service;
mod shared;
mod stop;
mod store;
mod token;
mod version;

use auth::Account;
use clock::Clock;
pub use fault::Fault;
use locked::locked;
pub use operation::Operation;
pub use record::Request;
use server::Server;
use service::Service;
use shared::Shared;

/// The same in all emulators of the service.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A Blob service on this machine, from its start until it is dropped: see the [module](self).
///
/// Dropping it closes its port and its connections, and waits for its threads.
#[must_use = "it stops when it is dropped"]
pub struct Emulator {
    server: Server,
    account: String,
    key: String,
}

// What its threads share is behind locks, which are taken however whoever had them before has ended.
impl UnwindSafe for Emulator {}
impl RefUnwindSafe for Emulator {}

impl Emulator {
    /// One on a free port of 127.0.0.1, with the account and the key that all emulators have.
    ///
    /// The error is std's, because nothing but a socket or a thread can be the matter.
    ///
    /// # Errors
    ///
    /// If the system has no port or no thread to give.
    ///
    /// ```
    /// use azmutex::{Container, emulator::Emulator};
    ///
    /// let emulator = Emulator::start()?;
    /// let container = Container::from_connection_string(&emulator.connection_string(), "locks")?;
    /// container.locker("job")?.lock()?.unlock()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start() -> io::Result<Emulator> {
        Emulator::builder().start()
    }

    /// One with settings.
    pub fn builder() -> Builder {
        Builder {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            allow_remote: false,
            account: ACCOUNT.to_owned(),
            key: KEY.to_owned(),
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.server.address().port()
    }

    /// The account's URL, such as `http://127.0.0.1:49152/devstoreaccount1`.
    pub fn url(&self) -> String {
        let mut address = self.server.address();
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}/{}", self.account)
    }

    /// What [`Container::from_connection_string`](crate::Container::from_connection_string) takes, and the SDKs.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol=http;AccountName={};AccountKey={};BlobEndpoint={};",
            self.account,
            self.key,
            self.url()
        )
    }

    /// Moves the server's clock on by `time`: leases run out and breaks end at once, as do signatures (SAS), tokens and
    /// the half minute for which the name of a deleted container cannot be had. It cannot be moved back, nor by more
    /// than 100 years at once.
    pub fn advance(&self, time: Duration) {
        self.shared().service.clock().advance(time);
    }

    /// A token for everything there is to do in the account, as Entra ID would give it to an identity with the role
    /// `Storage Blob Data Contributor`. It is good for this long, by the server's clock, whatever its bearer believes.
    ///
    /// ```
    /// # #[cfg(feature = "entra")] {
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use azmutex::Container;
    /// use azmutex::credential::{Credential, entra::{AccessToken, TokenError}};
    /// use azmutex::emulator::Emulator;
    ///
    /// const HOUR: Duration = Duration::from_secs(3600);
    ///
    /// let emulator = Arc::new(Emulator::start()?);
    /// let issuer = emulator.clone();
    /// let token = move || Ok::<_, TokenError>(AccessToken::new(issuer.issue_token(HOUR), HOUR));
    /// let url = format!("{}/locks", emulator.url());
    /// let container = Container::builder(&url, Credential::token_source(token)).build()?;
    ///
    /// let guard = container.locker("nightly-report")?.lock()?;
    /// emulator.revoke_tokens();
    /// guard.unlock()?; // is refused, gets another token, and goes on
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn issue_token(&self, good_for: Duration) -> String {
        self.shared().service.issue_token(good_for)
    }

    /// From now on no token is good that was issued before.
    pub fn revoke_tokens(&self) {
        self.shared().service.revoke_tokens();
    }

    /// Ends the lease of whoever has the lock, at once, as an operator could.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no such lock, or nobody has leased it.
    pub fn break_lock(&self, container: &str, name: &str) -> io::Result<()> {
        self.shared().service.break_lock(container, name)
    }

    /// Takes the lock from whoever has it, for another, who holds it for 60 s.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no such lock, or nobody has leased it.
    pub fn steal(&self, container: &str, name: &str) -> io::Result<()> {
        self.shared().service.steal(container, name)
    }

    /// Deletes the lock's blob, in spite of its lease.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none.
    pub fn delete(&self, container: &str, name: &str) -> io::Result<()> {
        self.shared().service.delete(container, name)
    }

    /// Deletes the container with all that is in it. For 30 s of the server's clock its name cannot be had again.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none.
    pub fn delete_container(&self, container: &str) -> io::Result<()> {
        self.shared().service.remove_container(container)
    }

    /// Lets the next `n` requests fail, after those that are to fail already.
    ///
    /// ```
    /// use azmutex::emulator::{Emulator, Fault, Operation};
    /// use azmutex::{Container, ErrorKind};
    ///
    /// let emulator = Emulator::start()?;
    /// let container = Container::from_connection_string(&emulator.connection_string(), "locks")?;
    /// let locker = container.locker("job")?;
    ///
    /// emulator.fail_next(2, Fault::status(503, "ServerBusy"));
    /// let guard = locker.lock()?; // tries again
    /// emulator.fail_next_of(Operation::ReleaseLease, 1, Fault::ResetAfter);
    /// guard.unlock()?; // finds the work done
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_next(&self, n: usize, fault: Fault) {
        locked(&self.shared().faults).plan(None, n, fault);
    }

    /// Lets the next `n` requests for `operation` fail, after those that are to fail already.
    pub fn fail_next_of(&self, operation: Operation, n: usize, fault: Fault) {
        locked(&self.shared().faults).plan(Some(operation), n, fault);
    }

    /// Lets no further request fail.
    pub fn clear_faults(&self) {
        locked(&self.shared().faults).clear();
    }

    /// What arrived, in order: the last 4,096 requests. What was not HTTP is not among them.
    ///
    /// ```
    /// # use azmutex::{Container, emulator::{Emulator, Operation}};
    /// let emulator = Emulator::start()?;
    /// let container = Container::from_connection_string(&emulator.connection_string(), "locks")?;
    /// let locker = container.locker("job")?;
    /// locker.lock()?.unlock()?; // makes the container and the blob
    /// let before = emulator.requests().len();
    /// locker.lock()?.unlock()?;
    /// let operations: Vec<_> = emulator.requests()[before..].iter().map(|request| request.operation).collect();
    /// assert_eq!(operations, [Operation::AcquireLease, Operation::ReleaseLease]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.shared().record).requests()
    }

    fn shared(&self) -> &Shared {
        self.server.shared()
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// Settings of an [`Emulator`].
///
/// ```
/// use azmutex::emulator::Emulator;
///
/// let emulator = Emulator::builder().account("myaccount").key("c2VjcmV0").start()?;
/// assert!(emulator.url().ends_with("/myaccount"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a builder does nothing until `start`"]
pub struct Builder {
    address: IpAddr,
    port: u16,
    allow_remote: bool,
    account: String,
    key: String,
}

impl Builder {
    /// The port to listen on; 0 is any that is free. Emulators are looked for on 10000. Defaults to 0.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The address to listen on. Defaults to 127.0.0.1.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// Allows an address that other machines can reach. The emulators' key is no secret, so they can then do here what
    /// they like. By default such an address is refused.
    pub fn allow_remote(mut self) -> Self {
        self.allow_remote = true;
        self
    }

    /// The account's name, of lower-case letters and digits. Defaults to `devstoreaccount1`.
    pub fn account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.account);
        self
    }

    /// The account's key, in base64. Defaults to the one that all emulators have.
    pub fn key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for settings that cannot be; those of the system if it has no
    /// such port (such as [`AddrInUse`](io::ErrorKind::AddrInUse)) or no thread to give.
    pub fn start(self) -> io::Result<Emulator> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        if !self.allow_remote && !self.address.is_loopback() {
            return Err(invalid("other machines could reach the emulator at that address; see `allow_remote`"));
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if self.account.is_empty() || !self.account.bytes().all(fits) {
            return Err(invalid("an account's name has lower-case letters and digits alone"));
        }
        let account = Account::new(&self.account, &self.key).ok_or_else(|| invalid("the key is not base64"))?;
        let listener = TcpListener::bind(SocketAddr::new(self.address, self.port))?;
        let server = Server::start(listener, Service::new(account, Clock::start()))?;
        Ok(Emulator { server, account: self.account, key: self.key })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
