//! Every violation, its error and the code it is answered with.

use hioload_protocol::frame::OpCode::{Binary, Close, Continuation, Ping, Pong, Text};
use hioload_protocol::{CloseCode, Limits, ProtocolError};
use proptest::prelude::*;

use crate::endpoint::{Endpoint, Seen, close_frame, header, masked, unmasked};

const MASK: Option<[u8; 4]> = Some([0; 4]);

/// Limits small enough to exceed in a table.
const LIMITS: Limits = Limits {
    max_message: 1000,
    max_fragments: 4,
};

fn violations() -> Vec<(&'static str, Vec<u8>, ProtocolError, u16)> {
    use ProtocolError as E;
    let with_first = |first: u8| [&[first][..], &masked(true, Text, b"a")[1..]].concat();
    let fragments = |frames: &[Vec<u8>]| frames.concat();
    let mut table = vec![
        ("rsv1", with_first(0xC1), E::ReservedBits, 1002),
        ("rsv2", with_first(0xA1), E::ReservedBits, 1002),
        ("rsv3", with_first(0x91), E::ReservedBits, 1002),
        ("rsv1 on a ping", with_first(0xC9), E::ReservedBits, 1002),
        ("unmasked", unmasked(true, Text, b"a"), E::Unmasked, 1002),
        (
            "unmasked and empty",
            unmasked(true, Text, b""),
            E::Unmasked,
            1002,
        ),
        (
            "fragmented ping",
            masked(false, Ping, b""),
            E::FragmentedControl,
            1002,
        ),
        (
            "fragmented pong",
            masked(false, Pong, b""),
            E::FragmentedControl,
            1002,
        ),
        (
            "fragmented close",
            masked(false, Close, b""),
            E::FragmentedControl,
            1002,
        ),
        (
            "ping of 126",
            masked(true, Ping, &[0; 126]),
            E::ControlTooLong,
            1002,
        ),
        (
            "pong of 64 KiB",
            masked(true, Pong, &[0; 65_536]),
            E::ControlTooLong,
            1002,
        ),
        (
            "close of 126",
            masked(true, Close, &[3; 126]),
            E::ControlTooLong,
            1002,
        ),
        (
            "ping of 2^63 and more",
            vec![0x89, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            E::ControlTooLong,
            1002,
        ),
        (
            "nothing to continue",
            masked(true, Continuation, b"a"),
            E::UnexpectedContinuation,
            1002,
        ),
        (
            "continuation after a whole message",
            fragments(&[masked(true, Text, b"a"), masked(false, Continuation, b"b")]),
            E::UnexpectedContinuation,
            1002,
        ),
        (
            "text inside a message",
            fragments(&[masked(false, Text, b"a"), masked(true, Text, b"b")]),
            E::ExpectedContinuation,
            1002,
        ),
        (
            "binary inside an empty first fragment",
            fragments(&[masked(false, Binary, b""), masked(true, Binary, b"b")]),
            E::ExpectedContinuation,
            1002,
        ),
        ("text", masked(true, Text, b"a\xFFb"), E::InvalidUtf8, 1007),
        (
            "text cut inside a code point",
            masked(true, Text, b"\xE2\x82"),
            E::InvalidUtf8,
            1007,
        ),
        (
            "code point cut by the end of the last fragment",
            fragments(&[
                masked(false, Text, b"a"),
                masked(true, Continuation, b"\xE2\x82"),
            ]),
            E::InvalidUtf8,
            1007,
        ),
        (
            "surrogate across fragments",
            fragments(&[
                masked(false, Text, b"\xED"),
                masked(false, Continuation, b"\xA0"),
            ]),
            E::InvalidUtf8,
            1007,
        ),
        (
            "close of one byte",
            masked(true, Close, &[3]),
            E::BadClosePayload,
            1002,
        ),
        (
            "close reason",
            masked(true, Close, b"\x03\xE8\xFF"),
            E::InvalidUtf8,
            1007,
        ),
        (
            "126 for 125",
            vec![0x82, 0xFE, 0, 125, 0, 0, 0, 0],
            E::NonMinimalLength,
            1002,
        ),
        (
            "127 for 65535",
            vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0],
            E::NonMinimalLength,
            1002,
        ),
        (
            "high bit",
            vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            E::LengthHighBit,
            1002,
        ),
        (
            "frame over the limit, announced only",
            header(true, Binary, 1001, MASK),
            E::FrameTooLarge {
                len: 1001,
                limit: 1000,
            },
            1009,
        ),
        (
            "the largest announcement",
            header(false, Text, (1 << 63) - 1, MASK),
            E::FrameTooLarge {
                len: (1 << 63) - 1,
                limit: 1000,
            },
            1009,
        ),
        (
            "fragments over the limit, announced only",
            fragments(&[
                masked(false, Binary, &[0; 999]),
                header(true, Continuation, 2, MASK),
            ]),
            E::MessageTooLarge { limit: 1000 },
            1009,
        ),
        (
            "empty fragments",
            fragments(&[
                masked(false, Binary, b""),
                masked(false, Continuation, b"").repeat(4),
            ]),
            E::TooManyFragments { limit: 4 },
            1009,
        ),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let frame = with_first(0x80 | opcode);
        table.push(("opcode", frame, E::UnknownOpcode(opcode), 1002));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let frame = masked(true, Close, &u16::to_be_bytes(code));
        table.push(("close code", frame, E::BadCloseCode(code), 1002));
    }
    table
}

