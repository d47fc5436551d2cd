//! The HTTP server: `/metrics`, `/healthz` and `/readyz`; it changes nothing.
//!
//! Clients may stall: each connection has a deadline and carries one request, and the oldest makes room for a new one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::State as Of;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tower::ServiceBuilder;

use super::shared_scrape::SharedScrape;
use crate::heartbeat::Heartbeat;

/// Connections at once: a scraper has one, the kubelet two, people a few.
const MAX_CONNECTIONS: usize = 128;
/// A connection ends after this time, whatever its client does.
const CONNECTION: Duration = Duration::from_secs(15);
/// A page that takes longer is not waited for.
const SCRAPE: Duration = Duration::from_secs(10);
/// The core loop answers within this time; the kubelet's probes wait 1 s by default.
const BEAT: Duration = Duration::from_millis(900);
/// The pause between two attempts to listen grows up to the second value.
const LISTEN_AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// The report of a front end.
pub trait Report: Send + Sync + 'static {
    /// The page of metrics; may read thousands of files.
    fn metrics(&self) -> String;

    /// Lists in sentences what the daemon lacks to be ready; empty when it is ready.
    fn missing(&self) -> Vec<String>;
}

/// The state that the endpoints share.
#[derive(Clone)]
pub struct HttpState {
    /// The report of the front end.
    pub report: Arc<dyn Report>,
    /// The core loop.
    pub heartbeat: Heartbeat,
}

/// Serves until it is dropped. While the address is in use or missing, it tries again: the devices are more important than their metrics.
pub async fn run(address: SocketAddr, state: HttpState) {
    let listener = listen(address).await;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!("metrics are served on http://{address}/metrics");
    serve(listener, &router(state)).await;
}

async fn listen(address: SocketAddr) -> TcpListener {
    let [mut pause, longest] = LISTEN_AGAIN;
    let mut logged = None;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => error,
        };
        if logged != Some(error.kind()) {
            tracing::error!(
                %address, %error,
                "no metrics and probes until the plugin can listen (a port below 1024 needs CAP_NET_BIND_SERVICE)"
            );
            logged = Some(error.kind());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

fn router(state: HttpState) -> Router {
    let too_late =
        |_too_slow| async { (StatusCode::SERVICE_UNAVAILABLE, "sysfs does not answer\n") };
    let in_time = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(too_late))
        .timeout(SCRAPE);
    let page = SharedScrape::default();
    let metrics = get(move |Of(state): Of<HttpState>| metrics(state, page.clone()));
    Router::new()
        .route("/metrics", metrics.layer(in_time))
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .fallback((
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        ))
        .with_state(state)
}

async fn serve(listener: TcpListener, router: &Router) {
    let (mut connections, mut ages) = (JoinSet::new(), VecDeque::new());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        make_room(&mut ages);
        ages.push_back(connections.spawn(connection(stream, router.clone())));
    }
}

/// Ends the oldest connection when there are too many. The connections are ordered by age.
fn make_room(ages: &mut VecDeque<AbortHandle>) {
    ages.retain(|connection| !connection.is_finished());
    if ages.len() >= MAX_CONNECTIONS
        && let Some(oldest) = ages.pop_front()
    {
        oldest.abort();
    }
}

/// One request and its answer.
async fn connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a connection ended early: {error}"),
        Err(_elapsed) => tracing::debug!("a connection took too long"),
    }
}

async fn alive(Of(state): Of<HttpState>) -> Response {
    if state.heartbeat.is_alive(BEAT).await {
        return "ok\n".into_response();
    }
    let text = "the core loop does not answer\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn ready(Of(state): Of<HttpState>) -> Response {
    let missing = state.report.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let lines = format!("{}\n", missing.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn metrics(state: HttpState, page: SharedScrape) -> Response {
    match page.get(move || state.report.metrics()).await {
        Ok(page) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(CONTENT_TYPE, kind)], page).into_response()
        }
        Err(error) => {
            let text = format!("{error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}
