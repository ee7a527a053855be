//! Two times: `100ms..5s`.

use std::str::FromStr;

use hioload_platform::Nanos;

use super::duration;
use crate::spread::Spread;

/// From one time to another that is not shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Nanos,
    pub(super) to: Nanos,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once("..")
            .ok_or_else(|| format!("'{text}' is not two times; write 100ms..5s"))?;
        let (from, to) = (duration(from)?, duration(to)?);
        if from > to {
            return Err(format!("'{text}': the first time is the longer one"));
        }
        Ok(Self { from, to })
    }
}

/// A time that varies: two times between which it lies, or its mean.
pub(super) fn spread(text: &str) -> Result<Spread, String> {
    if text.contains("..") {
        let Span { from, to } = text.parse()?;
        return Ok(Spread::Uniform { from, to });
    }
    duration(text).map(|mean| Spread::Exponential { mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let span = Span {
            from: 100_000_000,
            to: 5_000_000_000,
        };
        assert_eq!("100ms..5s".parse(), Ok(span));
        for bad in ["5s", "5s..1s", "1..2", "..", "1s..x"] {
            assert!(bad.parse::<Span>().is_err(), "{bad} was accepted");
        }
    }
}
