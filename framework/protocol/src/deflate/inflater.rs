//! Inflating messages in bounded steps.

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::TAIL;

/// The largest distance that a deflate stream may refer back.
const WINDOW: usize = 1 << 15;

/// One inflate stream.
pub(crate) struct Inflater {
    stream: Inflate,
    /// The last byte was that of a final block; nothing has followed it.
    ended: bool,
}

/// Takes what a message inflates to.
pub(crate) trait Inflated {
    /// Why it refuses more.
    type Refusal: From<Corrupt>;

    /// Appends a piece.
    fn append(&mut self, piece: &[u8]) -> Result<(), Self::Refusal>;

    /// What was appended since the message began.
    fn so_far(&self) -> &[u8];
}

/// The bytes are not a deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

impl Inflater {
    /// A stream with a window of 32 KiB, enough for whatever was agreed on.
    pub(crate) fn new() -> Self {
        Self {
            stream: Inflate::new(false, 15),
            ended: false,
        }
    }

    /// Forgets what was inflated before.
    pub(crate) fn reset(&mut self) {
        self.stream.reset(false);
        self.ended = false;
    }

    /// Inflates bytes of a message, by at most `step.len()` at a time.
    pub(crate) fn feed<I: Inflated>(
        &mut self,
        mut bytes: &[u8],
        step: &mut [u8],
        into: &mut I,
    ) -> Result<(), I::Refusal> {
        while !bytes.is_empty() {
            if self.ended {
                self.begin_again(into.so_far());
            }
            bytes = self.feed_stream(bytes, step, into)?;
        }
        Ok(())
    }

    /// Ends a message: the tail that its sender left out.
    pub(crate) fn finish<I: Inflated>(
        &mut self,
        step: &mut [u8],
        into: &mut I,
    ) -> Result<(), I::Refusal> {
        if self.ended {
            // A sender that adds no empty block after its final one; the tail
            // would be taken for the beginning of a block.
            self.begin_again(into.so_far());
            return Ok(());
        }
        self.feed(&TAIL, step, into)
    }

    /// Inflates to the end of the stream or of `bytes`; returns what is left.
    fn feed_stream<'b, I: Inflated>(
        &mut self,
        mut bytes: &'b [u8],
        step: &mut [u8],
        into: &mut I,
    ) -> Result<&'b [u8], I::Refusal> {
        loop {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = match self.stream.decompress(bytes, step, InflateFlush::NoFlush) {
                Ok(status) => status,
                Err(_cause) => return Err(Corrupt.into()),
            };
            let read = usize::try_from(self.stream.total_in() - before_in).unwrap_or(usize::MAX);
            let wrote = usize::try_from(self.stream.total_out() - before_out).unwrap_or(usize::MAX);
            bytes = &bytes[read..];
            into.append(&step[..wrote])?;
            if status == Status::StreamEnd {
                self.ended = true;
                return Ok(bytes);
            }
            if wrote < step.len() {
                // It stopped for want of input; were any left, it would not
                // make progress with the same again.
                return if bytes.is_empty() {
                    Ok(bytes)
                } else {
                    Err(Corrupt.into())
                };
            }
        }
    }

    fn begin_again(&mut self, history: &[u8]) {
        self.reset();
        let window = &history[history.len().saturating_sub(WINDOW)..];
        if !window.is_empty() {
            let primed = self.stream.set_dictionary(window);
            debug_assert!(primed.is_ok(), "a raw stream takes one at its start");
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
