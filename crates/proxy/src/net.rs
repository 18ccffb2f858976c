//! Sockets and what may be wrapped around them, as one concrete type.
//!
//! A connection is plain or TLS, and its first bytes may already have been read by the inspectors. [`Io`] hides both behind
//! `AsyncRead + AsyncWrite` without a trait object, so that codecs are compiled once and calls are static. It decides nothing.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A TCP socket with bytes that were read ahead of whoever reads from it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    ahead: BytesMut,
}

impl Socket {
    /// Nothing was read ahead.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: BytesMut::new() }
    }

    /// Reads more bytes ahead; 0 at the end of the stream.
    pub(crate) async fn read_ahead(&mut self) -> io::Result<usize> {
        use tokio::io::AsyncReadExt as _;
        self.ahead.reserve(2048);
        self.stream.read_buf(&mut self.ahead).await
    }

    /// What was read ahead and not taken yet.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops `n` bytes of what was read ahead (a PROXY protocol header).
    pub(crate) fn consume(&mut self, n: usize) {
        self.ahead.advance(n.min(self.ahead.len()));
    }

    /// The socket itself.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Closing it sends RST instead of FIN.
    pub(crate) fn reset_on_close(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let n = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead.split_to(n));
        if this.ahead.is_empty() {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A connection as the codecs see it.
#[derive(Debug)]
pub(crate) enum Io {
    /// As it is.
    Plain(Socket),
    /// TLS, as a server or a client. Boxed: a TLS state is over a kilobyte.
    Tls(Box<TlsStream<Socket>>),
}

impl Io {
    /// The socket beneath.
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(s) => s,
            Self::Tls(s) => s.get_ref().0,
        }
    }

    /// Whether a connection that nobody reads from can still be used: open, and with no byte that nobody asked for.
    pub(crate) fn is_idle_and_open(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        match SockRef::from(self.socket().tcp()).peek(&mut byte) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => true,
            // A TLS peer may send tickets and the like at any time; reading them yields nothing.
            Ok(n) if n > 0 && matches!(self, Self::Tls(_)) => {
                let mut room = [0_u8; 16];
                let mut buf = ReadBuf::new(&mut room);
                let mut cx = Context::from_waker(std::task::Waker::noop());
                Pin::new(self).poll_read(&mut cx, &mut buf).is_pending()
            }
            _ => false,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(s) => s.is_write_vectored(),
            Self::Tls(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
