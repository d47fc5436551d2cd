//! The recorded first bytes of grpc-go clients, against the gRPC server that our programs use: refused as they are, answered with the filter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation panics"
)]

use std::io;
use std::path::Path;
use std::time::Duration;

use sriov_node::kubelet::socket;
use sriov_node::kubelet::watcher::{Plugin, Registered, Watched};
use sriov_node::proto::pluginregistration::registration_server::RegistrationServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

const RECORDED: &str = include_str!("../golden/first-headers.txt");
/// An empty message on the stream of the second call, which the recordings lack.
const SECOND_MESSAGE: &[u8] = &[0, 0, 5, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0];
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const STATUS_200: u8 = 0x88;

fn recorded() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let (version, hex) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (version, (0..hex.len()).step_by(2).map(byte).collect())
    })
}

fn service() -> (RegistrationServer<Watched>, mpsc::Receiver<Registered>) {
    let (registered, outcomes) = mpsc::channel(1);
    let plugin = Plugin {
        kind: "DRAPlugin",
        name: "sriov.virtfn.dev".into(),
        endpoint: String::new(),
        versions: &["v1.DRAPlugin"],
    };
    (
        RegistrationServer::new(Watched { plugin, registered }),
        outcomes,
    )
}

/// Makes both recorded calls, and returns which streams were answered before one was reset, or all were answered.
async fn answered(path: &Path, recorded: &[u8]) -> io::Result<Vec<u8>> {
    let mut client = UnixStream::connect(path).await?;
    client.write_all(recorded).await?;
    client.write_all(SECOND_MESSAGE).await?;
    let mut answered = Vec::new();
    while answered.len() < 2 {
        let mut head = [0; 9];
        client.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        client.read_exact(&mut payload).await?;
        match head[3] {
            RESET => break,
            HEADERS if payload[0] == STATUS_200 => answered.push(head[8]),
            _ => {}
        }
    }
    Ok(answered)
}

#[tokio::test]
async fn recorded_calls_are_answered_with_the_filter_only() {
    let dir = tempfile::tempdir().unwrap();
    let (with, without) = (
        dir.path().join("with.sock"),
        dir.path().join("without.sock"),
    );
    let (filtered, mut outcomes) = service();
    let (plain, _outcomes) = service();
    let connections = socket::connections(socket::listen(&with).unwrap());
    let unfiltered = UnixListenerStream::new(socket::listen(&without).unwrap());
    tokio::spawn(
        Server::builder()
            .add_service(filtered)
            .serve_with_incoming(connections),
    );
    tokio::spawn(
        Server::builder()
            .add_service(plain)
            .serve_with_incoming(unfiltered),
    );
    let deadline = Duration::from_secs(20);
    for (version, bytes) in recorded() {
        let answers = tokio::time::timeout(deadline, answered(&with, &bytes));
        assert_eq!(answers.await.unwrap().unwrap(), [1, 3], "{version}");
        assert_eq!(outcomes.recv().await, Some(Err(String::new())), "{version}");
        let answers = tokio::time::timeout(deadline, answered(&without, &bytes));
        assert_eq!(answers.await.unwrap().unwrap(), [0; 0], "{version}");
    }
}
