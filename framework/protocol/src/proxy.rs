//! The PROXY protocol, version 2 (HAProxy's `proxy-protocol.txt`, section 2.2):
//! what a proxy says of the client before the client's own bytes.
//!
//! Only the receiving side, and only version 2. A header is believed by whoever
//! trusts its sender; this module does not know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// What every header begins with. No other protocol that is spoken here does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family, and the length of the rest.
const FIXED: usize = 16;

/// Bytes of a header at most: 16, and 4 KiB of addresses and TLVs. Proxies send
/// up to a few hundred, with a client's certificate names.
pub const MAX_HEADER: usize = FIXED + 4096;

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes; what follows is the client's.
    pub len: usize,
    /// The client. `None`: the proxy speaks for itself (`LOCAL`: a health
    /// check), or the client has no address of the Internet (`UNSPEC`, `UNIX`,
    /// datagrams); then the connection's own address is all there is.
    pub client: Option<SocketAddr>,
}

/// The bytes are no header that is accepted here. The connection must be
/// closed: what follows can not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Something else came first.
    #[error("no PROXY header; set the proxy to send version 2, or do not expect it")]
    Missing,
    /// The text form of version 1.
    #[error("a PROXY header of version 1; set the proxy to send version 2")]
    Version1,
    /// A version, command, family or length that the specification does not
    /// have.
    #[error("a malformed PROXY header: a fault of the proxy")]
    Malformed,
    /// More than [`MAX_HEADER`].
    #[error("a PROXY header above {MAX_HEADER} bytes; have the proxy send fewer TLVs")]
    TooLong,
    /// It did not arrive in time; for those who watch the time.
    #[error("no complete PROXY header in time")]
    Timeout,
}

impl ProxyError {
    /// All, in the order of the variants.
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::Version1,
        Self::Malformed,
        Self::TooLong,
        Self::Timeout,
    ];

    /// A name for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Version1 => "version_1",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Timeout => "timeout",
        }
    }
}

/// Reads a header at the start of `bytes`; `None` while it is not complete.
/// What can not become one is refused at its first wrong byte.
///
/// # Errors
/// What came is not accepted; never [`ProxyError::Timeout`].
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let signature = bytes.len().min(SIGNATURE.len());
    if bytes[..signature] != SIGNATURE[..signature] {
        let text = b"PROXY ";
        return match bytes.len() {
            _ if bytes.starts_with(text) => Err(ProxyError::Version1),
            _ if text.starts_with(bytes) => Ok(None),
            _ => Err(ProxyError::Missing),
        };
    }
    let Some(&version_and_command) = bytes.get(SIGNATURE.len()) else {
        return Ok(None);
    };
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Malformed),
    };
    let Some(&[family, high, low]) = bytes.get(SIGNATURE.len() + 1..FIXED) else {
        return Ok(None);
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED + rest;
    if len > MAX_HEADER {
        return Err(ProxyError::TooLong);
    }
    // A complete address, or a header that can never have one.
    let least = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(ProxyError::Malformed),
    };
    if rest < least {
        return Err(ProxyError::Malformed);
    }
    let Some(block) = bytes.get(FIXED..len) else {
        return Ok(None);
    };
    let client = match family {
        _ if is_local => None,
        0x11 => {
            let [a, b, c, d] = array(block, 0);
            Some((IpAddr::from([a, b, c, d]), array(block, 8)))
        }
        0x21 => Some((IpAddr::from(array::<16>(block, 0)), array(block, 32))),
        _ => None,
    };
    let client = client.map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes(port)));
    Ok(Some(Header { len, client }))
}

/// `N` bytes from `at` on, which are there.
fn array<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&block[at..at + N]);
    out
}

