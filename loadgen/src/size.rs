//! Message sizes: one, or a range.

use std::fmt;
use std::str::FromStr;

use crate::random::mix;

/// The largest payload the generator sends, in bytes: it verifies messages
/// whole, so this bounds the memory of one connection.
pub(crate) const MAX_SIZE: usize = 64 << 20;

/// Payload sizes in bytes, `min..=max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    min: usize,
    max: usize,
}

impl Sizes {
    /// Of runs that send no messages.
    pub(crate) const NONE: Self = Self { min: 0, max: 0 };

    /// The smallest payload.
    pub(crate) fn min(self) -> usize {
        self.min
    }

    /// The largest payload.
    pub(crate) fn max(self) -> usize {
        self.max
    }

    /// The size of the message with this seed, uniform over the range.
    pub(crate) fn pick(self, seed: u64) -> usize {
        if self.min == self.max {
            return self.min;
        }
        let span = self.max as u128 - self.min as u128 + 1;
        let scaled = (u128::from(mix(!seed)) * span) >> 64;
        self.min + usize::try_from(scaled).unwrap_or(0)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}..{}", self.min, self.max)
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let (min, max) = (bytes(min)?, bytes(max)?);
        if min > max {
            return Err(format!("{min} is more than {max}; write MIN..MAX"));
        }
        if max > MAX_SIZE {
            return Err(format!("{max} bytes is more than the limit of {MAX_SIZE}"));
        }
        Ok(Self { min, max })
    }
}

/// A number of bytes, with an optional binary suffix: `20`, `16k`, `1M`.
fn bytes(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("'{text}' is not a size; write bytes, 16k, 1M or MIN..MAX"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_suffixes_and_ranges() {
        assert_eq!("20".parse(), Ok(Sizes { min: 20, max: 20 }));
        assert_eq!(
            "16k".parse(),
            Ok(Sizes {
                min: 16_384,
                max: 16_384
            })
        );
        assert_eq!(
            "0..1M".parse(),
            Ok(Sizes {
                min: 0,
                max: 1 << 20
            })
        );
        for bad in [
            "",
            "k",
            "-1",
            "5..2",
            "x",
            "1..2..3",
            "65M",
            "99999999999999999999k",
        ] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn picks_cover_the_whole_range_and_nothing_else() {
        let sizes: Sizes = "3..6".parse().unwrap();
        let mut seen = [0_u32; 10];
        for seed in 0..4000 {
            seen[sizes.pick(seed)] += 1;
        }
        assert!(seen[3..=6].iter().all(|&count| count > 800), "{seen:?}");
        assert_eq!(seen[3..=6].iter().sum::<u32>(), 4000);
    }

    #[test]
    fn a_single_size_is_always_that_size() {
        let sizes: Sizes = "20".parse().unwrap();
        assert!((0..100).all(|seed| sizes.pick(seed) == 20));
    }
}