#[test]
fn every_violation_fails_with_its_code_wherever_the_input_is_cut() {
    for (name, bytes, error, code) in violations() {
        assert_eq!(error.close_code(), CloseCode(code), "{name}");
        for sizes in [&[usize::MAX][..], &[1], &[2], &[3], &[5, 1]] {
            let mut server = Endpoint::server().with_limits(LIMITS);
            let mut seen = server.read_in_pieces(&bytes, sizes);
            let last = seen.pop();
            assert_eq!(last, Some(Seen::Failed(error)), "{name} in {sizes:?}");
            assert_eq!(
                server.out,
                close_frame(code, &error.to_string()),
                "{name} in {sizes:?}"
            );
            assert!(
                server.connection.is_closed() && server.connection.close_sent(),
                "{name}"
            );
        }
    }
}

#[test]
fn nothing_is_read_or_sent_after_a_failure() {
    for (name, bytes, _, _) in violations() {
        let mut server = Endpoint::server().with_limits(LIMITS);
        let pings = masked(true, Ping, b"still there?").repeat(3);
        let seen = server.read(&[&bytes[..], &pings].concat());
        assert!(matches!(seen.last(), Some(Seen::Failed(_))), "{name}");
        assert_eq!(
            server.take_out()[0],
            0x88,
            "{name}: the Close frame comes first and last"
        );
        assert_eq!(server.read(&pings), [], "{name}");
        assert!(server.out.is_empty(), "{name}");
        let Endpoint {
            connection,
            resources,
            out,
            ..
        } = &mut server;
        assert!(connection.ping(b"", resources, out).is_err());
        assert!(!connection.close(CloseCode::NORMAL, "", resources, out));
        assert!(out.is_empty());
    }
}

#[test]
fn a_client_refuses_masked_frames() {
    let mut client = Endpoint::client();
    let seen = client.read(&masked(true, Text, b"a"));
    assert_eq!(seen, [Seen::Failed(ProtocolError::Masked)]);
    let answer = client.take_out();
    assert_eq!(
        Endpoint::server().read(&answer),
        [Seen::Closed(
            CloseCode(1002),
            ProtocolError::Masked.to_string(),
            true
        )]
    );
}

#[test]
fn violations_show_at_their_first_byte() {
    let first_byte = |byte: u8| Endpoint::server().read(&[byte]);
    assert_eq!(
        first_byte(0xC1),
        [Seen::Failed(ProtocolError::ReservedBits)]
    );
    assert_eq!(
        first_byte(0x83),
        [Seen::Failed(ProtocolError::UnknownOpcode(3))]
    );
    assert_eq!(
        first_byte(0x09),
        [Seen::Failed(ProtocolError::FragmentedControl)]
    );
    let second_byte = |byte: u8| Endpoint::server().read(&[0x89, byte]);
    assert_eq!(second_byte(0x05), [Seen::Failed(ProtocolError::Unmasked)]);
    assert_eq!(
        second_byte(0xFE),
        [Seen::Failed(ProtocolError::ControlTooLong)]
    );
}

#[test]
fn a_message_of_exactly_the_limits_passes() {
    let mut server = Endpoint::server().with_limits(LIMITS);
    let whole = masked(true, Binary, &[7; 1000]);
    assert_eq!(server.read(&whole), [Seen::Binary(vec![7; 1000])]);
    let four = [
        masked(false, Binary, &[1; 500]),
        masked(false, Continuation, b""),
        masked(false, Continuation, &[2; 499]),
        masked(true, Continuation, &[3]),
    ];
    let expected = [vec![1; 500], vec![2; 499], vec![3]].concat();
    assert_eq!(server.read(&four.concat()), [Seen::Binary(expected)]);
}

proptest! {
    /// Panics, over-consumption and endless loops are caught by `Endpoint::read`.
    #[test]
    fn random_bytes_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        sizes in proptest::collection::vec(1usize..40, 1..10),
        client in any::<bool>(),
    ) {
        let endpoint = || if client { Endpoint::client() } else { Endpoint::server() };
        let (mut cut, mut whole) = (endpoint(), endpoint());
        let seen = cut.read_in_pieces(&bytes, &sizes);
        prop_assert_eq!(seen, whole.read(&bytes));
        prop_assert_eq!(cut.out, whole.out);
    }

    /// Frames that are nearly right get further than random bytes.
    #[test]
    fn damaged_frames_are_survived(
        frames in proptest::collection::vec((0u8..16, any::<bool>(), 0usize..300), 1..12),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        sizes in proptest::collection::vec(1usize..100, 1..10),
    ) {
        let mut bytes = Vec::new();
        for (bits, fin, len) in frames {
            let mut frame = masked(fin, Binary, &vec![b'a'; len]);
            frame[0] = (frame[0] & 0xF0) | bits;
            bytes.extend(frame);
        }
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let (mut cut, mut whole) = (Endpoint::server(), Endpoint::server());
        let seen = cut.read_in_pieces(&bytes, &sizes);
        prop_assert_eq!(seen, whole.read(&bytes));
        prop_assert_eq!(cut.out, whole.out);
    }
}
