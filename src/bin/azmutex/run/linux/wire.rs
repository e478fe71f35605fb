//! What the three processes say to each other, and what they hand over.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// From the front to the warden.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A signal that a process sent.
    Signal(i32),
    /// A signal of the keyboard's, which the command has got, too.
    Key(i32),
    /// The wait for the lock is to stop, and what it began to be undone.
    Pause,
    /// It is to go on.
    Resume,
    /// The front is awake, and has heard all that was reported.
    Awake,
}

/// From the warden to the front.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Somebody else has the lock.
    Waiting,
    /// The wait has stopped.
    Paused,
    /// The lock is ours, and the command starts next.
    Held,
    Stopped(i32),
    Continued,
    /// The command ended so, and the lock is let go.
    Ended(i32),
    /// It did not run, or not to its end: what to exit with.
    Failed(i32),
}

/// Something that fits into a letter and a number.
pub(crate) trait Word: Sized + Send + 'static {
    fn letter(self) -> (u8, i32);
    fn of(letter: u8, number: i32) -> Option<Self>;
}

impl Word for Order {
    fn letter(self) -> (u8, i32) {
        match self {
            Order::Signal(number) => (b's', number),
            Order::Key(number) => (b'k', number),
            Order::Pause => (b'p', 0),
            Order::Resume => (b'r', 0),
            Order::Awake => (b'a', 0),
        }
    }

    fn of(letter: u8, number: i32) -> Option<Order> {
        Some(match letter {
            b's' => Order::Signal(number),
            b'k' => Order::Key(number),
            b'p' => Order::Pause,
            b'r' => Order::Resume,
            b'a' => Order::Awake,
            _ => return None,
        })
    }
}

impl Word for Report {
    fn letter(self) -> (u8, i32) {
        match self {
            Report::Waiting => (b'w', 0),
            Report::Paused => (b'p', 0),
            Report::Held => (b'h', 0),
            Report::Stopped(number) => (b's', number),
            Report::Continued => (b'c', 0),
            Report::Ended(status) => (b'e', status),
            Report::Failed(code) => (b'f', code),
        }
    }

    fn of(letter: u8, number: i32) -> Option<Report> {
        Some(match letter {
            b'w' => Report::Waiting,
            b'p' => Report::Paused,
            b'h' => Report::Held,
            b's' => Report::Stopped(number),
            b'c' => Report::Continued,
            b'e' => Report::Ended(number),
            b'f' => Report::Failed(number),
            _ => return None,
        })
    }
}

/// The other end may be gone, which is heard of by whoever reads.
pub(crate) fn say(mut to: &UnixStream, word: impl Word) {
    let (letter, number) = word.letter();
    let mut bytes = [letter; 5];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    let _ = to.write_all(&bytes);
}

/// `None` at the end of the other side.
pub(crate) fn hear<W: Word>(mut from: &UnixStream) -> Option<W> {
    let mut bytes = [0; 5];
    from.read_exact(&mut bytes).ok()?;
    let [letter, number @ ..] = bytes;
    W::of(letter, i32::from_le_bytes(number))
}

/// Hands over what is open here.
pub(crate) fn hand_over(to: &UnixStream, open: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(open));
    rustix::net::sendmsg(to, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// As many as were handed over, in their order.
pub(crate) fn take_over<const N: usize>(from: &UnixStream) -> io::Result<[OwnedFd; N]> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut open = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            open.extend(descriptors);
        }
    }
    open.try_into().map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

/// Where that stands on the board, behind the deadline.
const HOLDER_AT: u64 = 16;

/// Says when the command has to be dead, and who has the lock before: written by the warden, read by the front. Memory, and no message, so that what
/// is read is never old, however long its reader stood still.
#[derive(Debug)]
pub(crate) struct Board(File);

impl Board {
    pub(crate) fn new() -> io::Result<Board> {
        let board = Board(File::from(memfd_create("azmutex", MemfdFlags::CLOEXEC)?));
        board.set(None);
        Ok(board)
    }

    pub(crate) fn of(open: OwnedFd) -> Board {
        Board(File::from(open))
    }

    pub(crate) fn open(&self) -> &File {
        &self.0
    }

    /// Without a deadline there is nothing to kill, or nothing left that may be.
    pub(crate) fn set(&self, deadline: Option<Duration>) {
        let nanos = deadline.map_or(u64::MAX, |deadline| deadline.as_nanos().try_into().unwrap_or(u64::MAX));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&nanos.to_le_bytes());
        bytes[8..].copy_from_slice(&(!nanos).to_le_bytes());
        // Of memory of this size there is always enough.
        let _ = self.0.write_all_at(&bytes, 0);
    }

    /// What is known of who has the lock while it is waited for.
    pub(crate) fn set_holder(&self, text: &str) {
        let _ = self.0.set_len(HOLDER_AT).and_then(|()| self.0.write_all_at(text.as_bytes(), HOLDER_AT));
    }

    pub(crate) fn holder(&self) -> String {
        let mut bytes = [0; 1024];
        let count = self.0.read_at(&mut bytes, HOLDER_AT).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        loop {
            let mut bytes = [0; 16];
            self.0.read_exact_at(&mut bytes, 0).ok()?;
            let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
            // Otherwise it is being written.
            if half(0) == !half(8) {
                return (half(0) != u64::MAX).then(|| Duration::from_nanos(half(0)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn each_word_is_heard_as_it_was_said() {
        let (one, other) = UnixStream::pair().unwrap();
        for word in [Order::Signal(15), Order::Key(2), Order::Pause, Order::Resume, Order::Awake] {
            say(&one, word);
            assert_eq!(hear(&other), Some(word));
        }
        let reports = [Report::Waiting, Report::Paused, Report::Held, Report::Stopped(20), Report::Continued];
        for word in reports.into_iter().chain([Report::Ended(-1), Report::Failed(70)]) {
            say(&other, word);
            assert_eq!(hear(&one), Some(word));
        }
        drop(one);
        assert_eq!(hear::<Order>(&other), None);
    }

    #[test]
    fn what_is_handed_over_is_the_same_file() {
        let (one, other) = UnixStream::pair().unwrap();
        let board = Board::new().unwrap();
        hand_over(&one, &[board.open().as_fd(), one.as_fd()]).unwrap();
        let [theirs, _] = take_over(&other).unwrap();
        let theirs = Board::of(theirs);
        assert_eq!(theirs.deadline(), None);
        board.set(Some(Duration::from_secs(7)));
        assert_eq!(theirs.deadline(), Some(Duration::from_secs(7)));
        board.set(None);
        assert_eq!(theirs.deadline(), None);
        for holder in ["a long name", "short", ""] {
            board.set_holder(holder);
            assert_eq!(theirs.holder(), holder);
        }
        assert_eq!(theirs.deadline(), None);
    }
}
