//! Receiving compressed messages.

use crate::deflate::{DeflateConfig, Inflated};
use crate::error::ProtocolError;
use crate::message::{Event, Kind};
use crate::resources::Resources;

use super::Connection;
use super::assembly::Assembly;
use super::flags::Flags;

impl Connection {
    /// Inflates `bytes` of the message that arrives, which they begin (as one
    /// of `kind`) if there is none.
    #[inline(never)]
    pub(super) fn inflate(
        &mut self,
        kind: Kind,
        bytes: &[u8],
        resources: &mut Resources,
    ) -> Result<Option<Event>, ProtocolError> {
        let remaining = self.place.remaining();
        if bytes.is_empty() && remaining != 0 {
            return Ok(None);
        }
        let kept = self.kept.get_or_insert_with(|| resources.pool.kept());
        let message = kept
            .message
            .get_or_insert_with(|| resources.pool.assembly(kind));
        let takeover = &mut kept.takeover;
        let earlier = || takeover.as_mut().and_then(|kept| kept.inflater.take());
        let mut inflater = match message.inflater.take().or_else(earlier) {
            Some(inflater) => inflater,
            None => resources.deflate.lend(),
        };
        message.wire += bytes.len();
        let max_message = resources.limits.max_message;
        let config = *resources.deflate.config();
        let step = resources.deflate.step();
        let mut inflating = Inflating {
            message,
            max_message,
            config: &config,
        };
        inflater.feed(bytes, step, &mut inflating)?;
        if remaining != 0 || !self.flags.has(Flags::FIN) {
            message.inflater = Some(inflater);
            return Ok(None);
        }
        inflater.finish(step, &mut inflating)?;
        message.finish()?;
        if self.receives.takeover() {
            takeover.get_or_insert_default().inflater = Some(inflater);
        } else {
            resources.deflate.give_back(inflater);
        }
        Ok(self.complete(&mut resources.pool))
    }
}

/// A message with the limits on what it may inflate to.
struct Inflating<'a> {
    message: &'a mut Assembly,
    max_message: usize,
    config: &'a DeflateConfig,
}

impl Inflated for Inflating<'_> {
    type Refusal = ProtocolError;

    fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let len = self.message.len() + piece.len();
        if len > self.max_message {
            let limit = self.max_message;
            return Err(ProtocolError::MessageTooLarge { limit });
        }
        let limit = self.config.max_ratio;
        let ratio = usize::try_from(limit).unwrap_or(usize::MAX);
        if len > self.config.ratio_floor && len > self.message.wire.saturating_mul(ratio) {
            return Err(ProtocolError::RatioExceeded { limit });
        }
        self.message.append(piece, self.max_message - len)?;
        Ok(())
    }

    fn so_far(&self) -> &[u8] {
        self.message.bytes()
    }
}
