//! The API server as the source of claims that are prepared.

use std::error::Error;

use k8s_openapi::api::resource::v1::ResourceClaim;

use crate::api::client::ApiServer;
use crate::prepare::ClaimSource;

impl ClaimSource for ApiServer {
    async fn claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ResourceClaim>, Box<dyn Error + Send + Sync>> {
        // The method of the type itself.
        Ok(Self::claim(self, namespace, name).await?)
    }
}
