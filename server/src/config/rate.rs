//! How often something may be done.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// So many at once, and as many again in each span, evenly: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Rate {
    /// 0: there is no limit.
    count: u32,
    span: Duration,
}

/// It is no rate.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is no rate; write COUNT/DURATION such as \"100/10s\", of at most an hour, or \"off\""
)]
pub(crate) struct NoRate(String);

const MAX_SPAN: Duration = Duration::from_secs(3600);

impl Rate {
    pub(super) const fn new(count: u32, span: Duration) -> Self {
        Self { count, span }
    }

    /// How many at once; `None`: any number.
    pub(super) fn count(self) -> Option<u32> {
        (self.count > 0).then_some(self.count)
    }

    /// Nanoseconds that each takes, and that all at once take; `None`: there is
    /// no limit.
    pub(crate) fn nanos(self) -> Option<(u64, u64)> {
        let span = u64::try_from(self.span.as_nanos()).ok()?;
        let each = span.checked_div(u64::from(self.count))?;
        Some((each, span))
    }
}

impl TryFrom<String> for Rate {
    type Error = NoRate;

    fn try_from(text: String) -> Result<Self, NoRate> {
        if text == "off" {
            return Ok(Self::new(0, Duration::ZERO));
        }
        let parsed = text.split_once('/').and_then(|(count, span)| {
            let count = count.trim().parse().ok().filter(|count| *count > 0)?;
            let span = humantime::parse_duration(span.trim()).ok()?;
            let is_sound = !span.is_zero() && span <= MAX_SPAN;
            // Each takes a nanosecond at least.
            (is_sound && span.as_nanos() >= u128::from(count)).then_some(Self { count, span })
        });
        parsed.ok_or(NoRate(text))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("off");
        }
        let span = humantime::format_duration(self.span);
        write!(f, "{}/{span}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_in_a_span_or_none() {
        let rate = |text: &str| Rate::try_from(text.to_owned());
        assert_eq!(
            rate("100/10s").unwrap().nanos(),
            Some((100_000_000, 10_000_000_000))
        );
        assert_eq!(rate("off").unwrap().nanos(), None);
        for text in ["100 / 10s", "1/1h", "off"] {
            assert_eq!(rate(&rate(text).unwrap().to_string()), rate(text));
        }
        for wrong in [
            "", "10", "/1s", "0/1s", "-1/1s", "1/", "1/0s", "1/2h", "2/1ns", "on",
        ] {
            assert_eq!(rate(wrong), Err(NoRate(wrong.into())), "{wrong}");
        }
    }
}