/// Appends the header a proxy would send for a client, `None` for itself: for
/// tests and load generators. `to` is the address the client dialled; its
/// family is the client's, or the header says nothing of addresses.
pub fn write(client: Option<SocketAddr>, to: SocketAddr, out: &mut Vec<u8>) {
    let mut block = Vec::new();
    let mut put = |addresses: [&[u8]; 2], ports: [u16; 2]| {
        block.extend(addresses.concat());
        block.extend(ports.map(u16::to_be_bytes).concat());
    };
    let (command, family) = match (client, to) {
        (None, _) => (0x20, 0x00),
        (Some(SocketAddr::V4(from)), SocketAddr::V4(to)) => {
            let octets: [[u8; 4]; 2] = [from.ip(), to.ip()].map(Ipv4Addr::octets);
            put([&octets[0], &octets[1]], [from.port(), to.port()]);
            (0x21, 0x11)
        }
        (Some(SocketAddr::V6(from)), SocketAddr::V6(to)) => {
            let octets: [[u8; 16]; 2] = [from.ip(), to.ip()].map(Ipv6Addr::octets);
            put([&octets[0], &octets[1]], [from.port(), to.port()]);
            (0x21, 0x21)
        }
        (Some(_), _) => (0x21, 0x00),
    };
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[command, family]);
    let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&block);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend_from_slice(&[command, family]);
        out.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
        out.extend_from_slice(block);
        out
    }

    #[test]
    fn a_header_names_the_client_and_ends_where_it_says() {
        for (client, to) in [
            ("192.0.2.7:40000", "198.51.100.1:443"),
            ("[2001:db8::7]:40000", "[2001:db8::1]:443"),
        ] {
            let client: SocketAddr = client.parse().unwrap();
            let mut bytes = Vec::new();
            write(Some(client), to.parse().unwrap(), &mut bytes);
            let len = bytes.len();
            // Cut anywhere it is not complete yet, and never wrong.
            for cut in 0..len {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut}");
            }
            let client = Some(client);
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
            assert_eq!(parse(&bytes), Ok(Some(Header { len, client })));
        }
    }

    #[test]
    fn tlvs_are_skipped_and_bounded() {
        let mut block = vec![192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x01, 0xbb];
        block.extend_from_slice(&[0x04, 0, 3, 0xff, 0xff, 0xff]);
        let bytes = header(0x21, 0x11, &block);
        let found = parse(&bytes).unwrap().unwrap();
        assert_eq!(found.len, bytes.len());
        assert_eq!(found.client, Some("192.0.2.7:40000".parse().unwrap()));
        block.resize(MAX_HEADER - FIXED, 0);
        assert!(parse(&header(0x21, 0x11, &block)).unwrap().is_some());
        block.push(0);
        let long = header(0x21, 0x11, &block);
        assert_eq!(parse(&long[..FIXED]), Err(ProxyError::TooLong));
    }

    #[test]
    fn without_an_address_there_is_no_client() {
        for bytes in [
            header(0x20, 0x00, &[]),
            // What comes with LOCAL is discarded, whatever it is.
            header(0x20, 0x11, &[1; 12]),
            header(0x20, 0xff, &[1; 3]),
            header(0x21, 0x00, &[1; 5]),
            header(0x21, 0x12, &[1; 12]),
            header(0x21, 0x31, &[b'/'; 216]),
        ] {
            let len = bytes.len();
            assert_eq!(parse(&bytes), Ok(Some(Header { len, client: None })));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_and_named() {
        use ProxyError::{Malformed, Missing, Version1};
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"PROX"), Ok(None));
        for (bytes, error) in [
            (&b"PROXY TCP4 192.0.2.7"[..], Version1),
            (b"POST", Missing),
            (b"GET / HTTP/1.1\r\n", Missing),
            (b"\x16\x03\x01", Missing),
            (b"\r\n\r\n\r", Missing),
            (&header(0x11, 0x11, &[0; 12]), Malformed),
            (&header(0x22, 0x11, &[0; 12]), Malformed),
            (&header(0x21, 0x13, &[0; 12]), Malformed),
            (&header(0x21, 0x41, &[0; 12]), Malformed),
            (&header(0x21, 0x11, &[0; 11]), Malformed),
            (&header(0x21, 0x21, &[0; 35]), Malformed),
        ] {
            assert_eq!(parse(bytes), Err(error), "{bytes:?}");
        }
        for (index, error) in ProxyError::ALL.into_iter().enumerate() {
            assert_eq!(error as usize, index, "{}", error.label());
        }
    }
}
