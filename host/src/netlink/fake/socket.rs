//! The socket between [`Netlink`](crate::netlink::Netlink) and the kernel in memory: each datagram is answered while it is sent.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BufMut;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, Socket, SocketAddr};

use super::FakeKernel;

#[derive(Debug)]
pub(super) struct FakeSocket {
    kernel: FakeKernel,
    /// Unused: the trait requires a socket.
    idle: Socket,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    datagrams: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

impl FakeSocket {
    pub(super) fn open(kernel: FakeKernel) -> io::Result<Self> {
        Ok(Self {
            kernel,
            idle: Socket::new(NETLINK_ROUTE)?,
            inbox: Mutex::default(),
        })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncSocket for FakeSocket {
    fn socket_ref(&self) -> &Socket {
        &self.idle
    }

    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.idle
    }

    fn new(_protocol: isize) -> io::Result<Self> {
        Self::open(FakeKernel::default())
    }

    fn poll_send(&self, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let answers = self.kernel.answer(buf);
        let mut inbox = self.inbox();
        inbox.datagrams.extend(answers);
        if let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        _addr: &SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf)
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(|_| ())
    }

    fn poll_recv_from<B: BufMut>(
        &self,
        cx: &mut Context<'_>,
        buf: &mut B,
    ) -> Poll<io::Result<SocketAddr>> {
        self.poll_recv_from_full(cx).map_ok(|(datagram, from)| {
            buf.put_slice(&datagram);
            from
        })
    }

    fn poll_recv_from_full(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        let mut inbox = self.inbox();
        let Some(datagram) = inbox.datagrams.pop_front() else {
            inbox.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(Ok((datagram, SocketAddr::new(0, 0))))
    }
}
