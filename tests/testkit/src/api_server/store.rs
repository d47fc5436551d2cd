//! The objects of the double: slices with versions and events, claims, events.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::http::Request;
use super::{NODE_UID, SLICES};

/// Devices of a slice, and of a slice in which a device has a taint (`resource.k8s.io/v1`).
const MOST_DEVICES: [usize; 2] = [128, 64];

/// All objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    slices: BTreeMap<String, Value>,
    version: u64,
    /// Each change with its version.
    changes: Vec<(u64, Value)>,
    /// The oldest version from which a watch may begin.
    oldest: u64,
    claims: BTreeMap<String, Value>,
    applied: BTreeMap<String, Value>,
    pub(super) events: Vec<Value>,
    /// Whether taints are not stored.
    pub(super) drops_taints: bool,
}

impl Store {
    pub(super) fn slices(&self) -> Vec<Value> {
        self.slices.values().cloned().collect()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The events after a version, and whether that version is no longer available.
    pub(super) fn since(&self, version: u64) -> (Vec<Value>, bool) {
        if version < self.oldest {
            return (Vec::new(), true);
        }
        let newer = self.changes.iter().filter(|(at, _)| *at > version);
        (newer.map(|(_, event)| event.clone()).collect(), false)
    }

    pub(super) fn expire(&mut self) {
        self.version += 1;
        self.oldest = self.version;
    }

    pub(super) fn delete(&mut self, name: &str) {
        if let Some(mut slice) = self.slices.remove(name) {
            self.version += 1;
            slice["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.note("DELETED", &slice);
        }
    }

    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        if let Some(mut slice) = self.slices.get(name).cloned() {
            change(&mut slice);
            self.store("MODIFIED", name, slice);
        }
    }

    pub(super) fn put_claim(&mut self, claim: Value) {
        let text = |name: &str| {
            claim["metadata"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let key = format!("{}/{}", text("namespace"), text("name"));
        self.claims.insert(key, claim);
    }

    pub(super) fn applied(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.applied.get(&format!("{namespace}/{name}"))
    }

    /// Code and body for a request.
    pub(super) fn answer(&mut self, request: &Request) -> (u16, Value) {
        let path = request.path.as_str();
        let name = path.strip_prefix(SLICES);
        let name = name.map(|rest| rest.trim_start_matches('/').to_owned());
        match (request.method.as_str(), name) {
            ("GET", Some(_)) => (200, self.list()),
            ("POST", Some(_)) => self.create(request),
            ("PUT", Some(name)) => self.replace(&name, &request.body),
            ("DELETE", Some(name)) => self.remove(&name, &request.body),
            ("GET", None) if path.starts_with("/api/v1/nodes/") => (200, node(path)),
            ("POST", None) if path.ends_with("/events") => {
                self.events.push(request.body.clone());
                (201, request.body.clone())
            }
            (method, None) => self.claim(method, path, &request.body),
            (_, Some(_)) => failure(405, "not a method of the double"),
        }
    }

    fn claim(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let words: Vec<&str> = path.split('/').collect();
        let [.., namespace, "resourceclaims", name] = words.as_slice() else {
            let [.., namespace, "resourceclaims", name, "status"] = words.as_slice() else {
                return failure(404, "not a path of the double");
            };
            let key = format!("{namespace}/{name}");
            let Some(claim) = self.claims.get(&key) else {
                return failure(404, "no such claim");
            };
            if method != "PATCH" {
                return failure(405, "not a method of the double");
            }
            let claim = claim.clone();
            self.applied.insert(key, body.clone());
            return (200, claim);
        };
        let found = self.claims.get(&format!("{namespace}/{name}"));
        found.map_or_else(
            || failure(404, "no such claim"),
            |claim| (200, claim.clone()),
        )
    }

    fn list(&self) -> Value {
        json!({
            "kind": "ResourceSliceList",
            "apiVersion": "resource.k8s.io/v1",
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": self.slices(),
        })
    }

    fn create(&mut self, request: &Request) -> (u16, Value) {
        let mut slice = request.body.clone();
        let prefix = slice["metadata"]["generateName"]
            .as_str()
            .unwrap_or_default();
        let number = self.version + 1;
        let name = format!("{prefix}{number:05}");
        slice["metadata"]["name"] = json!(name);
        slice["metadata"]["uid"] = json!(format!("uid-{number}"));
        if request.query("dryRun").is_some() {
            return (201, self.stored(slice));
        }
        if let Some(refused) = refused(&slice) {
            return refused;
        }
        (201, self.store("ADDED", &name, slice))
    }

    fn replace(&mut self, name: &str, slice: &Value) -> (u16, Value) {
        let Some(stored) = self.slices.get(name) else {
            return failure(404, "no such slice");
        };
        if stored["metadata"]["resourceVersion"] != slice["metadata"]["resourceVersion"] {
            return failure(409, "the object has been modified");
        }
        if let Some(refused) = refused(slice) {
            return refused;
        }
        (200, self.store("MODIFIED", name, slice.clone()))
    }

    fn remove(&mut self, name: &str, body: &Value) -> (u16, Value) {
        let Some(stored) = self.slices.get(name) else {
            return failure(404, "no such slice");
        };
        let required = &body["preconditions"]["resourceVersion"];
        if !required.is_null() && *required != stored["metadata"]["resourceVersion"] {
            return failure(409, "the precondition failed");
        }
        self.delete(name);
        let success = json!({"kind": "Status", "apiVersion": "v1", "status": "Success"});
        (200, success)
    }

    fn store(&mut self, kind: &str, name: &str, slice: Value) -> Value {
        self.version += 1;
        let mut slice = self.stored(slice);
        slice["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.slices.insert(name.to_owned(), slice.clone());
        self.note(kind, &slice);
        slice
    }

    /// The slice with what the server drops and adds.
    fn stored(&self, mut slice: Value) -> Value {
        for device in slice["spec"]["devices"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            let Some(device) = device.as_object_mut() else {
                continue;
            };
            if self.drops_taints {
                device.remove("taints");
            }
            let taints = device.get_mut("taints").and_then(Value::as_array_mut);
            for taint in taints.into_iter().flatten() {
                taint["timeAdded"] = json!("2026-11-29T10:00:00Z");
            }
        }
        slice
    }

    fn note(&mut self, kind: &str, slice: &Value) {
        let event = json!({"type": kind, "object": slice});
        self.changes.push((self.version, event));
    }
}

/// The refusal of a slice that is too large.
fn refused(slice: &Value) -> Option<(u16, Value)> {
    let devices = slice["spec"]["devices"].as_array()?;
    let has_taint = devices.iter().any(|device| !device["taints"].is_null());
    let [most, most_tainted] = MOST_DEVICES;
    let most = if has_taint { most_tainted } else { most };
    (devices.len() > most).then(|| failure(422, "too many devices"))
}

fn node(path: &str) -> Value {
    let name = path.rsplit('/').next();
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "uid": NODE_UID}})
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": "", "message": message,
    });
    (code, body)
}
