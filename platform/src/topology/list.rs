//! Lists of CPUs as the kernel and people write them: `0-3,8`.

use std::collections::HashSet;

use thiserror::Error;

/// The most CPUs a list may name: beyond any Linux (`NR_CPUS` is at most 8192).
const MOST: usize = 1 << 16;

/// A list of CPUs is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListError {
    /// A part is neither a number nor a range.
    #[error("{part:?} is neither a CPU nor a range of them; write a list such as 0-3,8")]
    Malformed {
        /// The part between two commas.
        part: String,
    },
    /// A range ends before it begins.
    #[error("the range {part:?} ends before it begins")]
    Descending {
        /// The range.
        part: String,
    },
    /// A number no machine has.
    #[error("there is no CPU {cpu}; the highest number possible is {}", MOST - 1)]
    TooHigh {
        /// The number.
        cpu: usize,
    },
    /// A CPU is named twice.
    #[error("CPU {cpu} is in the list twice")]
    Twice {
        /// Which.
        cpu: usize,
    },
}

/// Parses a list such as `0-3,8,10-11`, in the order written. Nothing but white
/// space is the empty list.
///
/// # Errors
/// Names the first part that is wrong, or the first CPU that comes twice.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, ListError> {
    let text = text.trim();
    let mut cpus = Vec::new();
    if text.is_empty() {
        return Ok(cpus);
    }
    let mut seen = HashSet::new();
    for part in text.split(',') {
        let (first, last) = range(part)?;
        for cpu in first..=last {
            if !seen.insert(cpu) {
                return Err(ListError::Twice { cpu });
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn range(part: &str) -> Result<(usize, usize), ListError> {
    let number = |text: &str| {
        text.trim()
            .parse::<usize>()
            .map_err(|_not_a_number| ListError::Malformed { part: part.into() })
    };
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (number(first)?, number(last)?);
    if last >= MOST {
        return Err(ListError::TooHigh { cpu: last });
    }
    if first > last {
        return Err(ListError::Descending { part: part.into() });
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_parse_in_their_order() {
        for (text, cpus) in [
            ("0-3,8,10-11\n", &[0, 1, 2, 3, 8, 10, 11][..]),
            ("0\n", &[0]),
            (" 8, 2-3 ", &[8, 2, 3]),
            ("\n", &[]),
        ] {
            assert_eq!(parse_cpus(text).expect(text), cpus);
        }
    }

    #[test]
    fn a_wrong_list_says_which_part_is_wrong() {
        for (text, words) in [
            ("3-1", "\"3-1\" ends before"),
            ("a", "\"a\" is neither"),
            ("1-", "\"1-\""),
            ("-1", "\"-1\""),
            ("1,,2", "\"\""),
            ("1,", "\"\""),
            ("1,x", "\"x\""),
            ("0-99999999", "no CPU 99999999"),
            ("99999999999999999999999", "neither"),
            ("0-3,2", "CPU 2 is in the list twice"),
        ] {
            let error = parse_cpus(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
