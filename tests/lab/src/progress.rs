//! Reports the progress of slow steps: on a terminal one line that counts seconds, elsewhere a line each minute.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Runs `work`, and reports its name and its time on standard error.
pub fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    if !terminal {
        eprintln!("lab: {what} ...");
    }
    let pause = Duration::from_millis(if terminal { 200 } else { 60_000 });
    let (finished, is_finished) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_finished.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let seconds = started.elapsed().as_secs();
                if terminal {
                    eprint!("\r\x1b[Klab: {what} ... {seconds} s");
                    let _ = std::io::stderr().flush();
                } else {
                    eprintln!("lab: {what} ... {seconds} s");
                }
            }
        });
        let done = work();
        drop(finished);
        if terminal {
            eprint!("\r\x1b[K");
        }
        eprintln!("lab: {what}: {:.1} s", started.elapsed().as_secs_f64());
        done
    })
}
