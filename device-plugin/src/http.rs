//! The HTTP side: `/metrics`, `/healthz`, `/readyz`; only where an address is given, and nothing can be changed through it.

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
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::metrics::page::{self, State};
use crate::metrics::{Metrics, readiness, traffic};
use crate::ownership::Owners;
use crate::pools::Pools;

/// Connections at once: a scraper has one, people some.
const MOST: usize = 32;
/// A client that sends no request goes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The machine, for the counters of VFs.
    pub host: HostRoot,
    /// The pools.
    pub pools: watch::Receiver<Arc<Pools>>,
    /// Who holds what.
    pub owners: watch::Receiver<Arc<Owners>>,
    /// What happened.
    pub metrics: Arc<Metrics>,
}

/// Listens.
///
/// # Errors
/// When the address is not this machine's or is in use.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, told: Told) {
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
        if connections.len() >= MOST {
            continue;
        }
        let told = told.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(told.clone(), request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!("a connection ended early: {error}");
            }
        });
    }
}

async fn answer(
    told: Told,
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
        "/metrics" => metrics(told).await,
        "/healthz" | "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let missing = told.missing();
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

impl Told {
    fn missing(&self) -> Vec<String> {
        let counts = self.metrics.now();
        readiness::missing(&self.pools.borrow(), &self.owners.borrow(), &counts)
    }
}

async fn metrics(told: Told) -> Response<Full<Bytes>> {
    // Thousands of VFs are many files: kubelet's calls do not wait for them.
    let page = tokio::task::spawn_blocking(move || {
        let pools = told.pools.borrow().clone();
        let owners = told.owners.borrow().clone();
        let devices = pools.pools.iter().flat_map(|pool| pool.devices.iter());
        let pfs: BTreeSet<_> = devices.filter_map(|device| device.pf).collect();
        page::page(&State {
            pools: &pools,
            owners: &owners,
            counts: &told.metrics.now(),
            traffic: &traffic::read(&told.host, &pfs),
            tasks: Handle::current().metrics().num_alive_tasks(),
            is_ready: told.missing().is_empty(),
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
