//! Filters: topics with wildcards, as in MQTT 5.0 section 4.7.

use super::options::MAX_TOPIC;

/// Levels of a filter at most.
pub const MAX_LEVELS: usize = 16;

/// `+` in a filter at most: so that a publication visits at most 9,401 places
/// of the tree of filters, whatever filters there are (on each of 16 levels the
/// ways to choose up to 4 of those before).
pub const MAX_SINGLES: usize = 4;

/// Separates levels.
const SEPARATOR: char = '/';

/// The level that stands for any one level.
pub(super) const SINGLE: &str = "+";

/// The last level that stands for all that follow, and for none.
pub(super) const REST: &str = "#";

/// Why a filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// It is empty.
    #[error("a filter has at least one character")]
    Empty,
    /// More bytes than [`MAX_TOPIC`].
    #[error("a filter has at most {MAX_TOPIC} bytes")]
    TooLong,
    /// More levels than [`MAX_LEVELS`].
    #[error("a filter has at most {MAX_LEVELS} levels")]
    TooDeep,
    /// More `+` than [`MAX_SINGLES`].
    #[error("a filter has at most {MAX_SINGLES} levels that are +")]
    TooWide,
    /// `+` or `#` beside other characters of its level, or `#` before the end.
    #[error("+ and # stand alone in their level, # in the last one")]
    Misplaced,
}

/// Checks a filter.
pub(super) fn check(filter: &str) -> Result<(), FilterError> {
    if filter.is_empty() {
        return Err(FilterError::Empty);
    }
    if filter.len() > MAX_TOPIC {
        return Err(FilterError::TooLong);
    }
    let (mut depth, mut singles, mut ended) = (0, 0, false);
    for level in levels(filter) {
        depth += 1;
        if ended || (level.len() > 1 && level.contains(['+', '#'])) {
            return Err(FilterError::Misplaced);
        }
        singles += usize::from(level == SINGLE);
        ended = level == REST;
    }
    if depth > MAX_LEVELS {
        return Err(FilterError::TooDeep);
    }
    if singles > MAX_SINGLES {
        return Err(FilterError::TooWide);
    }
    Ok(())
}

/// The levels of a topic or filter: at least one; they may be empty.
pub(super) fn levels(topic: &str) -> impl Iterator<Item = &str> + Clone {
    topic.split(SEPARATOR)
}

/// The first level.
pub(super) fn first_level(topic: &str) -> &str {
    levels(topic).next().unwrap_or_default()
}

/// Whether a filter that begins with a wildcard passes over it (MQTT 5.0
/// section 4.7.2): topics of the service itself, by custom.
pub(super) fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_alone_in_its_level_is_a_wildcard_and_all_else_is_refused() {
        for good in ["#", "+", "a", "a/+/b", "a/#", "/+", "+/", "//", "+/+/+/+/#"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["a+", "#a", "a/#/b", "a/b#", "++", "##", "a/+b/c", "#/"] {
            assert_eq!(check(bad), Err(FilterError::Misplaced), "{bad}");
        }
        assert_eq!(check(""), Err(FilterError::Empty));
        assert_eq!(check(&"a".repeat(MAX_TOPIC + 1)), Err(FilterError::TooLong));
        assert_eq!(check(&"/".repeat(MAX_LEVELS)), Err(FilterError::TooDeep));
        assert_eq!(check("+/+/+/+/+"), Err(FilterError::TooWide));
    }
}
