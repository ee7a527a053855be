//! The PROXY header.

use hioload_protocol::proxy::{self, MAX_HEADER};

use super::Choices;

/// However a header is cut, it is the same header or the same fault, it ends
/// where it says, and it is within its bound.
pub fn proxy(data: &[u8]) {
    let Some(choices) = Choices::of(data) else {
        return;
    };
    // Random bytes seldom begin with the signature.
    let mut bytes = Vec::new();
    if choices.has(0) {
        bytes.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n");
    }
    let begin = bytes.len();
    bytes.extend_from_slice(choices.rest);
    let whole = proxy::parse(&bytes);
    let mut fed = begin;
    for piece in choices.pieces() {
        fed += piece.len();
        match proxy::parse(&bytes[..fed]) {
            Ok(None) => assert!(fed < MAX_HEADER),
            decided => return assert_eq!(decided, whole),
        }
    }
    assert_eq!(proxy::parse(&bytes), whole);
    if let Ok(Some(header)) = whole {
        assert!((16..=MAX_HEADER).contains(&header.len) && header.len <= bytes.len());
        assert_eq!(proxy::parse(&bytes[..header.len]), whole);
        if let Some(client) = header.client {
            let mut again = Vec::new();
            proxy::write(Some(client), client, &mut again);
            assert_eq!(proxy::parse(&again).unwrap().unwrap().client, Some(client));
        }
    }
}
