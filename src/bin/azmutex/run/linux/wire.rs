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
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send,
};

/// From the front to the warden.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A signal that a process sent, and no stop.
    Signal(i32),
    /// A process stopped the front, which meant to end that turn.
    Stop(i32),
    /// A signal of the keyboard's, which the command has got, too.
    Key(i32),
    /// The front runs, and knows that the command does since that turn.
    Seen(i32),
    /// The front was continued at that turn.
    Continued(i32),
    /// Nothing of the front's is on the terminal's line.
    Cleared,
    /// How it ended is heard.
    Heard,
}

impl Order {
    /// Whether there is no need to say that one, too, if it was not said yet.
    pub(crate) fn takes_the_place_of(self, earlier: Order) -> bool {
        let is_of_a_turn = |order| matches!(order, Order::Seen(_) | Order::Continued(_) | Order::Stop(_));
        self == earlier || is_of_a_turn(self) && self.letter().0 == earlier.letter().0
    }
}

/// From the warden to the front.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Somebody else has the lock.
    Waiting,
    /// The lock is ours, and the command starts next.
    Held,
    /// The command, which is that process, has stopped or goes on: the board says which.
    Turned(i32),
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
            Order::Stop(turn) => (b'p', turn),
            Order::Key(number) => (b'k', number),
            Order::Seen(turn) => (b't', turn),
            Order::Continued(turn) => (b'c', turn),
            Order::Cleared => (b'l', 0),
            Order::Heard => (b'h', 0),
        }
    }

    fn of(letter: u8, number: i32) -> Option<Order> {
        Some(match letter {
            b's' => Order::Signal(number),
            b'p' => Order::Stop(number),
            b'k' => Order::Key(number),
            b't' => Order::Seen(number),
            b'c' => Order::Continued(number),
            b'l' => Order::Cleared,
            b'h' => Order::Heard,
            _ => return None,
        })
    }
}

impl Word for Report {
    fn letter(self) -> (u8, i32) {
        match self {
            Report::Waiting => (b'w', 0),
            Report::Held => (b'h', 0),
            Report::Turned(pid) => (b't', pid),
            Report::Ended(status) => (b'e', status),
            Report::Failed(code) => (b'f', code),
        }
    }

    fn of(letter: u8, number: i32) -> Option<Report> {
        Some(match letter {
            b'w' => Report::Waiting,
            b'h' => Report::Held,
            b't' => Report::Turned(number),
            b'e' => Report::Ended(number),
            b'f' => Report::Failed(number),
            _ => return None,
        })
    }
}

/// The other end may be gone, which is heard of by whoever reads.
pub(crate) fn say(mut to: &UnixStream, word: impl Word) {
    let _ = to.write_all(&bytes(word));
}

/// Whether it is said: not if the other side has not read for long, and there is no room. Never waits.
pub(crate) fn has_said(to: &UnixStream, word: impl Word) -> bool {
    // So little goes as a whole, or not at all.
    send(to, &bytes(word), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) != Err(Errno::AGAIN)
}

fn bytes(word: impl Word) -> [u8; 5] {
    let (letter, number) = word.letter();
    let mut bytes = [letter; 5];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
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

/// Where what is written on the board stands.
const DEADLINE_AT: u64 = 0;
const TURN_AT: u64 = 16;
const HOLDER_AT: u64 = 32;

/// Says when the command has to be dead, whether it is stopped, and before that who has the lock: written by the warden,
/// read by the front. Memory, and no message, so that what is read is never old, however long its reader stood still.
#[derive(Debug)]
pub(crate) struct Board(File);

impl Board {
    pub(crate) fn new() -> io::Result<Board> {
        let board = Board(File::from(memfd_create("azmutex", MemfdFlags::CLOEXEC)?));
        // It fails where files may not grow, and nobody could read what was never written.
        board.try_write(DEADLINE_AT, u64::MAX)?;
        board.try_write(TURN_AT, 0)?;
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
        self.write(DEADLINE_AT, nanos);
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.read(DEADLINE_AT).filter(|nanos| *nanos != u64::MAX).map(Duration::from_nanos)
    }

    /// Of the command's stops and goings on.
    pub(crate) fn set_turn(&self, turn: i32) {
        self.write(TURN_AT, u64::from(turn.cast_unsigned()));
    }

    pub(crate) fn turn(&self) -> i32 {
        self.read(TURN_AT).and_then(|turn| turn.try_into().ok()).unwrap_or_default()
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

    /// Twice, so that who reads in the middle of that knows it.
    fn try_write(&self, at: u64, number: u64) -> io::Result<()> {
        self.0.write_all_at([number.to_le_bytes(), (!number).to_le_bytes()].as_flattened(), at)
    }

    fn write(&self, at: u64, number: u64) {
        // It could at the start, and is not larger now.
        let _ = self.try_write(at, number);
    }

    fn read(&self, at: u64) -> Option<u64> {
        loop {
            let mut bytes = [0; 16];
            self.0.read_exact_at(&mut bytes, at).ok()?;
            let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
            if half(0) == !half(8) {
                return Some(half(0));
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
        let orders = [Order::Signal(15), Order::Stop(2), Order::Key(2), Order::Seen(4), Order::Continued(3)];
        for word in orders.into_iter().chain([Order::Cleared, Order::Heard]) {
            say(&one, word);
            assert_eq!(hear(&other), Some(word));
        }
        for word in [Report::Waiting, Report::Held, Report::Turned(20), Report::Ended(-1), Report::Failed(70)] {
            say(&other, word);
            assert_eq!(hear(&one), Some(word));
        }
        drop(one);
        assert_eq!(hear::<Order>(&other), None);
    }

    #[test]
    fn of_what_is_the_same_the_last_is_said() {
        assert!(Order::Signal(15).takes_the_place_of(Order::Signal(15)));
        assert!(Order::Seen(4).takes_the_place_of(Order::Seen(2)));
        for (order, earlier) in [(Order::Signal(15), Order::Signal(1)), (Order::Signal(2), Order::Key(2))] {
            assert!(!order.takes_the_place_of(earlier));
        }
        assert!(!Order::Seen(4).takes_the_place_of(Order::Continued(4)));
    }

    #[test]
    fn whoever_does_not_read_keeps_nobody_waiting() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut count = 0;
        while has_said(&one, Order::Signal(count)) {
            count += 1;
        }
        assert!(count > 10);
        for number in 0..count {
            assert_eq!(hear(&other), Some(Order::Signal(number)));
        }
        assert!(has_said(&one, Order::Heard));
        drop(other);
        assert!(has_said(&one, Order::Heard));
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
        assert_eq!((theirs.deadline(), theirs.turn()), (None, 0));
        board.set_turn(3);
        for holder in ["a long name", "short", ""] {
            board.set_holder(holder);
            assert_eq!(theirs.holder(), holder);
        }
        assert_eq!((theirs.deadline(), theirs.turn()), (None, 3));
    }
}
