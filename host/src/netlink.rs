//! Speaks rtnetlink in one namespace: reads links and VF settings, executes single, named changes.
//!
//! This module and those below it are the only ones that name types of `rtnetlink` and `netlink-packet-route`.
//! Each request has a deadline, because a reply that the decoder rejects never reaches its request.
//! No function asks for the VF list but [`Netlink::vf_settings`]: the kernel cannot express more than some 221 VFs.

mod addresses;
mod announce;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod links;
mod socket;
mod vfs;

use std::num::NonZeroI32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::AsyncSocket;
use nix::errno::Errno;
use tokio::task::JoinHandle;

pub use self::addresses::Route;
pub use self::announce::Announcer;
pub use self::error::{NetlinkError, NetlinkErrorKind};
pub use self::links::{Link, LinkChange};
use self::socket::DatagramSocket;
use crate::netns::{Netns, NetnsError};

/// Tries of a request that the driver has no time for: i40e and iavf answer so while they reset, for a second or two.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// A netlink socket in one network namespace, for a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    connection: JoinHandle<()>,
    deadline: Duration,
    requests: AtomicUsize,
}

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel gave no socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] std::io::Error),
    /// The namespace could not be entered for the moment of opening it there.
    #[error("cannot open a netlink socket in another namespace")]
    Namespace(#[source] NetnsError),
}

impl Netlink {
    /// Opens a socket in the namespace of this process; each request ends after `deadline`.
    ///
    /// # Errors
    /// [`OpenError::Socket`], also when no tokio runtime with I/O is running.
    pub fn host(deadline: Duration) -> Result<Self, OpenError> {
        Ok(Self::over(
            DatagramSocket::open().map_err(OpenError::Socket)?,
            deadline,
        ))
    }

    /// Opens a socket in the namespace `netns`, where it stays.
    pub fn in_netns(netns: &Netns, deadline: Duration) -> Result<Self, OpenError> {
        Self::in_netns_with(netns, deadline, || ()).map(|(netlink, ())| netlink)
    }

    /// Opens a socket in the namespace `netns`, where it stays, and does `there` in it on the same occasion.
    pub fn in_netns_with<T: Send>(
        netns: &Netns,
        deadline: Duration,
        there: impl FnOnce() -> T + Send,
    ) -> Result<(Self, T), OpenError> {
        let (socket, done) = netns
            .run(|| (socket::open_raw(), there()))
            .map_err(OpenError::Namespace)?;
        let socket = socket
            .and_then(DatagramSocket::over)
            .map_err(OpenError::Socket)?;
        Ok((Self::over(socket, deadline), done))
    }

    fn over<S: AsyncSocket + Send + 'static>(socket: S, deadline: Duration) -> Self {
        let (mut connection, handle, _unsolicited) = rtnetlink::from_socket(socket);
        // The end of a list carries the error of a list that was not finished.
        connection.set_forward_done(true);
        Self {
            handle,
            connection: tokio::spawn(connection),
            deadline,
            requests: AtomicUsize::new(0),
        }
    }

    /// How many requests were sent until now, each repetition counted; a request is one datagram.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends a request that the kernel acknowledges.
    async fn change(
        &self,
        operation: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.exchange(operation, message, NLM_F_ACK | flags)
            .await
            .map(|_| ())
    }

    /// Sends a request that one message answers; nothing when the kernel says that there is no such device.
    async fn one(
        &self,
        operation: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        match self.exchange(operation, message, 0).await {
            Ok(answers) => Ok(answers.into_iter().next()),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that many messages answer.
    async fn dump(
        &self,
        operation: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.exchange(operation, message, NLM_F_DUMP).await
    }

    /// Sends a request, and again while the driver is busy or the list changes under the kernel's hands.
    async fn exchange(
        &self,
        operation: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut tries = 1;
        loop {
            let kind = match tokio::time::timeout(self.deadline, self.ask(request.clone())).await {
                Ok(Ok(answers)) => return Ok(answers),
                Ok(Err(kind)) => kind,
                Err(_elapsed) => NetlinkErrorKind::Deadline,
            };
            let error = NetlinkError::new(operation, kind);
            if !error.is_passing() || tries >= TRIES {
                return Err(error);
            }
            tries += 1;
            tracing::debug!("{error}, trying again");
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Sends a request once.
    async fn ask(
        &self,
        request: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkErrorKind> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut replies = self
            .handle
            .clone()
            .request(request)
            .map_err(|_closed| NetlinkErrorKind::Closed)?;
        let mut answers = Vec::new();
        let mut is_consistent = true;
        while let Some(reply) = replies.next().await {
            let flags = reply.header.flags;
            is_consistent &= flags & NLM_F_DUMP_INTR == 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(ErrorMessage {
                    code: Some(code),
                    header,
                    ..
                }) => return Err(refusal(code, flags, &header)),
                NetlinkPayload::Done(done) => {
                    if let Some(code) = NonZeroI32::new(done.code).filter(|code| code.get() < 0) {
                        return Err(refusal(code, 0, &[]));
                    }
                }
                NetlinkPayload::Overrun(_) => is_consistent = false,
                // An acknowledgement, and what the kernel may send between.
                NetlinkPayload::Error(_) | NetlinkPayload::Noop | _ => {}
            }
        }
        if is_consistent {
            Ok(answers)
        } else {
            Err(NetlinkErrorKind::Interrupted)
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn refusal(code: NonZeroI32, flags: u16, request: &[u8]) -> NetlinkErrorKind {
    NetlinkErrorKind::Kernel {
        errno: Errno::from_raw(code.get().saturating_abs()),
        text: error::kernel_text(flags, request),
    }
}

#[cfg(test)]
mod tests;
