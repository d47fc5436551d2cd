//! Connections of the double to plugins.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tonic::transport::{Channel, Endpoint};

/// Connects to a unix socket.
pub(super) async fn connect(socket: &Path) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?
        .connect_timeout(Duration::from_secs(10));
    Ok(endpoint.connect().await?)
}
