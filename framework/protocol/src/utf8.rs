//! Incremental UTF-8 validation (RFC 3629) for text that arrives in pieces.

use thiserror::Error;

/// The text is not valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("invalid UTF-8")]
pub struct InvalidUtf8;

/// Up to this many bytes, looking for ASCII first costs less than it saves:
/// below 64, SIMD validation leaves the work to the standard library.
const SHORT: usize = 64;

/// Whether this is ASCII and short; what is not needs validation.
// A call of its own is as long as the check of a short text.
#[inline(always)]
pub(crate) fn is_short_ascii(text: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    if text.len() > SHORT {
        return false;
    }
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().fold(0, |seen, byte| seen | byte) < 0x80;
    };
    let (words, _) = text.as_chunks::<8>();
    let seen = words.iter().fold(u64::from_ne_bytes(*last), |seen, word| {
        seen | u64::from_ne_bytes(*word)
    });
    seen & HIGH_BITS == 0
}

/// Validates text fed in pieces cut anywhere, also inside a code point.
///
/// A piece is refused when it contains the earliest byte after which no
/// continuation could make the text valid: `F4 90` fails at the `90`, although
/// two more bytes of that code point are still to come.
///
/// Pieces go through SIMD validation whole; only the bytes of a code point cut
/// by the end of a piece, at most three, are carried over.
#[derive(Clone, Debug, Default)]
pub struct Utf8 {
    carried: [u8; 4],
    /// Bytes in `carried`: a valid start of a code point, 0..=3 between calls.
    len: u8,
}

impl Utf8 {
    /// A validator at the start of a text.
    pub const fn new() -> Self {
        Self {
            carried: [0; 4],
            len: 0,
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the text can no longer become valid. The validator is then of no
    /// further use.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let piece = if self.len == 0 {
            piece
        } else {
            self.complete(piece)?
        };
        let (whole, cut) = piece.split_at(piece.len() - cut_code_point(piece));
        simdutf8::basic::from_utf8(whole).map_err(|_| InvalidUtf8)?;
        self.carry(cut)
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    /// When the last code point is incomplete.
    pub fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.len == 0 {
            Ok(())
        } else {
            Err(InvalidUtf8)
        }
    }

    /// Completes the carried code point with the first bytes of `piece` and
    /// returns the rest.
    #[cold]
    fn complete<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        for (i, &byte) in piece.iter().enumerate() {
            let len = usize::from(self.len);
            self.carried[len] = byte;
            self.len += 1;
            match prefix(&self.carried[..=len])? {
                Prefix::Whole => {
                    self.len = 0;
                    return Ok(&piece[i + 1..]);
                }
                Prefix::Cut => {}
            }
        }
        Ok(&[])
    }

    fn carry(&mut self, cut: &[u8]) -> Result<(), InvalidUtf8> {
        if cut.is_empty() {
            return Ok(());
        }
        prefix(cut)?;
        self.carried[..cut.len()].copy_from_slice(cut);
        #[expect(clippy::cast_possible_truncation, reason = "at most 3")]
        {
            self.len = cut.len() as u8;
        }
        Ok(())
    }
}

enum Prefix {
    Whole,
    Cut,
}

/// Classifies at most four bytes that start at a code point's first byte.
fn prefix(bytes: &[u8]) -> Result<Prefix, InvalidUtf8> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(Prefix::Whole),
        // No error length: the bytes are a valid start and only their end is missing.
        Err(error) if error.error_len().is_none() => Ok(Prefix::Cut),
        Err(_) => Err(InvalidUtf8),
    }
}

/// How many bytes at the end of `piece` begin a code point that is longer than
/// what is there: 0..=3. They may still be no valid beginning.
fn cut_code_point(piece: &[u8]) -> usize {
    for (i, byte) in piece.iter().rev().take(3).enumerate() {
        let width = match byte {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            0x00..=0x7F => 1,
        };
        return if width > i + 1 { i + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number of bytes after which feeding one byte at a time fails.
    fn fails_after(text: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::new();
        text.iter()
            .position(|&byte| utf8.feed(&[byte]).is_err())
            .map(|at| at + 1)
    }

    #[test]
    fn no_byte_of_a_short_text_is_overlooked() {
        for len in 0..=SHORT {
            let mut text = vec![0x7F; len];
            assert!(is_short_ascii(&text));
            for at in 0..len {
                text[at] = 0x80;
                assert!(!is_short_ascii(&text), "{at} of {len}");
                text[at] = 0x7F;
            }
        }
        assert!(!is_short_ascii(&[0x7F; SHORT + 1]));
    }

    #[test]
    fn fails_at_the_first_byte_that_makes_the_text_invalid() {
        let table: [(&[u8], Option<usize>); 12] = [
            (b"plain", None),
            ("κόσμε \u{10FFFF}".as_bytes(), None),
            (b"\xF4\x90\x80\x80", Some(2)),
            (b"\xED\xA0\x80", Some(2)),
            (b"\xE0\x80\x80", Some(2)),
            (b"\xF0\x80\x80\x80", Some(2)),
            (b"\xC0\xAF", Some(1)),
            (b"\xF5\x80\x80\x80", Some(1)),
            (b"\xFF", Some(1)),
            (b"ab\x80", Some(3)),
            (b"\xCE\xBA\xCE\xCE", Some(4)),
            (b"\xF0\x9F\x98A", Some(4)),
        ];
        for (text, expected) in table {
            assert_eq!(fails_after(text), expected, "{text:x?}");
            if let Some(at) = expected {
                assert!(
                    Utf8::new().feed(&text[..at]).is_err(),
                    "{text:x?} in one piece"
                );
                assert!(
                    Utf8::new().feed(&text[..at - 1]).is_ok(),
                    "{text:x?} before it"
                );
            }
        }
    }

    #[test]
    fn an_incomplete_end_is_refused() {
        for text in [&b"\xC3"[..], b"\xE2\x82", b"\xF0\x9F\x98"] {
            let mut utf8 = Utf8::new();
            utf8.feed(text).unwrap();
            assert_eq!(utf8.finish(), Err(InvalidUtf8));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library_however_the_text_is_cut(
            text in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                ".{0,40}".prop_map(String::into_bytes),
                (".{0,20}", any::<u8>(), ".{0,5}").prop_map(|(a, b, c)| {
                    [a.as_bytes(), &[b], c.as_bytes()].concat()
                }),
            ],
            cuts in proptest::collection::vec(1usize..8, 1..20),
        ) {
            let mut utf8 = Utf8::new();
            let mut rest = &text[..];
            let mut failed = false;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                if utf8.feed(piece).is_err() { failed = true; break; }
            }
            let valid = !failed && utf8.finish().is_ok();
            prop_assert_eq!(valid, std::str::from_utf8(&text).is_ok());
        }
    }
}
