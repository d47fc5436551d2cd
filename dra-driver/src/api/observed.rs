//! Observes the answers of the API server: counts them by code, and notes when the server wants to be left alone.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::header::RETRY_AFTER;
use hyper::{Method, Request, Response};
use tower::{Layer, Service};

/// A server that requests a longer pause is tried again after this one.
const LONGEST: Duration = Duration::from_mins(5);

/// The observations; shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    /// Answers by method and code; 0 when there was none.
    answers: BTreeMap<(MethodLabel, u16), u64>,
    /// The end of the pause that the server requested.
    not_before: Option<Instant>,
}

/// The method of a request as a label.
type MethodLabel = &'static str;

impl Observed {
    /// Number of answers by method and code; code 0 counts requests without an answer.
    pub(crate) fn answers(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.lock().answers.clone()
    }

    /// The rest of the pause that the server requested by `Retry-After`.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let until = self.lock().not_before?;
        let rest = until.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    fn note<B, E>(&self, method: MethodLabel, answer: &Result<Response<B>, E>) {
        let mut notes = self.lock();
        let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        *notes.answers.entry((method, code)).or_default() += 1;
        let Ok(answer) = answer else { return };
        if matches!(code, 429 | 503) {
            let seconds = answer.headers().get(RETRY_AFTER);
            let seconds = seconds.and_then(|text| text.to_str().ok()?.parse().ok());
            let pause = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST));
            notes.not_before = pause.map(|pause| Instant::now() + pause);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Observed {
    type Service = Observing<S>;

    fn layer(&self, inner: S) -> Observing<S> {
        let observed = self.clone();
        Observing { inner, observed }
    }
}

/// A service whose answers are observed.
#[derive(Clone, Debug)]
pub(crate) struct Observing<S> {
    inner: S,
    observed: Observed,
}

impl<S, Q, B> Service<Request<Q>> for Observing<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let method = label(request.method());
        let observed = self.observed.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            observed.note(method, &answer);
            answer
        })
    }
}

fn label(method: &Method) -> MethodLabel {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, retry_after: Option<&str>) -> Response<()> {
        let mut answer = Response::builder().status(code);
        if let Some(text) = retry_after {
            answer = answer.header(RETRY_AFTER, text);
        }
        answer.body(()).unwrap()
    }

    #[test]
    fn answers_are_counted_by_method_and_code() {
        let observed = Observed::default();
        observed.note("PUT", &Ok::<_, ()>(answer(200, None)));
        observed.note("PUT", &Ok::<_, ()>(answer(200, None)));
        observed.note("GET", &Err::<Response<()>, ()>(()));
        let expected = BTreeMap::from([(("GET", 0), 1), (("PUT", 200), 2)]);
        assert_eq!(observed.answers(), expected);
    }

    #[test]
    fn requested_pause_is_bounded_and_needs_its_code() {
        let observed = Observed::default();
        observed.note("GET", &Ok::<_, ()>(answer(200, Some("7"))));
        assert_eq!(observed.pause(), None);
        observed.note("GET", &Ok::<_, ()>(answer(429, Some("soon"))));
        assert_eq!(observed.pause(), None);
        observed.note("GET", &Ok::<_, ()>(answer(429, Some("100000"))));
        let pause = observed.pause().unwrap();
        assert!(pause <= LONGEST && pause > LONGEST / 2, "{pause:?}");
    }
}
