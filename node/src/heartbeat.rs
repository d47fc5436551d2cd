//! The heartbeat of a daemon's core loop: a probe sends a request, and the loop answers it. A loop without probes is not woken up.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the loop; more probes at once are answered as soon as there is room.
const WAITING: usize = 16;

/// The side of the probes.
#[derive(Clone, Debug)]
pub struct Heartbeat(mpsc::Sender<oneshot::Sender<()>>);

/// The side of the core loop.
#[derive(Debug)]
pub struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

/// Both sides.
pub fn heartbeat() -> (Heartbeat, Pulse) {
    let (send, receive) = mpsc::channel(WAITING);
    (Heartbeat(send), Pulse(receive))
}

impl Heartbeat {
    /// Whether the core loop answers within this time.
    pub async fn is_alive(&self, within: Duration) -> bool {
        let beat = async {
            let (answer, answered) = oneshot::channel();
            self.0.send(answer).await.is_ok() && answered.await.is_ok()
        };
        tokio::time::timeout(within, beat).await.unwrap_or(false)
    }
}

impl Pulse {
    /// Answers one probe; the loop calls this among its other events. Never returns when no probe can come any more.
    pub async fn answer(&mut self) {
        match self.0.recv().await {
            // A probe that no longer waits needs no answer.
            Some(probe) => drop(probe.send(())),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_answers_is_alive() {
        let (heartbeat, mut pulse) = heartbeat();
        let within = Duration::from_mins(1);
        let probes = async { heartbeat.is_alive(within).await };
        let (is_alive, ()) = tokio::join!(probes, pulse.answer());
        assert!(is_alive);
        // The loop has ended.
        drop(pulse);
        assert!(!heartbeat.is_alive(within).await);
    }

    #[tokio::test]
    async fn a_loop_that_does_not_answer_is_not_alive() {
        let (heartbeat, _pulse) = heartbeat();
        assert!(!heartbeat.is_alive(Duration::from_millis(10)).await);
    }
}
