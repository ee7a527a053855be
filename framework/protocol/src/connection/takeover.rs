//! Sending compressed messages, and what takeover keeps between messages.

use crate::deflate::{Compressor, Inflater, without_tail};
use crate::error::Closing;
use crate::frame::OpCode;
use crate::message::Kind;
use crate::output::Output;
use crate::resources::Resources;

use super::{Connection, Phase};

/// The streams of a connection whose messages refer to earlier ones. Each is
/// made for the first compressed message of its direction.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    pub(super) compressor: Option<Compressor>,
    /// Not here while a message arrives: then the message has it.
    pub(super) inflater: Option<Box<Inflater>>,
}

impl Connection {
    #[inline(never)]
    pub(super) fn send_compressed(
        &mut self,
        kind: Kind,
        payload: &[u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        if self.sends.takeover() {
            // It has to go compressed even if that is larger: the compressor
            // has already taken it into its window.
            return self.send_compressed_fragment(kind.into(), payload, true, resources, out);
        }
        if self.phase != Phase::Open {
            return Err(Closing);
        }
        let window_bits = self.sends.window_bits();
        let (compressed, payload) = match resources.deflate.compress_once(payload, window_bits) {
            Some(smaller) => (true, smaller),
            None => (false, payload),
        };
        self.write(
            true,
            kind.into(),
            compressed,
            payload,
            &mut resources.masks,
            out,
        );
        Ok(())
    }

    /// A fragment ends with a flush, so that its bytes are of use on arrival.
    /// Without takeover no fragment refers to another either: between them the
    /// shared compressor serves other connections.
    pub(super) fn send_compressed_fragment(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        fin: bool,
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        if self.phase != Phase::Open {
            return Err(Closing);
        }
        let window_bits = self.sends.window_bits();
        let flushed = if self.sends.takeover() {
            let config = *resources.deflate.config();
            let compressor = self
                .kept
                .get_or_insert_default()
                .takeover
                .get_or_insert_default()
                .compressor
                .get_or_insert_with(|| {
                    Compressor::new(&config, window_bits.min(config.window_bits))
                });
            resources.deflate.compress_with(compressor, payload)
        } else {
            resources.deflate.compress_fragment(payload, window_bits)
        };
        let payload = if fin { without_tail(flushed) } else { flushed };
        let first = opcode != OpCode::Continuation;
        self.write(fin, opcode, first, payload, &mut resources.masks, out);
        Ok(())
    }
}
