//! Reads claims. The gRPC requests of the kubelet name a claim and carry no allocation.

use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;

use super::client::ApiServer;
use super::error::ApiError;

impl ApiServer {
    /// The claim with this name; the caller compares its UID, as the name may be used again. Absent when there is none.
    ///
    /// # Errors
    /// When the server does not answer or refuses; the same call may succeed later.
    pub(crate) async fn claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ResourceClaim>, ApiError> {
        let claims: Api<ResourceClaim> = Api::namespaced(self.client(), namespace);
        let action = format!("read the claim `{namespace}/{name}`");
        self.answer(&action, claims.get_opt(name)).await
    }
}
