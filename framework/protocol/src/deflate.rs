//! permessage-deflate (RFC 7692): compressed messages.
//!
//! - [`DeflateConfig`]: what this endpoint wants and what it costs.
//! - [`DeflateParams`]: what both ends agreed on in the handshake.
//! - [`DeflatePool`]: the compressors and inflaters of a shard, lent to the
//!   connections that keep none of their own.
//!
//! # What zlib cannot do
//! No zlib can compress into a window of 8 bits (256 bytes); all can inflate
//! one. An offer that demands it of a server is declined. A client of which a
//! server demands it agrees and sends its messages uncompressed, which RFC 7692
//! section 6 allows for any message.
//!
//! A message may hold a block marked as the last of its stream (section
//! 7.2.3.4). The inflater then starts a new stream, primed with what this
//! message inflated to so far. What came in earlier messages is forgotten: no
//! zlib can go on with its own window after such a block either, so no peer
//! that produces one refers further back.

mod compressor;
mod config;
mod inflater;
mod negotiation;
mod params;
mod pool;

pub use config::{DeflateConfig, DeflateMode};
pub use params::DeflateParams;
pub use pool::{DeflatePool, encode_message_deflated};

pub(crate) use compressor::{Compressor, without_tail};
pub(crate) use inflater::{Corrupt, Inflated, Inflater};
pub(crate) use negotiation::{Offer, Unacceptable, answer, offers};
pub(crate) use params::Side;

/// What ends a flushed stream, and is left out on the wire (RFC 7692 section
/// 7.2.1): the lengths of an empty block without compression.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
