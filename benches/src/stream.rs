//! The memory transport as the asynchronous stream that some libraries ask for.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use crate::Transport;

/// A [`Transport`] that its user can reach while a library owns the stream.
///
/// It is never woken: reading past the input is pending for ever.
#[derive(Clone, Debug)]
pub struct Stream(Rc<RefCell<Transport>>);

impl Stream {
    /// A stream whose input was read before; `rewind` makes it available.
    #[must_use]
    pub fn new(input: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(Transport::new(input))))
    }

    /// Makes the input arrive again and forgets what was written.
    pub fn rewind(&self) {
        self.0.borrow_mut().rewind();
    }

    /// How many bytes were written since `rewind`.
    #[must_use]
    pub fn written_len(&self) -> usize {
        self.0.borrow().written().len()
    }

    fn fill(&self, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.0.borrow_mut().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    fn put(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.borrow_mut().write(bytes))
    }

    fn put_all(&self, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut transport = self.0.borrow_mut();
        let mut written = 0;
        for piece in pieces {
            written += transport.write(piece)?;
        }
        Poll::Ready(Ok(written))
    }
}

/// Runs a future that has all it needs.
///
/// # Panics
/// If it does not complete at once.
pub fn complete<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waits for input that has not arrived"),
    }
}

impl tokio::io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fill(into.initialize_unfilled())
            .map_ok(|len| into.advance(len))
    }
}

impl tokio::io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.put(bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.put_all(pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl futures_io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.fill(into)
    }
}

impl futures_io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.put(bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn input_arrives_and_output_is_counted() {
        let mut stream = Stream::new(b"abc".to_vec());
        stream.rewind();
        let mut into = [0; 8];
        let mut reader = stream.clone();
        let read = complete(poll_fn(|context| {
            futures_io::AsyncRead::poll_read(Pin::new(&mut reader), context, &mut into)
        }));
        assert_eq!(read.expect("input"), 3);
        let pieces = [IoSlice::new(b"xy"), IoSlice::new(b"z")];
        let written = complete(poll_fn(|context| {
            tokio::io::AsyncWrite::poll_write_vectored(Pin::new(&mut stream), context, &pieces)
        }));
        assert_eq!(written.expect("memory"), 3);
        assert_eq!(stream.written_len(), 3);
    }
}
