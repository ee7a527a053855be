//! The compressors and inflaters of a shard.

use crate::frame::{MAX_HEADER, encode_header, encode_message, mark_compressed};
use crate::message::Kind;

use super::compressor::without_tail;
use super::{Compressor, DeflateConfig, Inflater};

/// Inflate at most this much before looking at the limits again. It also is
/// how much is in the cache while it is validated and copied.
const STEP: usize = 16 << 10;

/// A compressed message stays here until it is copied to the output; after one
/// larger than this the memory is freed.
const MAX_RETAINED: usize = 256 << 10;

/// What the connections of a shard share to compress and inflate.
///
/// Everything is made when first needed: a compressor for each window size
/// that some peer without context takeover asked for (seven at most, usually
/// one), and inflaters, each lent for one message. A message that is not yet
/// complete keeps its inflater (about 45 KiB); the pool keeps
/// [`MAX_INFLATERS`](Self::MAX_INFLATERS) for the next ones.
#[derive(Debug)]
pub struct DeflatePool {
    config: DeflateConfig,
    /// For windows of 9 to 15 bits.
    compressors: [Option<Box<Compressor>>; 7],
    #[expect(clippy::vec_box, reason = "the boxes themselves are lent")]
    inflaters: Vec<Box<Inflater>>,
    /// Where messages are compressed to. Bytes in use are at its start; the
    /// rest is initialised room.
    compressed: Vec<u8>,
    /// One step of inflating.
    step: Vec<u8>,
}

impl DeflatePool {
    /// The most inflaters kept: within a turn messages complete one after the
    /// other, and reuse one.
    pub const MAX_INFLATERS: usize = 4;

    /// A pool that has allocated nothing yet.
    pub fn new(config: DeflateConfig) -> Self {
        Self {
            config: config.in_range(),
            compressors: [const { None }; 7],
            inflaters: Vec::new(),
            compressed: Vec::new(),
            step: Vec::new(),
        }
    }

    /// The settings, each in its range.
    pub fn config(&self) -> &DeflateConfig {
        &self.config
    }

    /// Compresses a message that refers to no other and to nothing beyond the
    /// window. Nothing if it does not shrink.
    pub(crate) fn compress_once(&mut self, payload: &[u8], window_bits: u8) -> Option<&[u8]> {
        // With its tail, of 4 bytes.
        let limit = payload.len() + 3;
        let used = self.compress_alone(payload, window_bits, limit)?;
        Some(without_tail(&self.compressed[..used]))
    }

    /// Compresses a fragment that refers to no other, flushed.
    pub(crate) fn compress_fragment(&mut self, payload: &[u8], window_bits: u8) -> &[u8] {
        let used = self
            .compress_alone(payload, window_bits, usize::MAX)
            .unwrap_or(0);
        &self.compressed[..used]
    }

    fn compress_alone(&mut self, payload: &[u8], window_bits: u8, limit: usize) -> Option<usize> {
        self.trim();
        let bits = window_bits.min(self.config.window_bits).clamp(9, 15);
        let slot = &mut self.compressors[usize::from(bits) - 9];
        if let Some(compressor) = slot {
            compressor.reset();
        }
        slot.get_or_insert_with(|| Box::new(Compressor::new(&self.config, bits)))
            .compress(payload, limit, &mut self.compressed)
    }

    /// Compresses with a connection's own compressor, flushed.
    pub(crate) fn compress_with(&mut self, compressor: &mut Compressor, payload: &[u8]) -> &[u8] {
        self.trim();
        let used = compressor
            .compress(payload, usize::MAX, &mut self.compressed)
            .unwrap_or(0);
        &self.compressed[..used]
    }

    fn trim(&mut self) {
        if self.compressed.capacity() > MAX_RETAINED {
            self.compressed = Vec::new();
        }
    }

    /// An inflater at the start of a stream.
    pub(crate) fn lend(&mut self) -> Box<Inflater> {
        match self.inflaters.pop() {
            Some(mut inflater) => {
                inflater.reset();
                inflater
            }
            None => Box::new(Inflater::new()),
        }
    }

    /// Takes an inflater back, or frees it if there are enough.
    pub(crate) fn give_back(&mut self, inflater: Box<Inflater>) {
        if self.inflaters.len() < Self::MAX_INFLATERS {
            self.inflaters.push(inflater);
        }
    }

    /// The buffer for one step of inflating.
    pub(crate) fn step(&mut self) -> &mut [u8] {
        if self.step.is_empty() {
            self.step = vec![0; STEP];
        }
        &mut self.step
    }
}

impl Default for DeflatePool {
    fn default() -> Self {
        Self::new(DeflateConfig::default())
    }
}

/// A whole message as one unmasked frame, compressed if it is large enough and
/// shrinks: for a broadcast, made once and queued to every subscriber that
/// [takes it](crate::Connection::takes_shared_deflate). It refers to no other
/// message.
pub fn encode_message_deflated(kind: Kind, payload: &[u8], pool: &mut DeflatePool) -> Vec<u8> {
    if payload.len() < pool.config.min_size {
        return encode_message(kind, payload);
    }
    let window_bits = pool.config.window_bits;
    let Some(compressed) = pool.compress_once(payload, window_bits) else {
        return encode_message(kind, payload);
    };
    let mut header = [0; MAX_HEADER];
    let used = encode_header(
        &mut header,
        true,
        kind.into(),
        compressed.len() as u64,
        None,
    );
    mark_compressed(&mut header);
    [&header[..used], compressed].concat()
}
