//! A netlink socket that reads whole datagrams.
//!
//! The stock socket reads into a buffer of 64 KiB and drops what is longer: the list of some 220 VFs is.

use std::io;
use std::task::{Context, Poll};

use bytes::BufMut;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, Socket, SocketAddr};
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(super) struct DatagramSocket(AsyncFd<Socket>);

/// Opens a socket in the namespace of the calling thread.
pub(super) fn open_raw() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

impl DatagramSocket {
    pub(super) fn open() -> io::Result<Self> {
        Self::over(open_raw()?)
    }

    pub(super) fn over(socket: Socket) -> io::Result<Self> {
        #[expect(
            unsafe_code,
            reason = "the safe constructor is deprecated, and rightly so for types that may swap their descriptor"
        )]
        // SAFETY: the descriptor belongs to `socket`, which closes it only when it is dropped, after its deregistration;
        // `AsyncFd` owns it until then, and nothing here replaces it.
        let registered = unsafe { AsyncFd::register(socket)? };
        Ok(Self(registered))
    }

    fn read<T>(
        &self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&Socket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut guard = std::task::ready!(self.0.poll_read_ready(cx))?;
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
        loop {
            let mut guard = std::task::ready!(self.0.poll_write_ready(cx))?;
            if let Ok(done) = guard.try_io(|socket| write(socket.get_ref())) {
                return Poll::Ready(done);
            }
        }
    }
}

impl AsyncSocket for DatagramSocket {
    fn socket_ref(&self) -> &Socket {
        self.0.get_ref()
    }

    fn socket_mut(&mut self) -> &mut Socket {
        self.0.get_mut()
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
        self.read(cx, Socket::recv_from_full)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use netlink_sys::protocols::NETLINK_USERSOCK;

    use super::*;

    /// Two sockets of this process, as no kernel answers that long without real VFs.
    #[test]
    fn a_datagram_is_read_whole_whatever_its_length() {
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
