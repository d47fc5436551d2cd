//! Runs a program that is not ours: with a deadline, a limit on its output, and nothing that its descendants could keep open.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::streams::StandardError;

/// Most bytes of a result.
pub(super) const OUTPUT: usize = 1 << 20;
/// Most bytes of messages that are passed on to standard error.
const MESSAGES: usize = 64 << 10;
/// Shortest time between two looks at a program that may have ended without closing its output.
const FIRST_STEP: Duration = Duration::from_millis(1);
/// Longest time between two looks at a program that may have ended without closing its output.
const STEP: Duration = Duration::from_millis(20);
/// Time that the kernel gets to end a killed program.
const KILLED: Duration = Duration::from_secs(1);

/// What a program left.
#[derive(Debug)]
pub(super) struct Output {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// Its standard output.
    pub(super) stdout: Vec<u8>,
}

/// Why a program has no output.
#[derive(Debug)]
pub(super) enum RunError {
    /// A system call failed.
    Io(io::Error),
    /// It did not end in time, and was killed.
    Deadline,
    /// It wrote more than [`OUTPUT`] bytes, and was killed.
    TooLong,
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A program that runs.
pub(super) struct Running<'a> {
    child: Child,
    pipes: Pipes<'a>,
}

impl fmt::Debug for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.child.id())
    }
}

/// Starts a program without its input, which [`Running::give_input`] and [`Running::finish`] write.
///
/// # Errors
/// The program and its process group are killed then.
pub(super) fn start<'a>(command: &mut Command, input: &'a [u8]) -> io::Result<Running<'a>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A descendant that inherited our standard error would keep the runtime waiting.
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    match Pipes::of(&mut child, input) {
        Ok(pipes) => Ok(Running { child, pipes }),
        Err(error) => {
            end(&mut child);
            Err(error)
        }
    }
}

impl Running<'_> {
    /// Gives the program its input, as much as it takes without a wait.
    pub(super) fn give_input(&mut self) {
        self.pipes.write_input();
    }

    /// Gives the program the rest of its input, and waits until it ends.
    ///
    /// Descendants may live on; what they write later is lost.
    ///
    /// # Errors
    /// The program and its process group are killed then.
    pub(super) fn finish(mut self, deadline: Instant) -> Result<Output, RunError> {
        let done = exchange(&mut self.child, self.pipes, deadline);
        if done.is_err() {
            end(&mut self.child);
        }
        done
    }
}

/// Our ends of a program's standard streams; an end that is no longer needed is closed.
struct Pipes<'a> {
    stdin: Option<ChildStdin>,
    input: &'a [u8],
    stdout: Option<ChildStdout>,
    output: Vec<u8>,
    stderr: Option<ChildStderr>,
    messages: usize,
    forward: StandardError,
}

fn exchange(
    child: &mut Child,
    mut pipes: Pipes<'_>,
    deadline: Instant,
) -> Result<Output, RunError> {
    let mut step = FIRST_STEP;
    loop {
        let ended = child.try_wait()?;
        let was_open = pipes.stdout.is_some();
        // What an ended program wrote is in the pipe already.
        pipes.transfer()?;
        if was_open && pipes.stdout.is_none() {
            // It is about to end.
            step = FIRST_STEP;
        }
        if pipes.output.len() > OUTPUT {
            return Err(RunError::TooLong);
        }
        if let Some(status) = ended {
            return Ok(Output {
                status,
                stdout: pipes.output,
            });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(RunError::Deadline);
        }
        pipes.wait(step.min(left))?;
        step = (step * 2).min(STEP);
    }
}

