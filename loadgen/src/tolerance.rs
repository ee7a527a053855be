//! How many connections may fail before the run does.

use std::str::FromStr;

/// The bound on failed connections: those that did not open, and those that
/// ended before their time or without a close handshake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tolerance {
    /// So many.
    Count(u64),
    /// This share of the connections, from 0 to 1.
    Share(f64),
    /// Any number, as long as one opens at all.
    All,
}

impl Tolerance {
    /// Whether `failed` of `attempted` connections may have failed.
    pub(crate) fn allows(self, failed: u64, attempted: u64) -> bool {
        match self {
            Self::Count(most) => failed <= most,
            Self::Share(most) => failed as f64 <= most * attempted as f64,
            Self::All => true,
        }
    }
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no number of connections; write 10, 2.5% or all");
        if text == "all" {
            return Ok(Self::All);
        }
        match text.strip_suffix('%') {
            Some(percent) => percent
                .parse::<f64>()
                .ok()
                .filter(|percent| (0.0..=100.0).contains(percent))
                .map(|percent| Self::Share(percent / 100.0))
                .ok_or_else(wrong),
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_shares_and_all_are_read() {
        assert_eq!("3".parse(), Ok(Tolerance::Count(3)));
        assert_eq!("2.5%".parse(), Ok(Tolerance::Share(0.025)));
        assert_eq!("all".parse(), Ok(Tolerance::All));
        for bad in ["", "-1", "101%", "nan%", "%", "some", "1.5"] {
            assert!(bad.parse::<Tolerance>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn the_bound_itself_is_allowed() {
        assert!(Tolerance::Count(0).allows(0, 10));
        assert!(!Tolerance::Count(0).allows(1, 10));
        assert!(Tolerance::Share(0.1).allows(1, 10));
        assert!(!Tolerance::Share(0.1).allows(2, 10));
        assert!(Tolerance::All.allows(10, 10));
    }
}
