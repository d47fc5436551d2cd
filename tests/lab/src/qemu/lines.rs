//! Lines of the node's job port: marks of the init, and the output of the jobs.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

/// The line by which a job requests a power cut.
pub const POWER_CUT: &str = "::power-cut";

/// One line of the job port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The node has booted.
    Ready,
    /// A job requests a power cut.
    PowerCut,
    /// A job ended.
    Exit(String, i32),
    /// A line of a job's output.
    Text(String),
}

/// The job port.
#[derive(Debug)]
pub(crate) struct Lines {
    lines: Receiver<Line>,
    is_over: bool,
}

impl Lines {
    /// Reads the port on a separate thread, which ends with QEMU.
    pub(crate) fn new(port: impl Read + Send + 'static) -> Self {
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let mut port = BufReader::new(port);
            let mut bytes = Vec::new();
            while port
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|count| count > 0)
            {
                let text = String::from_utf8_lossy(&bytes)
                    .trim_end_matches(['\n', '\r'])
                    .to_owned();
                let _ = parse(text).into_iter().try_for_each(|line| send.send(line));
                bytes.clear();
            }
        });
        Self {
            lines,
            is_over: false,
        }
    }

    /// The next line; absent at the deadline and at the end of the output.
    pub(crate) fn next_before(&mut self, deadline: Instant) -> Option<Line> {
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.is_over = true;
                None
            }
        }
    }

    /// Whether QEMU closed the port.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }
}

/// The last line of a job may lack its end: the mark then follows on the same line.
fn parse(text: String) -> Vec<Line> {
    if text.starts_with("::ready ") {
        return vec![Line::Ready];
    }
    if text == POWER_CUT {
        return vec![Line::PowerCut];
    }
    let mark = text.rfind("::exit ").map(|at| text.split_at(at));
    let exit = mark.and_then(|(before, mark)| {
        let (name, code) = mark.strip_prefix("::exit ")?.rsplit_once(' ')?;
        Some((
            before.to_owned(),
            Line::Exit(name.to_owned(), code.parse().ok()?),
        ))
    });
    match exit {
        Some((before, exit)) if before.is_empty() => vec![exit],
        Some((before, exit)) => vec![Line::Text(before), exit],
        None => vec![Line::Text(text)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_distinguished_from_text() {
        let text = |text: &str| Line::Text(text.to_owned());
        for (line, read) in [
            ("::ready 3.1", vec![Line::Ready]),
            ("::power-cut", vec![Line::PowerCut]),
            ("a ::power-cut", vec![text("a ::power-cut")]),
            ("::exit cni 0", vec![Line::Exit("cni".into(), 0)]),
            (
                "last words::exit cni 101",
                vec![text("last words"), Line::Exit("cni".into(), 101)],
            ),
            ("::exit cni", vec![text("::exit cni")]),
            ("", vec![text("")]),
        ] {
            assert_eq!(parse(line.to_owned()), read, "{line}");
        }
    }
}
