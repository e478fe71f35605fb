//! A file descriptor that we were started with, by its number.

use std::fs::File;
use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

/// What is open for writing under that number, and has a reader if it is a pipe. Only before this process opens something
/// itself, which could have the number.
pub(crate) fn inherited(number: u32) -> io::Result<File> {
    let file = found(number)?;
    let mode = fcntl_getfl(&file)? & OFlags::RWMODE;
    if mode != OFlags::WRONLY && mode != OFlags::RDWR {
        return Err(Errno::BADF.into());
    }
    if is_unread(&file) {
        return Err(Errno::PIPE.into());
    }
    Ok(file)
}

/// Whether it is a pipe, a socket or a terminal whose other end is closed.
pub(crate) fn is_unread(file: &impl std::os::fd::AsFd) -> bool {
    let mut polled = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

#[cfg(target_os = "linux")]
fn found(number: u32) -> io::Result<File> {
    use std::os::fd::AsRawFd;

    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
    let get = || {
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        if own.as_raw_fd() == number {
            // Then it was free.
            return Err(Errno::BADF);
        }
        pidfd_getfd(own, number, PidfdGetfdFlags::empty())
    };
    match get() {
        Ok(file) => Ok(file.into()),
        Err(Errno::BADF) => Err(Errno::BADF.into()),
        // An old kernel, or a container that forbids it.
        Err(_) => opened(number.unsigned_abs()),
    }
}

#[cfg(not(target_os = "linux"))]
fn found(number: u32) -> io::Result<File> {
    opened(number)
}

/// Where that opens it anew, as on Linux, a file's end is the place that overwrites nothing; and a pipe without a reader is
/// not waited for.
fn opened(number: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    File::options().append(true).custom_flags(flags).open(format!("/dev/fd/{number}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use azmutex::crossbeam_channel::after;

    use super::*;

    #[test]
    fn what_is_opened_anew_is_written_at_its_end_and_not_waited_for() {
        let path = std::env::temp_dir().join(format!("azmutex-descriptor-{}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"before\n").unwrap();
        let number = u32::try_from(file.as_raw_fd()).unwrap();
        opened(number).unwrap().write_all(b"after\n").unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before\nafter\n");
    }

    #[test]
    fn nobody_reads_a_pipe_whose_other_end_is_closed() {
        let (reader, writer) = std::io::pipe().unwrap();
        let number = u32::try_from(writer.as_raw_fd()).unwrap();
        assert!(!is_unread(&writer) && inherited(number).is_ok());
        assert!(inherited(u32::try_from(reader.as_raw_fd()).unwrap()).is_err(), "it is for reading");
        drop(reader);
        // What another test starts has it, too, for a moment.
        for _ in 0..2000 {
            if is_unread(&writer) {
                break;
            }
            let _ = after(Duration::from_millis(10)).recv();
        }
        assert!(is_unread(&writer) && inherited(number).is_err());
    }
}
