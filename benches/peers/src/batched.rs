//! A stream whose writes wait until there is nothing to read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is kept before it is written all the same.
const FULL: usize = 64 << 10;

/// Keeps what is written, across flushes, until a read finds nothing or
/// [`FULL`] is reached: a library that flushes after every message then writes
/// once for all that arrived together.
#[derive(Debug)]
pub struct Batched<S: AsyncWrite + Unpin> {
    stream: S,
    kept: Vec<u8>,
    /// Bytes at the front of `kept` that the stream has taken.
    taken: usize,
}

impl<S: AsyncWrite + Unpin> Batched<S> {
    /// Around a stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            kept: Vec::new(),
            taken: 0,
        }
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.kept.len() {
            let rest = &self.kept[self.taken..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
        }
        self.kept.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Batched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_pending()
            && let Poll::Ready(Err(error)) = this.poll_write_out(cx)
        {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Batched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.kept.len() >= FULL {
            ready!(this.poll_write_out(cx))?;
        }
        this.kept.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.kept.len() >= FULL {
            ready!(this.poll_write_out(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncWrite + Unpin> Drop for Batched<S> {
    /// The answer to a Close frame is the last thing written, and nobody reads
    /// after it. What the socket does not take at once is lost with it.
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        drop(self.poll_write_out(&mut cx));
    }
}
