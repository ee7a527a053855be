//! What this endpoint wants of permessage-deflate.

/// Who compresses, and whether messages refer to earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeflateMode {
    /// The compressors of the shard, reset before each message, and no context
    /// takeover in either direction: a connection holds nothing between
    /// messages, and a broadcast is compressed once.
    Shared,
    /// A compressor and an inflater of its own for each connection that has
    /// sent or received a compressed message, with context takeover unless the
    /// peer declines it. Similar messages shrink much further, and a broadcast
    /// is compressed for each. It costs a connection 315 KiB to compress
    /// (140 KiB with the least memory and window) and 46 KiB to inflate.
    Dedicated,
}

/// The settings of permessage-deflate. Numbers out of their range count as the
/// nearest one in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateConfig {
    /// Who compresses.
    pub mode: DeflateMode,
    /// 0 (store) to 9 (smallest).
    pub level: u8,
    /// Memory for the symbols of a block, 1 to 9: 2^(level + 9) bytes or so.
    /// Less makes shorter blocks, each with code tables of its own.
    pub mem_level: u8,
    /// The window to compress with, 9 to 15: 2^bits bytes. A peer that asks for
    /// less gets less.
    pub window_bits: u8,
    /// The window that the peer is asked to compress with, 8 to 15. Less saves
    /// memory of the peer's only: an inflater of `zlib-rs` always takes 32 KiB.
    pub peer_window_bits: u8,
    /// Messages of fewer bytes are sent uncompressed.
    pub min_size: usize,
    /// The most bytes that a received message may inflate to, for each of its
    /// bytes on the wire. It bounds the work that little data can cause;
    /// memory is bounded by [`Limits::max_message`](crate::Limits::max_message).
    pub max_ratio: u32,
    /// The inflated bytes of a message below which `max_ratio` does not apply.
    pub ratio_floor: usize,
}

impl DeflateConfig {
    /// The same with every number in its range.
    pub(crate) fn in_range(mut self) -> Self {
        self.level = self.level.min(9);
        self.mem_level = self.mem_level.clamp(1, 9);
        self.window_bits = self.window_bits.clamp(9, 15);
        self.peer_window_bits = self.peer_window_bits.clamp(8, 15);
        self
    }
}

impl Default for DeflateConfig {
    /// Chosen on JSON-like chat messages. Shared, level 1, on one core: a
    /// message of 1 KiB takes 298 bytes on the wire and 14 microseconds, of
    /// which 10 clear the tables that an earlier message left (128 KiB in
    /// `zlib-rs`); level 2 takes 236 bytes and 20 microseconds, level 6 no
    /// fewer bytes. A message of 128 bytes shrinks by 8 of them, one of 256 by
    /// 108, hence the minimum. Dedicated, messages of 32 bytes already shrink
    /// to 14, and 1 KiB to 64 in less than a microsecond.
    ///
    /// A ratio of 200 is beyond text and below what deflate can do (1032); up
    /// to the floor of 1 MiB, inflating takes about a millisecond.
    fn default() -> Self {
        Self {
            mode: DeflateMode::Shared,
            level: 1,
            mem_level: 8,
            window_bits: 15,
            peer_window_bits: 15,
            min_size: 256,
            max_ratio: 200,
            ratio_floor: 1 << 20,
        }
    }
}