impl<'a> Pipes<'a> {
    fn of(child: &mut Child, input: &'a [u8]) -> io::Result<Self> {
        let pipes = Self {
            stdin: child.stdin.take(),
            input,
            stdout: child.stdout.take(),
            output: Vec::new(),
            stderr: child.stderr.take(),
            messages: 0,
            forward: StandardError::default(),
        };
        for stream in pipes.streams() {
            fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(pipes)
    }

    fn streams(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let stdin = self.stdin.as_ref().map(AsFd::as_fd);
        let stdout = self.stdout.as_ref().map(AsFd::as_fd);
        let stderr = self.stderr.as_ref().map(AsFd::as_fd);
        [stdin, stdout, stderr].into_iter().flatten()
    }

    /// Writes and reads what is possible without waiting.
    fn transfer(&mut self) -> io::Result<()> {
        self.write_input();
        let mut buffer = vec![0; 16 << 10];
        while self.output.len() <= OUTPUT
            && let Some(count) = receive(&mut self.stdout, &mut buffer)?
        {
            self.output
                .extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        // A program that writes without end is stopped by the deadline, not here.
        for _ in 0..4 {
            let Some(count) = receive(&mut self.stderr, &mut buffer)? else {
                break;
            };
            let passed = count.min(MESSAGES - self.messages);
            self.forward.write(buffer.get(..passed).unwrap_or_default());
            self.messages += passed;
        }
        Ok(())
    }

    /// A program may leave part of its input unread.
    fn write_input(&mut self) {
        while let Some(stdin) = &mut self.stdin {
            match stdin.write(self.input) {
                Ok(count) if count < self.input.len() => {
                    self.input = self.input.get(count..).unwrap_or_default();
                }
                Err(error) if is_later(&error) => return,
                Ok(_) | Err(_) => self.stdin = None,
            }
        }
    }

    /// Waits until a stream can be read or written.
    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let events = PollFlags::POLLIN | PollFlags::POLLOUT;
        let mut streams: Vec<PollFd<'_>> = self
            .streams()
            .map(|stream| PollFd::new(stream, events))
            .collect();
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        match poll(&mut streams, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Reads what is there; `None` if there is nothing, and at the end of the stream, which is closed then.
fn receive(stream: &mut Option<impl Read>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let Some(open) = stream else { return Ok(None) };
    match open.read(buffer) {
        Ok(0) => {
            *stream = None;
            Ok(None)
        }
        Ok(count) => Ok(Some(count)),
        Err(error) if is_later(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Kills a program with its process group; one that the kernel cannot end now is left to it.
fn end(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let deadline = Instant::now() + KILLED;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &[u8], limit: Duration) -> Result<Output, RunError> {
        let mut command = Command::new("/bin/sh");
        let running = start(command.args(["-c", script]), input)?;
        running.finish(Instant::now() + limit)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn much_is_read_while_much_is_written() {
        let input = vec![b'x'; 500_000];
        let script = "head -c 300000 /dev/zero; cat; echo message >&2; exit 3";
        let done = shell(script, &input, LONG).unwrap();
        assert_eq!(done.status.code(), Some(3));
        assert_eq!(done.stdout.len(), 800_000);
    }

    #[test]
    fn unread_input_is_no_error() {
        let done = shell("exec <&-; echo x", &vec![0; 1 << 20], LONG).unwrap();
        assert_eq!(done.stdout, b"x\n");
    }

    #[test]
    fn program_that_does_not_end_is_killed_with_its_children() {
        let started = Instant::now();
        for script in ["sleep 100 & sleep 100", "exec >&- 2>&-; sleep 100"] {
            let done = shell(script, b"", Duration::from_millis(100));
            assert!(matches!(done, Err(RunError::Deadline)));
        }
        assert!(started.elapsed() < LONG);
    }

    #[test]
    fn descendant_cannot_keep_the_call_open() {
        let started = Instant::now();
        let done = shell("sleep 30 & echo x", b"", LONG).unwrap();
        assert_eq!(done.stdout, b"x\n");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn endless_output_is_refused() {
        let done = shell("cat /dev/zero", b"", LONG);
        assert!(matches!(done, Err(RunError::TooLong)));
    }
}
