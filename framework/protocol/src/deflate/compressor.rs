//! Compressing messages.

use std::fmt;

use zlib_rs::{Deflate, DeflateFlush};

use super::{DeflateConfig, TAIL};

/// One deflate stream.
pub(crate) struct Compressor {
    stream: Deflate,
}

/// The most bytes of a block without compression (RFC 1951 section 3.2.4).
const MAX_STORED: usize = 0xFFFF;

/// Room below which the output grows: a flush marker takes 6 bytes, and zlib
/// would repeat one that does not fit.
const MIN_ROOM: usize = 64;

impl Compressor {
    /// `config` is in range; `window_bits` is 9 to 15.
    pub(crate) fn new(config: &DeflateConfig, window_bits: u8) -> Self {
        let config = zlib_rs::DeflateConfig {
            level: config.level.into(),
            mem_level: config.mem_level.into(),
            // Negative: a raw stream, without a zlib header.
            window_bits: -i32::from(window_bits.clamp(9, 15)),
            ..zlib_rs::DeflateConfig::default()
        };
        Self {
            stream: Deflate::new_with_config(config),
        }
    }

    /// Forgets what was compressed before.
    pub(crate) fn reset(&mut self) {
        self.stream.reset();
    }

    /// Compresses `input` and flushes. Returns the number of bytes written to
    /// the start of `out`, or nothing if there are more than `limit`; then the
    /// compressor must be reset. `out` grows as needed and does not shrink.
    pub(crate) fn compress(
        &mut self,
        mut input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let whole = input;
        let mut used = 0;
        loop {
            if out.len() - used < MIN_ROOM {
                let room = (input.len() / 2).max(out.len()).clamp(1 << 10, 1 << 18);
                out.resize(out.len() + room, 0);
            }
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let compressed = self
                .stream
                .compress(input, &mut out[used..], DeflateFlush::SyncFlush);
            if compressed.is_err() {
                debug_assert!(false, "{compressed:?} of a valid stream");
                self.reset();
                return Some(store(whole, out)).filter(|&used| used <= limit);
            }
            input = &input[advance(before_in, self.stream.total_in())..];
            used += advance(before_out, self.stream.total_out());
            if used > limit {
                return None;
            }
            if used < out.len() {
                debug_assert!(input.is_empty(), "zlib stops early only for want of room");
                return Some(used);
            }
        }
    }
}

fn advance(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

/// What goes on the wire of a flushed message: all but the tail, and at least
/// one byte (RFC 7692 sections 7.2.1 and 7.2.3.6).
pub(crate) fn without_tail(flushed: &[u8]) -> &[u8] {
    match flushed.strip_suffix(&TAIL) {
        Some([]) | None => &[0],
        Some(rest) => rest,
    }
}

/// Writes `input` as blocks without compression, flushed. Returns the number
/// of bytes.
fn store(input: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    for block in input.chunks(MAX_STORED).chain([&[][..]]) {
        #[expect(clippy::cast_possible_truncation, reason = "a chunk of 65,535 at most")]
        let len = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.len()
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(flushed: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 << 20);
        flate2::Decompress::new(false)
            .decompress_vec(flushed, &mut out, flate2::FlushDecompress::Sync)
            .unwrap();
        out
    }

    #[test]
    fn every_level_memory_and_window_ends_with_the_tail_and_inflates() {
        let text: Vec<u8> = (0..20_000u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        for level in 0..=9 {
            for mem_level in [1, 4, 8, 9] {
                for window_bits in 9..=15 {
                    let config = DeflateConfig {
                        level,
                        mem_level,
                        ..DeflateConfig::default()
                    };
                    let mut compressor = Compressor::new(&config, window_bits);
                    let mut out = Vec::new();
                    for len in [1, 2, 100, 1024, 5000] {
                        compressor.reset();
                        let used = compressor
                            .compress(&text[..len], usize::MAX, &mut out)
                            .unwrap();
                        assert_eq!(out[used - 4..used], TAIL);
                        assert_eq!(inflate(&out[..used]), text[..len]);
                    }
                }
            }
        }
    }

    #[test]
    fn output_that_exactly_fills_the_buffer_is_complete() {
        let config = DeflateConfig::default();
        let input: Vec<u8> = (0..3000u32)
            .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2])
            .collect();
        for len in 900..1100 {
            let mut out = Vec::new();
            let mut compressor = Compressor::new(&config, 15);
            let used = compressor
                .compress(&input[..len], usize::MAX, &mut out)
                .unwrap();
            assert_eq!(inflate(&out[..used]), input[..len], "{len}");
        }
    }

    #[test]
    fn stored_blocks_inflate_and_end_with_the_tail() {
        for len in [0, 1, 65_535, 65_536, 200_000] {
            let input = vec![7; len];
            let mut out = Vec::new();
            let used = store(&input, &mut out);
            assert_eq!(out[used - 4..used], TAIL);
            assert_eq!(inflate(&out[..used]), input);
        }
    }

    #[test]
    fn a_message_is_never_empty_on_the_wire() {
        assert_eq!(without_tail(&[]), [0]);
        assert_eq!(without_tail(&TAIL), [0]);
        assert_eq!(without_tail(&[1, 0, 0, 0xFF, 0xFF]), [1]);
    }
}
