//! The standard streams, which may be closed, full or non-blocking: nothing here panics, and nothing waits without end for a reader.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

/// Bytes that a configuration with its last result seldom exceeds.
const USUAL: usize = 8 * 1024;
/// Most bytes of standard input; the longest sensible input is the list of attachments of a GC.
const MOST: usize = 8 << 20;
/// Bytes that a pipe takes at once when it is writable (`PIPE_BUF`).
const PIPE: usize = 4096;
/// Time in milliseconds that the reader of standard output gets.
const RESULT: u16 = 10_000;
/// Time in milliseconds that the reader of standard error gets.
const LINE: u16 = 100;

/// Reads standard input to its end.
///
/// # Errors
/// When it cannot be read, or is longer than 8 MiB.
pub(crate) fn read_standard_input() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    // Room for the whole input: an empty buffer would grow by small reads.
    let mut input = Vec::with_capacity(USUAL);
    let mut buffer = vec![0; USUAL];
    loop {
        match read(stdin.as_fd(), &mut buffer) {
            Ok(0) => return Ok(input),
            Ok(count) => input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                await_event(stdin.as_fd(), PollFlags::POLLIN, PollTimeout::NONE)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        if input.len() > MOST {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {MOST} bytes"),
            ));
        }
    }
}

/// Writes to standard output.
///
/// # Errors
/// When it cannot be written, or nobody reads it for ten seconds.
pub(crate) fn write_standard_output(text: &[u8]) -> io::Result<()> {
    write_all(io::stdout().as_fd(), text, RESULT)
}

/// Standard error; what it does not take is lost, and nothing is written after that.
#[derive(Debug, Default)]
pub(crate) struct StandardError {
    is_stuck: bool,
}

impl StandardError {
    /// Writes a text if the stream takes it.
    pub(crate) fn write(&mut self, text: &[u8]) {
        if !self.is_stuck {
            self.is_stuck = write_all(io::stderr().as_fd(), text, LINE).is_err();
        }
    }
}

/// Writes piece by piece, each when the stream takes it without waiting.
fn write_all(stream: BorrowedFd<'_>, text: &[u8], timeout: u16) -> io::Result<()> {
    for piece in text.chunks(PIPE) {
        let mut rest = piece;
        while !rest.is_empty() {
            await_event(stream, PollFlags::POLLOUT, timeout.into())?;
            match write(stream, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

fn await_event(stream: BorrowedFd<'_>, event: PollFlags, timeout: PollTimeout) -> io::Result<()> {
    match poll(&mut [PollFd::new(stream, event)], timeout) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
