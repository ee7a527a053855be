//! Bodies of plain requests: what they are, where they end, what is refused.

use hioload_protocol::body::{BodyDecoder, BodyLength};
use hioload_protocol::handshake::{HandshakeLimits, Parsed, Refusal, parse_request};
use proptest::prelude::*;

const LIMIT: u64 = 1000;

/// The data, and where it ended: `None` when more is to come.
type Outcome = Result<(Vec<u8>, Option<usize>), (Vec<u8>, Refusal)>;

/// Decodes `pieces` as one body.
fn decode<'p>(length: BodyLength, pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut data = Vec::new();
    let mut decoder = BodyDecoder::new(length, LIMIT).map_err(|refusal| (Vec::new(), refusal))?;
    let mut before = 0;
    for piece in pieces {
        let mut at = 0;
        while at < piece.len() && !decoder.is_done() {
            let decoded = match decoder.decode(&piece[at..]) {
                Ok(decoded) => decoded,
                Err(refusal) => {
                    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(refusal), "for good");
                    return Err((data, refusal));
                }
            };
            assert!(decoded.consumed > 0 && decoded.data.end <= decoded.consumed);
            assert_eq!(decoded.done, decoder.is_done());
            data.extend_from_slice(&piece[at..][decoded.data]);
            assert!(data.len() as u64 + decoder.left() <= LIMIT);
            at += decoded.consumed;
        }
        if decoder.is_done() {
            return Ok((data, Some(before + at)));
        }
        before += piece.len();
    }
    Ok((data, decoder.is_done().then_some(before)))
}

fn chunked(bytes: &[u8]) -> Outcome {
    decode(BodyLength::Chunked, [bytes])
}

fn status(outcome: Outcome) -> u16 {
    outcome.map_or_else(|(_, refusal)| refusal.status(), |_| 200)
}

#[test]
fn a_counted_body_ends_with_its_last_byte() {
    let five = BodyLength::Counted(5);
    let whole = decode(five, [&b"hel"[..], b"loGET /"]);
    assert_eq!(whole, Ok((b"hello".to_vec(), Some(5))));
    assert_eq!(decode(five, [&b"hell"[..]]), Ok((b"hell".to_vec(), None)));
    assert_eq!(
        decode(BodyLength::Counted(0), []),
        Ok((Vec::new(), Some(0)))
    );
    let large = BodyLength::Counted(LIMIT + 1);
    assert_eq!(status(decode(large, [])), 413, "before any of it is read");
}

#[test]
fn a_chunked_body_is_its_chunks_without_their_frames() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (
            b"00A;a=b;c=\"d e\"\r\n0123456789\r\n000\r\n\r\n",
            b"0123456789",
        ),
        (b"1 ;x\r\na\r\n0\t;y\r\n\r\n", b"a"),
        (b"2\r\n\r\n\r\n0\r\nA: b\r\nC:\r\n\r\n", b"\r\n"),
    ];
    for (wire, data) in cases {
        let with_next = [wire, b"GET / HTTP/1.1\r\n"].concat();
        let outcome = chunked(&with_next);
        assert_eq!(outcome, Ok((data.to_vec(), Some(wire.len()))));
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let long = format!("1;{}\r\n", "a".repeat(300));
    let spaces = format!("1{}\r\n", " ".repeat(300));
    let cases: Vec<(u16, &[u8])> = vec![
        (400, b"\r\n"),
        (400, b"\n"),
        (400, b";a\r\n"),
        (400, b"-1\r\n"),
        (400, b"+1\r\n"),
        (400, b"0x1\r\n"),
        (400, b" 1\r\n"),
        (400, b"1_0\r\n"),
        (400, b"1 1\r\n"),
        (400, b"1 \r\n"),
        (400, b"1\n"),
        (400, b"1\ra"),
        (400, b"1;a\n"),
        (400, b"1;a\rb"),
        (400, b"1;a\0b\r\n"),
        (400, b"1\r\nab"),
        (400, b"1\r\na\n"),
        (400, b"1\r\na\r0"),
        (400, b"00000000000000001\r\n"),
        (400, b"0\r\n\n"),
        (400, b"0\r\n\r\r"),
        (400, b"0\r\n a: b\r\n\r\n"),
        (400, b"0\r\na : b\r\n\r\n"),
        (400, b"0\r\nGET / HTTP/1.1\r\n\r\n"),
        (400, b"0\r\na: b\n\r\n"),
        (400, b"0\r\na: b\r\n c\r\n\r\n"),
        (400, b"0\r\n: b\r\n\r\n"),
        (400, long.as_bytes()),
        (400, spaces.as_bytes()),
        (413, b"3e9\r\n"),
        (413, b"ffffffffffffffff\r\n"),
        (413, b"8000000000000000\r\n"),
    ];
    for (expected, wire) in cases {
        let name = String::from_utf8_lossy(wire);
        assert_eq!(status(chunked(wire)), expected, "{name:?}");
    }
}

