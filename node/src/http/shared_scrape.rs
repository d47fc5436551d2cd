//! One scrape at a time makes the page of metrics; scrapes that arrive meanwhile share the next page.
//!
//! A page of thousands of VFs has megabytes, and each client keeps its page until it has read it.

use std::sync::{Arc, Weak};
use std::time::Instant;

use axum::body::Bytes;
use tokio::sync::Mutex;
use tokio::task::JoinError;

/// The newest page and the one before; clients that have not read their page yet keep it in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedScrape(Arc<Mutex<Newest>>);

#[derive(Debug, Default)]
struct Newest {
    /// When the newest page was begun.
    begun: Option<Instant>,
    page: Weak<String>,
    before: Weak<String>,
}

impl Newest {
    /// The newest page, if it is not older than the scrape, or if no further page may be made while clients keep two.
    fn shared(&self, arrived: Instant) -> Option<Arc<String>> {
        let page = self.page.upgrade()?;
        let is_new = self.begun.is_some_and(|begun| begun >= arrived);
        (is_new || self.before.strong_count() > 0).then_some(page)
    }

    fn replace(&mut self, begun: Instant, page: &Arc<String>) {
        self.before = std::mem::replace(&mut self.page, Arc::downgrade(page));
        self.begun = Some(begun);
    }
}

impl SharedScrape {
    /// The page for a scrape that arrives now. A scrape whose client leaves does not end the work: the next scrape waits for it.
    ///
    /// # Errors
    /// When `make` panics.
    pub(super) async fn get(
        &self,
        make: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Bytes, JoinError> {
        let arrived = Instant::now();
        let mut newest = Arc::clone(&self.0).lock_owned().await;
        if let Some(page) = newest.shared(arrived) {
            return Ok(bytes(page));
        }
        let begun = Instant::now();
        // Thousands of VFs are many files; the kubelet's calls must not wait for them.
        let work = tokio::task::spawn_blocking(move || {
            let page = Arc::new(make());
            newest.replace(begun, &page);
            page
        });
        work.await.map(bytes)
    }
}

/// The page as a body without a copy.
fn bytes(page: Arc<String>) -> Bytes {
    struct Owner(Arc<String>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Owner(page))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A page that counts how many were made.
    fn make(made: &Arc<AtomicUsize>) -> impl FnOnce() -> String + Send + use<> {
        let made = Arc::clone(made);
        move || (made.fetch_add(1, Ordering::Relaxed) + 1).to_string()
    }

    #[tokio::test]
    async fn waiting_scrapes_share_one_page() {
        let (shared, made) = (SharedScrape::default(), Arc::default());
        // The first makes a page, the second a newer one, the others share the second.
        let (a, b, c, d) = tokio::join!(
            shared.get(make(&made)),
            shared.get(make(&made)),
            shared.get(make(&made)),
            shared.get(make(&made)),
        );
        let pages = [a, b, c, d].map(Result::unwrap);
        assert_eq!(pages, ["1", "2", "2", "2"]);
    }

    #[tokio::test]
    async fn a_later_scrape_gets_a_page_of_its_own() {
        let (shared, made) = (SharedScrape::default(), Arc::default());
        for expected in ["1", "2", "3"] {
            assert_eq!(shared.get(make(&made)).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn no_third_page_is_made_while_two_are_unread() {
        let (shared, made) = (SharedScrape::default(), Arc::default());
        let first = shared.get(make(&made)).await.unwrap();
        let second = shared.get(make(&made)).await.unwrap();
        assert_eq!(shared.get(make(&made)).await.unwrap(), "2");
        drop(first);
        assert_eq!(shared.get(make(&made)).await.unwrap(), "3");
        assert_eq!(second, "2");
    }

    #[tokio::test]
    async fn a_client_that_leaves_does_not_start_a_second_page() {
        let (shared, made) = (SharedScrape::default(), Arc::default());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let count = make(&made);
        let slow = move || {
            wait.recv().unwrap();
            count()
        };
        // Polled once: the page is begun, then its client leaves.
        tokio::select! {
            biased;
            _ = shared.get(slow) => {}
            () = tokio::task::yield_now() => {}
        }
        let (next, ()) = tokio::join!(shared.get(make(&made)), async {
            assert_eq!(made.load(Ordering::Relaxed), 0);
            go.send(()).unwrap();
        });
        assert_eq!(next.unwrap(), "2");
    }
}
