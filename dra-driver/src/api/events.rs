//! Events on claims: why a claim is refused is shown where its owner looks.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::PostParams;
use sriov_device_info::claims::ClaimRef;

use super::client::ApiServer;
use super::error::ApiError;
use crate::settings::{DriverName, NodeName};

/// Bytes of a message (`k8s.io/kubernetes`, `NoteLengthLimit`).
const LONGEST: usize = 1024;

/// An event on a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimEvent {
    pub(crate) claim: ClaimRef,
    /// One word in `UpperCamelCase`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl ApiServer {
    /// Creates a warning on a claim.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub(crate) async fn create_event(
        &self,
        driver: &DriverName,
        node: &NodeName,
        event: &ClaimEvent,
        now: Time,
    ) -> Result<(), ApiError> {
        let ClaimRef {
            namespace,
            name,
            uid,
        } = &event.claim;
        let events: Api<Event> = Api::namespaced(self.client(), namespace);
        let mut message = event.message.clone();
        while message.len() > LONGEST {
            message.pop();
        }
        let created = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}.")),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("resource.k8s.io/v1".to_owned()),
                kind: Some("ResourceClaim".to_owned()),
                namespace: Some(namespace.clone()),
                name: Some(name.clone()),
                uid: Some(uid.clone()),
                ..ObjectReference::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some(event.reason.to_owned()),
            message: Some(message),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(EventSource {
                component: Some(driver.to_string()),
                host: Some(node.to_string()),
            }),
            ..Event::default()
        };
        let action = format!("create an event on the claim `{namespace}/{name}`");
        let params = PostParams::default();
        let answer = self.answer(&action, events.create(&params, &created)).await;
        answer.map(drop)
    }
}
