//! Close codes and reasons (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

/// A status code of a Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a server stops, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of data that is not accepted here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The Close frame carried no code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// The transport ended without a Close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// The data did not match its kind: text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A message violated a policy.
    pub const POLICY: Self = Self(1008);
    /// A message was too big.
    pub const TOO_BIG: Self = Self(1009);
    /// The server met a condition that it did not expect.
    pub const INTERNAL: Self = Self(1011);
    /// The server is overloaded; the client may try again later.
    pub const TRY_AGAIN: Self = Self(1013);

    /// Whether the code may stand in a Close frame: 1000 to 1003, 1007 to 1014
    /// (RFC 6455 section 7.4.1 and the IANA registry), 3000 to 4999.
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reason in a Close frame: at most [`CloseReason::MAX`] bytes of UTF-8,
/// stored inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CloseReason {
    /// Bytes in use; the rest of `bytes` is zero.
    len: u8,
    bytes: [u8; Self::MAX],
}

impl CloseReason {
    /// What a control frame (125 bytes) leaves beside the code.
    pub const MAX: usize = 123;

    /// No reason.
    pub const fn empty() -> Self {
        Self {
            len: 0,
            bytes: [0; Self::MAX],
        }
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        // Only whole `str`s, cut at a char boundary, are ever stored.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// The number of bytes.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no reason.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl From<&str> for CloseReason {
    /// Cuts the text at the last char boundary that fits.
    fn from(text: &str) -> Self {
        let mut reason = Self::empty();
        reason.append(text);
        reason
    }
}

impl CloseReason {
    /// Appends what fits; returns whether that was all of it.
    fn append(&mut self, text: &str) -> bool {
        let at = usize::from(self.len);
        let fits = text.floor_char_boundary(Self::MAX - at);
        self.bytes[at..at + fits].copy_from_slice(&text.as_bytes()[..fits]);
        #[expect(clippy::cast_possible_truncation, reason = "at most 123")]
        {
            self.len += fits as u8;
        }
        fits == text.len()
    }
}

impl Default for CloseReason {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Write for CloseReason {
    /// Fails once the text no longer fits; what fitted is kept.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.append(text) {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_codes_of_rfc_6455_may_be_sent() {
        let sendable = |code: u16| CloseCode(code).is_sendable();
        for code in [
            1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999,
        ] {
            assert!(sendable(code), "{code}");
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            assert!(!sendable(code), "{code}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "é".repeat(100);
        let reason = CloseReason::from(&long[..]);
        assert_eq!(reason.as_str(), "é".repeat(61));
        assert_eq!(reason.len(), 122);
        assert_eq!(CloseReason::from("short").as_str(), "short");
        assert!(CloseReason::default().is_empty());
    }
}
