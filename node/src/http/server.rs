//! The HTTP server: `/metrics`, `/healthz` and `/readyz`; it changes nothing.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sriov_host::HostRoot;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::{PoolDevice, Pools};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::page::{self, State};
use super::traffic;
use crate::counts::{Counts, Metrics};

/// Connections at once: a scraper has one, people a few.
const MAX_CONNECTIONS: usize = 32;
/// A client that sends no request within this time is disconnected.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The state that the endpoints report.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// The machine, for the counters of VFs.
    pub host: HostRoot,
    /// The pools.
    pub pools: watch::Receiver<Arc<Pools>>,
    /// Who holds which device.
    pub owners: watch::Receiver<Arc<Owners>>,
    /// The counts of this process.
    pub metrics: Arc<Metrics>,
    /// Lists what the daemon lacks to be ready, in sentences.
    pub missing: fn(&Pools, &Owners, &Counts) -> Vec<String>,
}

/// Listens.
///
/// # Errors
/// When the address does not belong to this machine, is in use, or needs a privilege.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, state: HttpState) {
    let mut connections = JoinSet::new();
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
        if connections.len() >= MAX_CONNECTIONS {
            continue;
        }
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!("a connection ended early: {error}");
            }
        });
    }
}

async fn answer(
    state: HttpState,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return Ok(refusal);
    }
    Ok(match request.uri().path() {
        "/metrics" => metrics(state).await,
        "/healthz" | "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let missing = state.missing();
            if missing.is_empty() {
                text(StatusCode::OK, "ok\n".to_owned())
            } else {
                let lines = format!("{}\n", missing.join("\n"));
                text(StatusCode::SERVICE_UNAVAILABLE, lines)
            }
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    })
}

impl HttpState {
    fn missing(&self) -> Vec<String> {
        let counts = self.metrics.now();
        (self.missing)(&self.pools.borrow(), &self.owners.borrow(), &counts)
    }
}

async fn metrics(state: HttpState) -> Response<Full<Bytes>> {
    // Thousands of VFs are many files; the kubelet's calls must not wait for them.
    let page = tokio::task::spawn_blocking(move || {
        let pools = state.pools.borrow().clone();
        let owners = state.owners.borrow().clone();
        let devices = pools.pools.iter().flat_map(|pool| pool.devices.iter());
        let pfs: BTreeSet<_> = devices.filter_map(PoolDevice::pf_address).collect();
        page::page(&State {
            pools: &pools,
            owners: &owners,
            counts: &state.metrics.now(),
            traffic: &traffic::read(&state.host, &pfs),
            tasks: Handle::current().metrics().num_alive_tasks(),
            is_ready: state.missing().is_empty(),
        })
    })
    .await;
    match page {
        Ok(page) => {
            let mut answer = text(StatusCode::OK, page);
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
