//! What the two processes say: one line of text per packet, and one line for
//! each descriptor that comes with it.

use super::{HandOverError, MOST_LISTENERS};

/// The first words of every packet.
const NAME: &str = "hioload-hand-over 1";

/// Descriptors in one packet; the kernel takes 253 (`SCM_MAX_FD`).
pub(super) const PER_PACKET: usize = 64;

/// The longest packet: a first line, and `plain` for each descriptor.
pub(super) const LONGEST: usize = 64 + 8 * PER_PACKET;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The successor asks for the listeners.
    Take,
    /// Some of them, in the order of their descriptors; `true`: with TLS.
    Listeners {
        tls: Vec<bool>,
        /// Those in later packets.
        left: usize,
    },
    /// The successor accepts.
    Accepting,
    /// The predecessor does not any more.
    Draining,
}

impl Packet {
    pub(super) fn write(&self) -> String {
        match self {
            Self::Take => format!("{NAME} take\n"),
            Self::Listeners { tls, left } => {
                let mut text = format!("{NAME} listeners {left}\n");
                let kinds = tls.iter().map(|&tls| if tls { "tls\n" } else { "plain\n" });
                text.extend(kinds);
                text
            }
            Self::Accepting => format!("{NAME} accepting\n"),
            Self::Draining => format!("{NAME} draining\n"),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, HandOverError> {
        let fault = || HandOverError::Protocol {
            what: format!(
                "{:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(64)])
            ),
        };
        let text = std::str::from_utf8(bytes).map_err(|_not_text| fault())?;
        let text = text.strip_suffix('\n').ok_or_else(fault)?;
        let mut lines = text.split('\n');
        let words = lines.next().and_then(|line| line.strip_prefix(NAME));
        let words = words.and_then(|words| words.strip_prefix(' '));
        let packet = match words.ok_or_else(fault)? {
            "take" => Self::Take,
            "accepting" => Self::Accepting,
            "draining" => Self::Draining,
            words => {
                let left = words.strip_prefix("listeners ").ok_or_else(fault)?;
                let left: usize = left.parse().map_err(|_no_number| fault())?;
                let kind = |line: &str| match line {
                    "plain" => Ok(false),
                    "tls" => Ok(true),
                    _ => Err(fault()),
                };
                let tls: Vec<bool> = lines.by_ref().map(kind).collect::<Result<_, _>>()?;
                if tls.is_empty() || tls.len() > PER_PACKET || left > MOST_LISTENERS {
                    return Err(fault());
                }
                Self::Listeners { tls, left }
            }
        };
        match lines.next() {
            None => Ok(packet),
            Some(_more) => Err(fault()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_were_written() {
        let most = Packet::Listeners {
            tls: vec![false; PER_PACKET],
            left: MOST_LISTENERS,
        };
        for packet in [
            Packet::Take,
            Packet::Accepting,
            Packet::Draining,
            Packet::Listeners {
                tls: vec![true, false],
                left: 7,
            },
            most,
        ] {
            let text = packet.write();
            assert!(text.len() <= LONGEST);
            assert_eq!(Packet::read(text.as_bytes()).unwrap(), packet);
        }
    }

    #[test]
    fn anything_else_is_refused_and_quoted() {
        let many = format!("{NAME} listeners 0\n{}", "tls\n".repeat(PER_PACKET + 1));
        let far = format!("{NAME} listeners {}\ntls\n", MOST_LISTENERS + 1);
        for bytes in [
            &b""[..],
            b"\n",
            b"\xff\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"hioload-hand-over 2 take\n",
            b"hioload-hand-over 1 take",
            b"hioload-hand-over 1 take\nplain\n",
            b"hioload-hand-over 1 takes\n",
            b"hioload-hand-over 1 listeners 0\n",
            b"hioload-hand-over 1 listeners -1\ntls\n",
            b"hioload-hand-over 1 listeners 0\nTLS\n",
            many.as_bytes(),
            far.as_bytes(),
        ] {
            let refused = Packet::read(bytes).unwrap_err();
            assert!(
                matches!(refused, HandOverError::Protocol { .. }),
                "{refused}"
            );
        }
        let error = Packet::read(b"hioload-hand-over 2 take\n").unwrap_err();
        assert!(error.to_string().contains("hand-over 2 take"), "{error}");
    }
}
