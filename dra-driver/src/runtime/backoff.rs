//! The pause after a failed request: it grows, and differs between nodes, so that a server that returns is not called by all at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first pause and the longest one.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// The pauses of one task.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    random: RandomState,
}

impl Default for Backoff {
    fn default() -> Self {
        let [next, _] = PAUSES;
        let random = RandomState::new();
        Self { next, random }
    }
}

impl Backoff {
    /// The next pause: between half and all of its length, and not shorter than what the server requested.
    pub(super) fn pause(&mut self, requested: Option<Duration>) -> Duration {
        let [_, longest] = PAUSES;
        let half = self.next / 2;
        self.next = (self.next * 2).min(longest);
        let thousandths = u32::try_from(self.random.hash_one(self.next) % 1000).unwrap_or(0);
        let pause = half + half * thousandths / 1000;
        requested.map_or(pause, |requested| requested.max(pause))
    }

    /// The server answered.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_obey_the_server() {
        let mut backoff = Backoff::default();
        for longest in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let longest = Duration::from_millis(longest);
            let pause = backoff.pause(None);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?}");
        }
        let minute = Duration::from_mins(1);
        assert_eq!(backoff.pause(Some(minute)), minute);
        backoff.reset();
        assert!(backoff.pause(None) <= PAUSES[0]);
    }
}
