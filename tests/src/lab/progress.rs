//! Tells what takes long: one line that counts seconds on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Does `work` and says on standard error that and how long it goes on.
pub fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    if !terminal {
        eprintln!("lab: {what} ...");
    }
    let (finished, is_finished) = channel::<()>();
    std::thread::scope(|scope| {
        if terminal {
            scope.spawn(move || {
                while is_finished.recv_timeout(Duration::from_millis(200))
                    == Err(RecvTimeoutError::Timeout)
                {
                    eprint!("\r\x1b[Klab: {what} ... {} s", started.elapsed().as_secs());
                    let _ = std::io::stderr().flush();
                }
            });
        }
        let done = work();
        drop(finished);
        if terminal {
            eprint!("\r\x1b[K");
        }
        eprintln!("lab: {what}: {:.1} s", started.elapsed().as_secs_f64());
        done
    })
}
