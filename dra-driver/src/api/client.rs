//! The client: where the API server is, how to authenticate, and the deadline of each request.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::error::ApiError;
use super::observed::Observed;

/// A request that takes longer has failed. The API server itself gives up after a minute.
const DEADLINE: Duration = Duration::from_secs(10);
/// A server that does not complete the connection is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// The API server is not configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoApiServer {
    #[error("cannot use the kubeconfig `{}`", path.display())]
    Kubeconfig {
        path: PathBuf,
        source: Box<KubeconfigError>,
    },
    #[error("no service account of a pod, and no --kubeconfig")]
    InCluster(#[source] InClusterError),
    #[error("cannot make a client of the API server")]
    Client(#[source] Box<kube::Error>),
}

/// The API server; cheap to clone.
#[derive(Clone)]
pub(crate) struct ApiServer {
    client: Client,
    observed: Observed,
}

impl ApiServer {
    /// Takes the address and the credentials of a kubeconfig, or those of the pod; no request is made.
    ///
    /// The client reads the pod's token and certificate authority again every minute.
    ///
    /// # Errors
    /// When there is no usable configuration.
    pub(crate) async fn configured(kubeconfig: Option<&Path>) -> Result<Self, NoApiServer> {
        let config = match kubeconfig {
            Some(path) => from_file(path).await?,
            None => Config::incluster_env().map_err(NoApiServer::InCluster)?,
        };
        Self::of(config)
    }

    fn of(mut config: Config) -> Result<Self, NoApiServer> {
        config.connect_timeout = Some(CONNECT);
        config.write_timeout = Some(DEADLINE);
        // The caller waits and tries again, with the newest content.
        config.default_retry = false;
        if config.cluster_url.scheme_str() == Some("http") {
            // A proxy without TLS: the client would require certificates of the system, which the image lacks.
            config.root_cert.get_or_insert_default();
        }
        let agent = concat!("sriov-dra-driver/", env!("CARGO_PKG_VERSION"));
        let agent = (USER_AGENT, HeaderValue::from_static(agent));
        config.headers.push(agent);
        let observed = Observed::default();
        let builder = ClientBuilder::try_from(config);
        let builder = builder.map_err(|error| NoApiServer::Client(Box::new(error)))?;
        let client = builder.with_layer(&observed).build();
        Ok(Self { client, observed })
    }

    /// The client.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The answers so far, and the pause that the server requested.
    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Waits for the answer of a request, for as long as the deadline allows.
    ///
    /// # Errors
    /// With the action; it completes "to": `read the claim x/y`.
    pub(super) async fn answer<T>(
        &self,
        action: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(DEADLINE, request).await {
            Ok(answer) => answer.map_err(|error| ApiError::of(action, error)),
            Err(_elapsed) => Err(ApiError::TooSlow {
                action: action.to_owned(),
                within: DEADLINE,
            }),
        }
    }
}

async fn from_file(path: &Path) -> Result<Config, NoApiServer> {
    let wrong = |source| NoApiServer::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(path).map_err(wrong)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(wrong)
}
