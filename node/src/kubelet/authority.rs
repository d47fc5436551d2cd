//! A stream of the kubelet with a valid `:authority` in each request.
//!
//! The kubelet's plugin watcher, and its DRA manager before 1.36, dial a socket's path without a name for the server: grpc-go sends the path, percent-encoded, as `:authority`.
//! h2 resets such a stream, as a path is not an authority; nothing looks at the value behind it.
//! The filter copies all frames (RFC 9113, section 4.1) but the header blocks of the client, which [`super::header_block`] rewrites.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::header_block::with_local_authority;

/// Bytes of the client's preface (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// Bytes of the head of a frame.
const HEAD: usize = 9;
/// Header blocks beyond this length are passed on as they are; ours have about a hundred bytes.
const LARGEST_BLOCK: usize = 64 << 10;
/// Longest payload of a frame that every server accepts.
const LARGEST_FRAME: usize = 16 << 10;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection whose requests have the authority `localhost`.
#[derive(Debug)]
pub struct LocalAuthority<S> {
    stream: S,
    filter: Filter,
    /// Filtered bytes that nobody has read, from `read` on.
    filtered: Vec<u8>,
    read: usize,
}

impl<S> LocalAuthority<S> {
    /// Filters what is read from a stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            filter: Filter::default(),
            filtered: Vec::new(),
            read: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LocalAuthority<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let unread = this.filtered.get(this.read..).unwrap_or_default();
            if !unread.is_empty() {
                let some = unread.get(..into.remaining()).unwrap_or(unread);
                into.put_slice(some);
                this.read += some.len();
                return Poll::Ready(Ok(()));
            }
            this.filtered.clear();
            this.read = 0;
            let mut buffer = [0; 4096];
            let mut bytes = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut bytes))?;
            if bytes.filled().is_empty() {
                this.filter.end(&mut this.filtered);
                if this.filtered.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            this.filter.push(bytes.filled(), &mut this.filtered);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LocalAuthority<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S> Connected for LocalAuthority<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// The filter: bytes in, bytes out, in pieces of any size.
#[derive(Debug, Default)]
struct Filter {
    /// The part of the stream that is read now.
    state: State,
    /// The frames of a header block, as they came, and the fragments of the block in them.
    frames: Vec<u8>,
    block: Vec<u8>,
    /// Flags and stream of the HEADERS frame.
    flags: u8,
    stream: [u8; 4],
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// This many bytes are passed on.
    Pass(usize),
    /// The head of a frame; it is complete when `frames` has this many bytes.
    Head(usize),
    /// A frame of a header block; it is complete when `frames` has this many bytes.
    Block { head: Head, end: usize },
}

impl Default for State {
    fn default() -> Self {
        Self::Pass(PREFACE)
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = bytes else {
            return None;
        };
        let length = u32::from_be_bytes([0, *a, *b, *c]);
        Some(Self {
            length: usize::try_from(length).ok()?,
            kind: *kind,
            flags: *flags,
            stream: stream.try_into().ok()?,
        })
    }
}

impl Filter {
    /// Takes bytes, and adds to `out` what is certain.
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let wanted = match self.state {
                State::Pass(rest) => rest,
                State::Head(end) | State::Block { end, .. } => end - self.frames.len(),
            };
            let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            if let State::Pass(rest) = &mut self.state {
                out.extend_from_slice(piece);
                *rest -= piece.len();
            } else {
                self.frames.extend_from_slice(piece);
            }
            if piece.len() == wanted {
                self.advance(out);
            }
        }
    }

    /// The end of the stream: what was held back is passed on.
    fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.frames);
    }

    /// The part that is read now is complete.
    fn advance(&mut self, out: &mut Vec<u8>) {
        self.state = match self.state {
            State::Pass(_) => State::Head(HEAD),
            State::Head(end) => self.frame(end, out),
            State::Block { head, end } => self.fragment(head, end, out),
        };
        // A frame without payload is complete at once.
        match self.state {
            State::Pass(0) => self.state = State::Head(HEAD),
            State::Block { head, end } if end == self.frames.len() => {
                self.state = self.fragment(head, end, out);
            }
            State::Pass(_) | State::Head(_) | State::Block { .. } => {}
        }
    }

    /// Decides about the frame whose head is complete.
    fn frame(&mut self, end: usize, out: &mut Vec<u8>) -> State {
        let start = end - HEAD;
        let head = self.frames.get(start..).and_then(Head::parse);
        let is_in_block = start > 0;
        match head {
            Some(head) if is_part_of_block(head, is_in_block.then_some(self.stream)) => {
                let end = end + head.length;
                if end <= LARGEST_BLOCK {
                    if !is_in_block {
                        (self.flags, self.stream) = (head.flags, head.stream);
                    }
                    return State::Block { head, end };
                }
                self.pass_on(out);
                State::Pass(head.length)
            }
            head => {
                self.pass_on(out);
                State::Pass(head.map_or(0, |head| head.length))
            }
        }
    }

    /// Takes the fragment of a complete frame; the last one completes the block.
    fn fragment(&mut self, head: Head, end: usize, out: &mut Vec<u8>) -> State {
        let payload = self.frames.get(end - head.length..).unwrap_or_default();
        let Some(fragment) = fragment(head, payload) else {
            self.pass_on(out);
            return State::Head(HEAD);
        };
        self.block.extend_from_slice(fragment);
        if head.flags & END_HEADERS == 0 {
            return State::Head(end + HEAD);
        }
        if let Some(block) = with_local_authority(&self.block) {
            let flags = self.flags & !(PADDED | PRIORITY | END_HEADERS);
            write_block(flags, self.stream, &block, out);
            self.frames.clear();
        }
        self.pass_on(out);
        State::Head(HEAD)
    }

    /// Passes on the frames that were held back, as they came.
    fn pass_on(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.frames);
        self.block.clear();
    }
}

/// Whether a frame begins a header block, or continues that of a stream.
fn is_part_of_block(head: Head, open: Option<[u8; 4]>) -> bool {
    match open {
        None => head.kind == HEADERS,
        Some(stream) => head.kind == CONTINUATION && head.stream == stream,
    }
}

/// The fragment in the payload of a frame, without padding and priority (RFC 9113, section 6.2).
fn fragment(head: Head, payload: &[u8]) -> Option<&[u8]> {
    if head.kind == CONTINUATION {
        return Some(payload);
    }
    let mut fragment = payload;
    if head.flags & PADDED != 0 {
        let (padding, rest) = fragment.split_first()?;
        fragment = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    }
    if head.flags & PRIORITY != 0 {
        fragment = fragment.get(5..)?;
    }
    Some(fragment)
}

/// Writes a header block as frames that every server accepts.
fn write_block(flags: u8, stream: [u8; 4], block: &[u8], out: &mut Vec<u8>) {
    let count = block.chunks(LARGEST_FRAME).len();
    for (number, chunk) in block.chunks(LARGEST_FRAME).enumerate() {
        let length = u32::try_from(chunk.len()).unwrap_or_default();
        let [_, length @ ..] = length.to_be_bytes();
        out.extend_from_slice(&length);
        let end = if number + 1 == count { END_HEADERS } else { 0 };
        out.extend_from_slice(&if number == 0 {
            [HEADERS, flags | end]
        } else {
            [CONTINUATION, end]
        });
        out.extend_from_slice(&stream);
        out.extend_from_slice(chunk);
    }
}

#[cfg(test)]
mod tests;