#[test]
fn chunks_together_keep_to_the_limit() {
    let chunk = [&b"1f4\r\n"[..], &[b'a'; 500], b"\r\n"].concat();
    let twice = chunk.repeat(2);
    let whole = [&twice[..], b"0\r\n\r\n"].concat();
    assert_eq!(chunked(&whole), Ok((vec![b'a'; 1000], Some(whole.len()))));
    let more = [&twice[..], b"1"].concat();
    assert_eq!(
        chunked(&more),
        Err((vec![b'a'; 1000], Refusal::PayloadTooLarge))
    );
}

#[test]
fn trailers_have_a_limit() {
    let trailers = b"A: b\r\n".repeat(2000);
    let wire = [b"0\r\n", &trailers[..]].concat();
    assert_eq!(status(chunked(&wire)), 431);
}

/// What the head says of the body; the status when it is refused.
fn announced(lines: &str) -> Result<Option<BodyLength>, u16> {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    match parse_request(head.as_bytes(), &HandshakeLimits::default()) {
        Ok(Parsed::Complete { value, .. }) => Ok(value.body_length()),
        Ok(Parsed::Partial) => panic!("{head:?} is whole"),
        Err(refusal) => Err(refusal.status()),
    }
}

#[test]
fn a_head_announces_one_length_or_is_refused() {
    let counted = |length| Ok(Some(BodyLength::Counted(length)));
    let cases = [
        ("", Ok(None)),
        ("Content-Length: 0\r\n", counted(0)),
        (
            "Content-Length: 18446744073709551615\r\n",
            counted(u64::MAX),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            Ok(Some(BodyLength::Chunked)),
        ),
        (
            "transfer-encoding: CHUNKED\r\n",
            Ok(Some(BodyLength::Chunked)),
        ),
        ("Content-Length: 18446744073709551616\r\n", Err(400)),
        ("Content-Length: +1\r\n", Err(400)),
        ("Content-Length: -1\r\n", Err(400)),
        ("Content-Length: 0x1\r\n", Err(400)),
        ("Content-Length: 1 1\r\n", Err(400)),
        ("Content-Length: 1, 1\r\n", Err(400)),
        ("Content-Length:\r\n", Err(400)),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", Err(400)),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", Err(400)),
        ("Content-Length : 1\r\n", Err(400)),
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            Err(400),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(400),
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(501)),
        ("Transfer-Encoding: chunked, identity\r\n", Err(501)),
        ("Transfer-Encoding: identity\r\n", Err(501)),
        ("Transfer-Encoding: xchunked\r\n", Err(501)),
        ("Transfer-Encoding: \u{b}chunked\r\n", Err(400)),
        ("Transfer-Encoding:\r\n chunked\r\n", Err(400)),
        ("Transfer_Encoding: chunked\r\n", Ok(None)),
    ];
    for (lines, expected) in cases {
        assert_eq!(announced(lines), expected, "{lines:?}");
    }
}

/// The bytes cut at these places.
fn cut<'w>(wire: &'w [u8], at: &[prop::sample::Index]) -> Vec<&'w [u8]> {
    let mut places: Vec<_> = at.iter().map(|at| at.index(wire.len() + 1)).collect();
    places.extend([0, wire.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &wire[pair[0]..pair[1]])
        .collect()
}

fn wire() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (
        prop::collection::vec(any::<u8>(), 1..60),
        ";[a-z\"=;]{0,8}|",
    );
    let chunks = prop::collection::vec(chunk, 0..6);
    (chunks, "(X-[a-z]{1,3}: [a-z ]{0,5}\r\n){0,3}").prop_map(|(chunks, trailers)| {
        let mut wire = Vec::new();
        for (data, extension) in chunks {
            wire.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            wire.extend_from_slice(&data);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        wire
    })
}

proptest! {
    #[test]
    fn every_split_gives_the_same(
        wire in wire(),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        next in prop::collection::vec(any::<u8>(), 0..20),
        at in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let length = wire.len();
        let mut wire = [wire, next].concat();
        if let Some((place, byte)) = damage {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        let whole = chunked(&wire);
        if damage.is_none() {
            prop_assert_eq!(whole.as_ref().map(|(_, end)| *end), Ok(Some(length)));
        }
        prop_assert_eq!(&whole, &decode(BodyLength::Chunked, cut(&wire, &at)));
        prop_assert_eq!(&whole, &decode(BodyLength::Chunked, wire.chunks(1)));
    }
}
