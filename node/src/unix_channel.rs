//! The client's side of gRPC over a unix socket, for the sockets of the kubelet.

use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::codegen::http::Uri;
use tonic::transport::{self, Channel, Endpoint};

/// Connects to a socket; the deadline holds for the connection, and for each call.
///
/// tonic accepts the path as a URI as well, but then links its connector for host names, and the C library's resolver with it.
///
/// # Errors
/// When the socket does not exist, or no process listens on it.
pub async fn connect(path: &Path, deadline: Duration) -> Result<Channel, transport::Error> {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let connecting = UnixStream::connect(path.clone());
        async { connecting.await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost")
        .connect_timeout(deadline)
        .timeout(deadline)
        .connect_with_connector(connector)
        .await
}
