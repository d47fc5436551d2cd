//! The slices of this node and driver: listed, watched and written.

mod convert;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, WatchEvent, WatchParams};
use tokio_stream::{Stream, StreamExt};

use self::convert::{existing, probe, slice};
use super::client::ApiServer;
use super::error::ApiError;
use crate::publish::plan::{Existing, ObjectId, Write};
use crate::settings::{DriverName, NodeName};

/// The server ends a watch after this time; the next one continues where it ended.
const WATCH: u32 = 290;

/// Whose slices they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publisher {
    pub(crate) driver: DriverName,
    /// Name of the node, and of its pool.
    pub(crate) node: NodeName,
    /// UID of the node, which owns the slices: they are removed with it.
    pub(crate) node_uid: String,
}

/// All slices at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) slices: Vec<Existing>,
    /// The moment, to continue with a watch.
    pub(crate) version: String,
}

/// What a watch reports.
#[derive(Clone, Debug)]
pub(crate) enum SliceEvent {
    /// A slice was created or changed.
    Changed(Existing),
    /// A slice was deleted.
    Deleted(ObjectId),
    /// Nothing, up to this moment.
    Bookmark(String),
}

impl ApiServer {
    /// The UID of the node.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub(crate) async fn node_uid(&self, node: &NodeName) -> Result<String, ApiError> {
        let nodes: Api<Node> = Api::all(self.client());
        let action = format!("read the node `{node}`");
        let found = self
            .answer(&action, nodes.get_metadata(node.as_str()))
            .await?;
        Ok(found.metadata.uid.unwrap_or_default())
    }

    /// Lists the slices.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub(crate) async fn list_slices(&self, publisher: &Publisher) -> Result<Listed, ApiError> {
        let params = ListParams::default().fields(&selector(publisher));
        let action = "list the ResourceSlices of this node";
        let found = self.answer(action, self.slices().list(&params)).await?;
        let slices = found.items.into_iter();
        Ok(Listed {
            slices: slices.map(|slice| existing(publisher, slice)).collect(),
            version: found.metadata.resource_version.unwrap_or_default(),
        })
    }

    /// Watches the slices from a moment on; the stream ends after some minutes.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub(crate) async fn watch_slices(
        &self,
        publisher: &Publisher,
        version: &str,
    ) -> Result<impl Stream<Item = Result<SliceEvent, ApiError>> + use<>, ApiError> {
        const ACTION: &str = "watch the ResourceSlices of this node";
        let params = WatchParams::default().fields(&selector(publisher));
        let params = params.timeout(WATCH);
        let slices = self.slices();
        let events = self.answer(ACTION, slices.watch(&params, version)).await?;
        let publisher = publisher.clone();
        Ok(events.map(move |event| match event {
            Ok(WatchEvent::Added(found) | WatchEvent::Modified(found)) => {
                Ok(SliceEvent::Changed(existing(&publisher, found)))
            }
            Ok(WatchEvent::Deleted(found)) => {
                Ok(SliceEvent::Deleted(existing(&publisher, found).id))
            }
            Ok(WatchEvent::Bookmark(mark)) => {
                Ok(SliceEvent::Bookmark(mark.metadata.resource_version))
            }
            Ok(WatchEvent::Error(status)) => Err(ApiError::of(ACTION, kube::Error::Api(status))),
            Err(error) => Err(ApiError::of(ACTION, error)),
        }))
    }

    /// Executes a write; returns the slice as the server stored it, which may lack fields that an older server drops.
    ///
    /// # Errors
    /// When the server does not answer or refuses: 409 and 404 when somebody else wrote in between.
    pub(crate) async fn write_slice(
        &self,
        publisher: &Publisher,
        write: &Write,
    ) -> Result<Option<Existing>, ApiError> {
        let (slices, params) = (self.slices(), PostParams::default());
        let stored = match write {
            Write::Create(written) => {
                let action = format!("create the ResourceSlice `{}`", written.key);
                let new = slice(publisher, None, written);
                self.answer(&action, slices.create(&params, &new)).await?
            }
            Write::Update(id, written) => {
                let action = format!("update the ResourceSlice `{}`", id.name);
                let new = slice(publisher, Some(id), written);
                let update = slices.replace(&id.name, &params, &new);
                self.answer(&action, update).await?
            }
            Write::Delete(id) => {
                let action = format!("delete the ResourceSlice `{}`", id.name);
                let params = DeleteParams::default().preconditions(Preconditions {
                    resource_version: Some(id.version.clone()),
                    uid: Some(id.uid.clone()),
                });
                self.answer(&action, slices.delete(&id.name, &params))
                    .await?;
                return Ok(None);
            }
        };
        Ok(Some(existing(publisher, stored)))
    }

    /// Whether the server stores taints: servers before Kubernetes 1.36 drop them. Nothing is stored by this request.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub(crate) async fn keeps_taints(&self, publisher: &Publisher) -> Result<bool, ApiError> {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let (slices, probe) = (self.slices(), probe(publisher));
        let action = "test whether ResourceSlices can have taints";
        let stored = self.answer(action, slices.create(&params, &probe)).await?;
        Ok(convert::has_taint(&stored))
    }

    fn slices(&self) -> Api<ResourceSlice> {
        Api::all(self.client())
    }
}

fn selector(publisher: &Publisher) -> String {
    let Publisher { driver, node, .. } = publisher;
    format!("spec.nodeName={node},spec.driver={driver}")
}
