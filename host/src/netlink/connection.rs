//! A netlink socket in one namespace: sends a request, collects its replies, repeats it while that can help.
//!
//! Each request has a deadline: a reply that is lost would never reach its request.

use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZeroI32;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::lock::Mutex;
use futures_util::{Stream, StreamExt};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_proto::ConnectionHandle;
use netlink_sys::{AsyncSocket, Socket, SocketAddr};
use nix::errno::Errno;

use super::codec::StrictCodec;
use super::devices::{Devices, KernelDevices};
use super::error::{self, NetlinkError, NetlinkErrorKind};
use super::message::Message;
use super::socket::{self, DatagramSocket};
use crate::ethtool::{Ethtool, EthtoolSettings};
use crate::netns::{Netns, NetnsError};
use crate::pci::PciAddress;

/// Tries of a request that the driver refuses as busy: i40e and iavf do so while they reset, for a second or two.
pub(super) const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// A netlink socket in one network namespace, for a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Netlink {
    devices: Box<dyn Devices>,
    handle: ConnectionHandle<Message>,
    connection: Mutex<Connection>,
    deadline: Duration,
    requests: AtomicUsize,
}

/// Sends and receives while a request is under way: a task of its own would cost two system calls for each request.
struct Connection(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

/// A netlink socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused the socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// The namespace could not be entered.
    #[error("cannot open a netlink socket in another namespace")]
    Namespace(#[source] NetnsError),
}

impl Netlink {
    /// Opens a socket in the namespace of this process; each request ends after `deadline`.
    ///
    /// # Errors
    /// [`OpenError::Socket`], also when no tokio runtime with I/O is running.
    pub fn host(deadline: Duration) -> Result<Self, OpenError> {
        socket::open_raw()
            .and_then(|socket| Self::of_kernel(socket, true, deadline))
            .map_err(OpenError::Socket)
    }

    /// Opens a socket in the namespace `netns`, where it stays.
    pub fn in_netns(netns: &Netns, deadline: Duration) -> Result<Self, OpenError> {
        Self::in_netns_with(netns, deadline, || ()).map(|(netlink, ())| netlink)
    }

    /// Opens a socket in the namespace `netns`, where it stays, and runs `there` in the namespace too.
    pub fn in_netns_with<T>(
        netns: &Netns,
        deadline: Duration,
        there: impl FnOnce() -> T,
    ) -> Result<(Self, T), OpenError> {
        let (socket, done) = netns
            .run(|| (socket::open_raw(), there()))
            .map_err(OpenError::Namespace)?;
        let netlink = socket
            .and_then(|socket| Self::of_kernel(socket, false, deadline))
            .map_err(OpenError::Socket)?;
        Ok((netlink, done))
    }

    fn of_kernel(socket: Socket, is_own: bool, deadline: Duration) -> io::Result<Self> {
        let ethtool = Ethtool::over(socket.as_fd().try_clone_to_owned()?);
        let socket = DatagramSocket::over(socket)?;
        let devices = KernelDevices { ethtool, is_own };
        Ok(Self::over(socket, Box::new(devices), deadline))
    }

    /// Number of the namespace in which the socket was opened, which no other namespace gets on this boot (Linux 5.14).
    pub fn netns_cookie(&self) -> Option<u64> {
        self.devices.netns_cookie()
    }

    /// The settings of a link that `ethtool` can change; those that its driver does not have are absent.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn ethtool_settings(&self, link: u32) -> io::Result<EthtoolSettings> {
        self.devices.settings(link)
    }

    /// Whether anything is stacked on a link, in whatever namespace; only for a socket of the host.
    ///
    /// # Errors
    /// When the kernel cannot report it ([`crate::uppers::exist`]).
    pub fn has_upper_devices(&self, link: u32) -> io::Result<bool> {
        self.devices.has_uppers(link)
    }

    /// Whether programs of tcx are attached to a link; only for a socket of the host.
    ///
    /// # Errors
    /// When the kernel cannot say it ([`crate::tcx::has_programs`]).
    pub fn has_programs(&self, link: u32) -> io::Result<bool> {
        self.devices.has_programs(link)
    }

    /// The PCI device behind a link, as its driver reports it.
    pub(super) fn device_behind(&self, link: u32) -> Option<PciAddress> {
        self.devices.device(link).ok().flatten()
    }

    pub(super) fn over<S: AsyncSocket + Send + 'static>(
        socket: S,
        devices: Box<dyn Devices>,
        deadline: Duration,
    ) -> Self {
        let (mut connection, handle, _unsolicited) =
            netlink_proto::from_socket_with_codec::<Message, S, StrictCodec>(socket);
        // Without its end an answer is not complete: the connection may have been closed.
        connection.set_forward_ack(true);
        // The end of a list also carries the error of a list that was not finished.
        connection.set_forward_done(true);
        Self {
            devices,
            handle,
            connection: Mutex::new(Connection(Some(Box::pin(connection)))),
            deadline,
            requests: AtomicUsize::new(0),
        }
    }

    /// Number of requests that were sent, repetitions included; a request is one datagram.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends a request that the kernel acknowledges.
    pub(super) async fn change(
        &self,
        operation: &str,
        message: impl Into<Message>,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.exchange(operation, message, NLM_F_ACK | flags)
            .await
            .map(|_| ())
    }

    /// Sends a request that is answered by one message; `None` if the kernel reports that there is no such device.
    pub(super) async fn one(
        &self,
        operation: &str,
        message: impl Into<Message>,
    ) -> Result<Option<Message>, NetlinkError> {
        match self.exchange(operation, message, 0).await {
            Ok(answers) => Ok(answers.into_iter().next()),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that is answered by a list of messages.
    pub(super) async fn dump(
        &self,
        operation: &str,
        message: impl Into<Message>,
    ) -> Result<Vec<Message>, NetlinkError> {
        self.exchange(operation, message, NLM_F_DUMP).await
    }

    /// Sends a request, and repeats it while the driver is busy or the list changes while the kernel writes it.
    async fn exchange(
        &self,
        operation: &str,
        message: impl Into<Message>,
        flags: u16,
    ) -> Result<Vec<Message>, NetlinkError> {
        let mut request = NetlinkMessage::from(message.into());
        request.header.flags = NLM_F_REQUEST | flags;
        let mut tries = 1;
        loop {
            let kind = match tokio::time::timeout(self.deadline, self.send(request.clone())).await {
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
    async fn send(
        &self,
        request: NetlinkMessage<Message>,
    ) -> Result<Vec<Message>, NetlinkErrorKind> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let has_end = request.header.flags & (NLM_F_ACK | NLM_F_DUMP) != 0;
        let mut connection = self.connection.lock().await;
        let mut replies = self
            .handle
            .request(request, SocketAddr::new(0, 0))
            .map_err(|_closed| NetlinkErrorKind::Closed)?;
        let mut answers = Vec::new();
        let (mut is_complete, mut is_consistent) = (false, true);
        while let Some(reply) = connection.next_of(&mut replies).await {
            let flags = reply.header.flags;
            is_consistent &= flags & NLM_F_DUMP_INTR == 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(answer) => {
                    answers.push(answer);
                    is_complete |= !has_end;
                }
                NetlinkPayload::Error(ErrorMessage {
                    code: Some(code),
                    header,
                    ..
                }) => return Err(refusal(code, flags, &header)),
                NetlinkPayload::Done(done) => {
                    if let Some(code) = NonZeroI32::new(done.code).filter(|code| code.get() < 0) {
                        return Err(refusal(code, 0, &[]));
                    }
                    is_complete = true;
                }
                // An acknowledgement.
                NetlinkPayload::Error(_) => is_complete = true,
                NetlinkPayload::Overrun(_) => return Err(NetlinkErrorKind::Interrupted),
                NetlinkPayload::Noop | _ => {}
            }
        }
        match (is_complete, is_consistent) {
            (true, true) => Ok(answers),
            (true, false) => Err(NetlinkErrorKind::Interrupted),
            (false, _) => Err(NetlinkErrorKind::Closed),
        }
    }
}

impl Connection {
    /// The next reply to a request; `None` after the last one, and when the connection was closed.
    async fn next_of<T>(&mut self, replies: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
        std::future::poll_fn(|cx| {
            // The connection reads before it sends, and most replies are there when it has sent.
            for _ in 0..2 {
                self.advance(cx);
                if let Poll::Ready(reply) = replies.poll_next_unpin(cx) {
                    return Poll::Ready(reply);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        if let Some(open) = &mut self.0
            && open.as_mut().poll(cx).is_ready()
        {
            // The requests that are under way end with it.
            self.0 = None;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection(open: {})", self.0.is_some())
    }
}

fn refusal(code: NonZeroI32, flags: u16, request: &[u8]) -> NetlinkErrorKind {
    NetlinkErrorKind::Kernel {
        errno: Errno::from_raw(code.get().saturating_abs()),
        text: error::kernel_text(flags, request),
    }
}
