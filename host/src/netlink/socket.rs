//! A netlink socket that reads whole datagrams.
//!
//! The stock socket reads into a buffer of 64 KiB and drops longer messages, as the list of about 220 VFs.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::BufMut;
use netlink_sys::{AsyncSocket, Socket, SocketAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::io::unix::AsyncFd;

/// Longer than any message: each of its lists has 16 bits for its length. Pages that no message reaches are never allocated.
const LONGEST: usize = 512 * 1024;
/// `MSG_TRUNC`: the call returns the whole length even if the buffer was too short (recv(2)).
const TELL_LENGTH: i32 = 0x20;

#[derive(Debug)]
pub(super) struct DatagramSocket {
    socket: AsyncFd<Socket>,
    /// One buffer for all messages: a query for the length of each would be a second system call.
    buffer: Mutex<Vec<u8>>,
    /// Whether a request was sent since the last read.
    has_sent: AtomicBool,
}

/// Opens a socket in the namespace of the calling thread.
pub(super) fn open_raw() -> io::Result<Socket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkRoute;
    let opened = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    #[expect(
        unsafe_code,
        reason = "the only constructor that takes a socket's flags"
    )]
    // SAFETY: the descriptor is an open netlink socket, and its ownership passes to `Socket`.
    let socket = unsafe { Socket::from_raw_fd(opened.into_raw_fd()) };
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

impl DatagramSocket {
    pub(super) fn over(socket: Socket) -> io::Result<Self> {
        #[expect(
            unsafe_code,
            reason = "the safe constructor is deprecated, and rightly so for types that may swap their descriptor"
        )]
        // SAFETY: the descriptor belongs to `socket`, which closes it only when it is dropped, after its deregistration;
        // `AsyncFd` owns it until then, and nothing here replaces it.
        let registered = unsafe { AsyncFd::register(socket)? };
        Ok(Self {
            socket: registered,
            buffer: Mutex::new(Vec::new()),
            has_sent: AtomicBool::new(false),
        })
    }

    fn read<T>(
        &self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&Socket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        // The kernel answers most requests before the call that sends them returns: a wait would be a system call more.
        if self.has_sent.swap(false, Ordering::Relaxed)
            && let Some(done) = at_once(read(self.socket.get_ref()))
        {
            return Poll::Ready(done);
        }
        loop {
            let mut guard = std::task::ready!(self.socket.poll_read_ready(cx))?;
            if let Ok(done) = guard.try_io(|socket| read(socket.get_ref())) {
                return Poll::Ready(done);
            }
        }
    }

    fn write(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut done = at_once(write(self.socket.get_ref()));
        while done.is_none() {
            let mut guard = std::task::ready!(self.socket.poll_write_ready(cx))?;
            done = guard.try_io(|socket| write(socket.get_ref())).ok();
        }
        self.has_sent.store(true, Ordering::Relaxed);
        done.map_or(Poll::Pending, Poll::Ready)
    }
}

/// What a call returned without a wait.
fn at_once<T>(done: io::Result<T>) -> Option<io::Result<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        done => Some(done),
    }
}

impl AsyncSocket for DatagramSocket {
    fn socket_ref(&self) -> &Socket {
        self.socket.get_ref()
    }

    fn socket_mut(&mut self) -> &mut Socket {
        self.socket.get_mut()
    }

    fn new(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.set_non_blocking(true)?;
        Self::over(socket)
    }

    fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |socket| socket.send(buf, 0))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        addr: &SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |socket| socket.send_to(buf, addr, 0))
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
        self.read(cx, |socket| {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            buffer.clear();
            buffer.reserve_exact(LONGEST);
            let (length, from) = socket.recv_from(&mut *buffer, TELL_LENGTH)?;
            if length > buffer.len() {
                let what = format!("a message of {length} bytes, {LONGEST} are the most");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Ok((buffer.clone(), from))
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use netlink_sys::protocols::NETLINK_USERSOCK;

    use super::*;

    /// Two sockets of this process, as no kernel answers that long without real VFs.
    #[test]
    fn datagram_of_any_length_is_read_whole() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut reader = Socket::new(NETLINK_USERSOCK).unwrap();
            reader.set_non_blocking(true).unwrap();
            let address = reader.bind_auto().unwrap();
            let reader = DatagramSocket::over(reader).unwrap();
            let writer = Socket::new(NETLINK_USERSOCK).unwrap();
            for length in [16, 65_536, 65_537, 120_000] {
                let sent: Vec<u8> = (0..=250).cycle().take(length).collect();
                writer.send_to(&sent, &address, 0).unwrap();
                let mut buffer = BytesMut::with_capacity(64);
                let received =
                    std::future::poll_fn(|cx| reader.poll_recv_from(cx, &mut buffer)).await;
                received.unwrap();
                assert!(buffer == sent, "{} of {length} bytes", buffer.len());
            }
        });
    }
}
