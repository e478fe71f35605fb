//! A connection to one of a host's addresses, in time.

use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpStream};

use crate::clock::{self, Moment};

/// An address that does not answer may take this part of the time that is left, unless it is the last.
const PART_OF_ONE: u32 = 4;

/// Tries one address after the other, until one answers or the time is over. `told` hears which did.
pub(super) fn dial(
    addresses: &[SocketAddr],
    until: Moment,
    mut told: impl FnMut(SocketAddr, bool),
) -> Result<(TcpStream, SocketAddr)> {
    let mut last = Error::from(ErrorKind::TimedOut);
    for (i, &address) in addresses.iter().enumerate() {
        let left = until.left(clock::now());
        if left.is_zero() {
            break;
        }
        let part = if i + 1 == addresses.len() { left } else { left / PART_OF_ONE };
        match TcpStream::connect_timeout(&address, part) {
            Ok(stream) => {
                told(address, true);
                return Ok((stream, address));
            }
            // The machine's own: another address would not help.
            Err(error) if is_want(&error) => return Err(error),
            Err(error) => {
                told(address, false);
                // An odd address says less than one that was asked.
                if is_of_peer(error.kind()) || !is_of_peer(last.kind()) || i == 0 {
                    last = error;
                }
            }
        }
    }
    Err(last)
}

/// Of descriptors or memory.
fn is_want(error: &Error) -> bool {
    let descriptors: &[i32] = if cfg!(windows) { &[10024] } else { &[23, 24] };
    error.kind() == ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|code| descriptors.contains(&code))
}

fn is_of_peer(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::TimedOut
            | ErrorKind::WouldBlock
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            // Some firewalls' way to refuse.
            | ErrorKind::PermissionDenied
    )
}
