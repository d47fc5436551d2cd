//! A double of the API server, for faults that a real one does not produce on request: conflicts, expired versions, refusals, dropped fields,
//! connections that stay open and silent. It stores slices and claims, and counts the requests.

mod http;
mod store;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use self::http::Request;
use self::store::Store;

/// The path of slices.
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
/// The UID of each node.
pub const NODE_UID: &str = "node-uid";

/// The double; it serves until the process ends.
#[derive(Clone, Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    /// Requests by method and path, without the query.
    requests: Vec<(String, String)>,
    /// The next answers to a method.
    refusals: Vec<Refusal>,
    /// Watches that were opened; those up to `silent` send nothing any more.
    watches: usize,
    silent: usize,
}

/// A refusal of one request.
#[derive(Clone, Debug)]
struct Refusal {
    method: &'static str,
    code: u16,
    retry_after: Option<u64>,
}

impl ApiServer {
    /// Serves on a free port of loopback.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let server = Self {
            address,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Ok(server)
    }

    /// Writes a kubeconfig for this server.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        Ok(fs::write(path, config.to_string())?)
    }

    /// The slices, in the order of their names.
    pub fn slices(&self) -> Vec<Value> {
        self.lock().store.slices()
    }

    /// Deletes a slice, as the kubelet does.
    pub fn delete_slice(&self, name: &str) {
        self.change(|state| state.store.delete(name));
    }

    /// Deletes all slices.
    pub fn delete_slices(&self) {
        self.change(|state| {
            for slice in state.store.slices() {
                let name = slice["metadata"]["name"].as_str().unwrap_or_default();
                state.store.delete(name);
            }
        });
    }

    /// Changes a slice, as somebody else might do.
    pub fn change_slice(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.change(|state| state.store.change(name, change));
    }

    /// Refuses the next request of a method.
    pub fn refuse(&self, method: &'static str, code: u16, retry_after: Option<u64>) {
        let refusal = Refusal {
            method,
            code,
            retry_after,
        };
        self.change(|state| state.refusals.push(refusal));
    }

    /// Drops taints from now on, as servers before Kubernetes 1.36.
    pub fn drop_taints(&self) {
        self.change(|state| state.store.drops_taints = true);
    }

    /// Ends all watches with code 410; older versions are no longer available.
    pub fn expire(&self) {
        self.change(|state| state.store.expire());
    }

    /// The watches that are open send nothing any more, and stay open.
    pub fn silence_watches(&self) {
        self.change(|state| state.silent = state.watches);
    }

    /// Number of requests of a method whose path contains a text.
    pub fn requests(&self, method: &str, path: &str) -> usize {
        let state = self.lock();
        let requests = state.requests.iter();
        let is_one = |(m, p): &&(String, String)| m == method && p.contains(path);
        requests.filter(is_one).count()
    }

    /// Number of requests that change slices.
    pub fn writes(&self) -> usize {
        let methods = ["POST", "PUT", "DELETE"].into_iter();
        methods.map(|method| self.requests(method, SLICES)).sum()
    }

    /// Adds or replaces a claim.
    pub fn put_claim(&self, claim: Value) {
        self.change(|state| state.store.put_claim(claim));
    }

    /// The last applied status of a claim.
    pub fn applied_status(&self, namespace: &str, name: &str) -> Option<Value> {
        self.lock().store.applied(namespace, name).cloned()
    }

    /// The events that were created.
    pub fn events(&self) -> Vec<Value> {
        self.lock().store.events.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the requests of one connection.
fn serve(shared: &Shared, mut stream: TcpStream) {
    while let Ok(Some(request)) = Request::read(&mut stream) {
        let refusal = {
            let mut state = shared.lock();
            // A dry run changes nothing, and is not a write.
            if request.query("dryRun").is_none() {
                let entry = (request.method.clone(), request.path.clone());
                state.requests.push(entry);
            }
            let refusals = &mut state.refusals;
            let position = refusals.iter().position(|one| one.method == request.method);
            position.map(|position| refusals.remove(position))
        };
        let served = if let Some(refusal) = refusal {
            let body = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": refusal.code, "reason": "Refused", "message": "refused by the test",
            });
            http::answer(&mut stream, refusal.code, refusal.retry_after, &body)
        } else if request
            .query("watch")
            .is_some_and(|value| matches!(value.as_str(), "true" | "1"))
        {
            watch(shared, &mut stream, &request)
        } else {
            let (code, body) = shared.lock().store.answer(&request);
            shared.changed.notify_all();
            http::answer(&mut stream, code, None, &body)
        };
        if served.is_err() {
            return;
        }
    }
}

/// Sends events from the requested version on, until the client leaves.
fn watch(shared: &Shared, stream: &mut TcpStream, request: &Request) -> std::io::Result<()> {
    let from = request.query("resourceVersion");
    let mut from: u64 = from.and_then(|from| from.parse().ok()).unwrap_or(0);
    let number = {
        let mut state = shared.lock();
        state.watches += 1;
        state.watches
    };
    http::begin_chunks(stream)?;
    loop {
        let state = shared.lock();
        if number <= state.silent {
            drop(state);
            // The connection stays open.
            std::thread::sleep(Duration::from_mins(10));
            continue;
        }
        let (events, is_expired) = state.store.since(from);
        if events.is_empty() && !is_expired {
            let tick = Duration::from_millis(200);
            let waited = shared.changed.wait_timeout(state, tick);
            drop(waited);
            // Fails as soon as the client has left.
            http::is_open(stream)?;
            continue;
        }
        from = state.store.version();
        drop(state);
        for event in events {
            http::chunk(stream, &event)?;
        }
        if is_expired {
            let gone = json!({"type": "ERROR", "object": {
                "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
                "message": "too old resource version",
            }});
            http::chunk(stream, &gone)?;
            http::end_chunks(stream)?;
            stream.flush()?;
            return Ok(());
        }
    }
}
