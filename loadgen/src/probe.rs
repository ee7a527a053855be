//! One message that a fresh connection sends and expects back to the byte.

use hioload_protocol::Kind;

use crate::payload::{Codec, Corruption, Stamp};
use crate::random::message_seed;
use crate::settings::Settings;
use crate::size::Sizes;

/// Writes and verifies the only message of a connection.
#[derive(Debug)]
pub(crate) struct Probe {
    run: u32,
    codec: Codec,
    sizes: Sizes,
    payload: Vec<u8>,
}

/// What came instead of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A message of another run.
    Foreign,
    /// Other bytes, another length or another kind.
    Corrupted,
}

impl Probe {
    /// The messages of a run.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            run: settings.run,
            codec: Codec::new(settings.run, settings.kind),
            sizes: settings.sizes,
            payload: Vec::with_capacity(settings.sizes.max()),
        }
    }

    /// Text or binary.
    pub(crate) fn kind(&self) -> Kind {
        self.codec.kind()
    }

    /// The message with this stamp; it carries the stamp if it has room.
    pub(crate) fn message(&mut self, stamp: &Stamp) -> &[u8] {
        let seed = message_seed(self.run, stamp.sender, stamp.sequence);
        let len = self.sizes.pick(seed);
        self.codec.write(stamp, len, &mut self.payload);
        &self.payload
    }

    /// Whether this is the message with that stamp.
    ///
    /// # Errors
    /// What it is instead.
    pub(crate) fn verify(
        &mut self,
        stamp: &Stamp,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), Wrong> {
        if kind == self.kind() && self.message(stamp) == payload {
            Ok(())
        } else if self.codec.read(payload) == Err(Corruption::Foreign) {
            Err(Wrong::Foreign)
        } else {
            Err(Wrong::Corrupted)
        }
    }
}
