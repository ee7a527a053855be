//! permessage-deflate on the wire: RFC 7692, bounded, and against zlib itself.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use hioload_protocol::frame::OpCode::{Binary, Continuation, Ping, Text};
use hioload_protocol::{
    DeflateConfig, DeflateMode, DeflateParams, Event, Kind, Limits, Payload, ProtocolError, Role,
    encode_message_deflated, frame,
};
use proptest::prelude::*;

use crate::endpoint::{Endpoint, Seen, masked, unmasked};

const NO_TAKEOVER: DeflateParams = DeflateParams {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

const TAKEOVER: DeflateParams = DeflateParams {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    ..NO_TAKEOVER
};

/// Compresses everything.
fn eager() -> DeflateConfig {
    DeflateConfig {
        min_size: 0,
        ..DeflateConfig::default()
    }
}

fn client(agreed: DeflateParams) -> Endpoint {
    Endpoint::deflating(Role::Client, agreed, eager())
}

fn server(agreed: DeflateParams) -> Endpoint {
    Endpoint::deflating(Role::Server, agreed, eager())
}

/// Marks the message that begins with this frame as compressed.
fn rsv1(mut frame: Vec<u8>) -> Vec<u8> {
    frame[0] |= 0x40;
    frame
}

/// One raw deflate stream of zlib's, flushed, without the tail.
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 1000);
    Compress::new(Compression::best(), false)
        .compress_vec(data, &mut out, FlushCompress::Sync)
        .unwrap();
    out.truncate(out.len() - 4);
    out
}

fn text(value: &str) -> [Seen; 1] {
    [Seen::Text(value.to_owned())]
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3_inflate() {
    let one = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(client(NO_TAKEOVER).read(one), text("Hello"));

    let fragmented = b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00";
    for size in 1..fragmented.len() {
        let seen = client(NO_TAKEOVER).read_in_pieces(fragmented, &[size]);
        assert_eq!(seen, text("Hello"));
    }

    let mut sharing = client(TAKEOVER);
    assert_eq!(sharing.read(one), text("Hello"));
    assert_eq!(sharing.read(b"\xc1\x05\xf2\x00\x11\x00\x00"), text("Hello"));

    let stored = b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
    assert_eq!(client(NO_TAKEOVER).read(stored), text("Hello"));

    let two_blocks = b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    assert_eq!(client(NO_TAKEOVER).read(two_blocks), text("Hello"));

    let empty = b"\xc1\x01\x00";
    assert_eq!(client(NO_TAKEOVER).read(empty), text(""));
}

#[test]
fn a_final_block_ends_a_message_but_not_the_connection() {
    let final_block = b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    let without_padding = b"\xc1\x07\xf3\x48\xcd\xc9\xc9\x07\x00";
    for agreed in [NO_TAKEOVER, TAKEOVER] {
        let mut client = client(agreed);
        for _ in 0..3 {
            assert_eq!(client.read(final_block), text("Hello"));
            assert_eq!(client.read(without_padding), text("Hello"));
        }
        if agreed == TAKEOVER {
            // Refers to the "Hello" before the final block.
            assert_eq!(client.read(b"\xc1\x05\xf2\x00\x11\x00\x00"), text("Hello"));
        }
    }
    // Two streams in one message, the second referring to the first.
    let mut both = final_block[2..9].to_vec();
    both.extend(b"\xf2\x00\x11\x00\x00");
    let frame = rsv1(unmasked(true, Text, &both));
    assert_eq!(client(NO_TAKEOVER).read(&frame), text("HelloHello"));
}

#[test]
fn the_examples_of_rfc_7692_are_what_is_sent() {
    let mut server = server(TAKEOVER);
    assert_eq!(server.sent(Kind::Text, b"Hello")[0], 0xC1);
    let again = server.sent(Kind::Text, b"Hello");
    assert_eq!(again[0], 0xC1);
    assert!(again.len() < 9, "refers to the first: {again:x?}");
    assert_eq!(server.sent(Kind::Text, b""), b"\xc1\x01\x00");
}

#[test]
fn small_and_incompressible_messages_are_sent_as_they_are() {
    let config = DeflateConfig {
        min_size: 64,
        ..eager()
    };
    let mut server = Endpoint::deflating(Role::Server, NO_TAKEOVER, config);
    assert_eq!(server.sent(Kind::Text, &[b'a'; 63])[0], 0x81);
    assert_eq!(server.sent(Kind::Text, &[b'a'; 64])[0], 0xC1);
    let noise: Vec<u8> = noise(5000).collect();
    let frame = server.sent(Kind::Binary, &noise);
    assert_eq!(frame, frame::encode_message(Kind::Binary, &noise));
}

fn noise(len: u32) -> impl Iterator<Item = u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5]
    })
}

#[test]
fn a_window_of_8_bits_is_inflated_and_never_compressed_for() {
    let agreed = DeflateParams {
        client_max_window_bits: 8,
        ..TAKEOVER
    };
    let mut client = client(agreed);
    assert_eq!(client.sent(Kind::Text, &[b'a'; 500])[0], 0x81);
    let mut server = server(agreed);
    let frame = rsv1(masked(true, Binary, &zlib(&[7; 200])));
    assert_eq!(server.read(&frame), [Seen::Binary(vec![7; 200])]);
}

#[test]
fn what_is_sent_stays_within_the_agreed_window() {
    // A window of zlib's that is no larger than agreed refuses what refers further.
    // Repetitions that every window reaches, and some for the larger ones only.
    let data: Vec<u8> = [200, 700, 3000, 12_000, 30_000]
        .into_iter()
        .flat_map(|period| {
            let near = noise(200).collect::<Vec<u8>>().repeat(20);
            [near, noise(period).collect::<Vec<u8>>().repeat(2)].concat()
        })
        .collect();
    for bits in 9..=15 {
        for server_no_context_takeover in [false, true] {
            let agreed = DeflateParams {
                server_no_context_takeover,
                server_max_window_bits: bits,
                ..TAKEOVER
            };
            for level in [1, 6, 9] {
                let config = DeflateConfig { level, ..eager() };
                let mut server = Endpoint::deflating(Role::Server, agreed, config);
                let frame = server.sent(Kind::Binary, &data);
                assert_eq!(frame[0], 0xC2);
                let bytes = payload(&frame);
                let mut out = Vec::with_capacity(data.len());
                let mut peer = Decompress::new_with_window_bits(false, bits);
                // In small steps, else zlib finds history in the output.
                let mut at = 0;
                while at < bytes.len() {
                    let mut step = [0; 64];
                    let before = (peer.total_in(), peer.total_out());
                    peer.decompress(&bytes[at..], &mut step, FlushDecompress::None)
                        .unwrap();
                    at += usize::try_from(peer.total_in() - before.0).unwrap();
                    let wrote = usize::try_from(peer.total_out() - before.1).unwrap();
                    out.extend_from_slice(&step[..wrote]);
                }
                let mut rest = [0; 1000];
                let before = peer.total_out();
                peer.decompress(&[0, 0, 255, 255], &mut rest, FlushDecompress::Sync)
                    .unwrap();
                let wrote = usize::try_from(peer.total_out() - before).unwrap();
                out.extend_from_slice(&rest[..wrote]);
                assert!(out == data, "{bits} bits, level {level}");
            }
        }
    }
}

/// The payload of one unmasked frame.
fn payload(frame: &[u8]) -> &[u8] {
    match frame[1] {
        126 => &frame[4..],
        127 => &frame[10..],
        _ => &frame[2..],
    }
}

#[test]
fn zlib_inflates_what_is_sent_and_its_messages_inflate() {
    for len in [0, 1, 100, 5000, 200_000] {
        let data: Vec<u8> = (0..len).map(|i: u32| (i / 7 % 50) as u8).collect();
        let frame = server(NO_TAKEOVER).sent(Kind::Binary, &data);
        if frame[0] & 0x40 != 0 {
            let mut flushed = payload(&frame).to_vec();
            flushed.extend([0, 0, 255, 255]);
            let mut out = Vec::with_capacity(data.len() + 10);
            Decompress::new(false)
                .decompress_vec(&flushed, &mut out, FlushDecompress::Sync)
                .unwrap();
            assert_eq!(out, data);
        }
        let frame = rsv1(masked(true, Binary, &zlib(&data)));
        let seen = server(TAKEOVER).read_in_pieces(&frame, &[7, 1000]);
        assert_eq!(seen, [Seen::Binary(data)]);
    }
}

#[test]
fn a_megabyte_that_inflates_to_a_gigabyte_is_cut_at_the_limit() {
    // Zeros: zlib's best is 1030 to 1.
    let mut bomb = Vec::with_capacity(2 << 20);
    let mut zlib = Compress::new(Compression::best(), false);
    while bomb.len() < (1 << 20) - 2000 {
        zlib.compress_vec(&[0; 1 << 20], &mut bomb, FlushCompress::None)
            .unwrap();
    }
    assert!(zlib.total_in() > 1_000_000_000);
    for agreed in [NO_TAKEOVER, TAKEOVER] {
        let mut server = server(agreed);
        let seen = server.read_in_pieces(&rsv1(masked(true, Binary, &bomb)), &[16_384]);
        let limit = Limits::default().max_message;
        assert_eq!(
            seen,
            [Seen::Failed(ProtocolError::MessageTooLarge { limit })]
        );
        assert_eq!(payload(&server.out)[..2], 1009u16.to_be_bytes());
        // What the message had grown to went back to the pool.
        let mut input = rsv1(masked(true, Binary, b"\x00"));
        let mut next = self::server(agreed);
        next.resources = server.resources;
        let received = next
            .connection
            .receive(&mut input, &mut next.resources, &mut next.out);
        let Some(Event::Message {
            payload: Payload::Assembled(buffer),
            ..
        }) = received.event
        else {
            panic!("no message");
        };
        assert!(buffer.capacity() > limit / 2 && buffer.capacity() <= limit);
    }
}

#[test]
fn the_ratio_is_capped_above_its_floor() {
    let config = DeflateConfig {
        max_ratio: 100,
        ratio_floor: 50_000,
        ..eager()
    };
    let mut server = Endpoint::deflating(Role::Server, NO_TAKEOVER, config);
    let frame = |len| rsv1(masked(true, Binary, &zlib(&vec![0; len])));
    assert_eq!(server.read(&frame(50_000)), [Seen::Binary(vec![0; 50_000])]);
    assert_eq!(
        server.read(&frame(200_000)),
        [Seen::Failed(ProtocolError::RatioExceeded { limit: 100 })]
    );
    assert_eq!(payload(&server.out)[..2], 1009u16.to_be_bytes());
}

#[test]
fn a_message_of_the_limit_passes_even_where_compression_enlarges_it() {
    let data: Vec<u8> = noise(1 << 20).collect();
    let mut client = client(TAKEOVER);
    let frame = client.sent(Kind::Binary, &data);
    assert!(frame.len() > data.len() && frame[0] == 0xC2);
    let mut server = server(TAKEOVER);
    assert_eq!(server.read(&frame), [Seen::Binary(data)]);
}

#[test]
fn empty_blocks_do_not_keep_a_message_open() {
    let mut server = server(NO_TAKEOVER);
    server.resources.limits.max_message = 1000;
    let nothing = b"\x00\x00\x00\xff\xff".repeat(100);
    assert_eq!(server.read(&rsv1(masked(false, Binary, &nothing))), []);
    assert_eq!(server.read(&masked(false, Continuation, &nothing)), []);
    assert_eq!(
        server.read(&masked(false, Continuation, &nothing)),
        [Seen::Failed(ProtocolError::MessageTooLarge { limit: 1000 })]
    );
}

#[test]
fn reserved_bits_mean_compression_only_where_agreed_and_on_first_data_frames() {
    let reserved = [Seen::Failed(ProtocolError::ReservedBits)];
    let hello = zlib(b"Hello");
    let compressed = rsv1(masked(true, Text, &hello));
    assert_eq!(Endpoint::server().read(&compressed), reserved);
    let ping = rsv1(masked(true, Ping, b""));
    assert_eq!(server(TAKEOVER).read(&ping), reserved);
    let mut fragmented = server(TAKEOVER);
    assert_eq!(fragmented.read(&rsv1(masked(false, Text, &hello))), []);
    let continuation = rsv1(masked(true, Continuation, b""));
    assert_eq!(fragmented.read(&continuation), reserved);
    for bit in [0x20, 0x10] {
        let mut frame = compressed.clone();
        frame[0] |= bit;
        assert_eq!(server(TAKEOVER).read(&frame), reserved);
    }
    let plain = masked(true, Text, b"plain");
    assert_eq!(server(TAKEOVER).read(&plain), text("plain"));
}

#[test]
fn what_is_no_deflate_stream_fails_with_1007() {
    for bad in [&b"\xff\xff\xff"[..], b"\x07", b"\xf2\x00\x11\x00\x00"] {
        let mut server = server(TAKEOVER);
        let seen = server.read(&rsv1(masked(true, Binary, bad)));
        assert_eq!(seen, [Seen::Failed(ProtocolError::BadDeflate)], "{bad:x?}");
        assert_eq!(payload(&server.out)[..2], 1007u16.to_be_bytes());
    }
}

#[test]
fn bad_text_fails_in_the_fragment_that_shows_it() {
    let mut data = b"fine ".repeat(100);
    data.extend(b"\xED\xA0");
    for agreed in [NO_TAKEOVER, TAKEOVER] {
        let mut server = server(agreed);
        let flushed = [&zlib(b"fine")[..], &[0, 0, 255, 255]].concat();
        let first = rsv1(masked(false, Text, &flushed));
        assert_eq!(server.read(&first), []);
        assert_eq!(
            server.read(&masked(false, Continuation, &zlib(&data))),
            [Seen::Failed(ProtocolError::InvalidUtf8)]
        );
        let cut = rsv1(masked(true, Text, &zlib(b"\xE2\x82")));
        let mut server = self::server(agreed);
        assert_eq!(
            server.read(&cut),
            [Seen::Failed(ProtocolError::InvalidUtf8)]
        );
    }
}

#[test]
fn a_broadcast_goes_only_to_peers_that_can_inflate_it() {
    let narrow = DeflateParams {
        server_max_window_bits: 14,
        ..NO_TAKEOVER
    };
    let mut publisher = server(NO_TAKEOVER);
    let pool = &publisher.resources.deflate;
    assert!(server(NO_TAKEOVER).connection.takes_shared_deflate(pool));
    for other in [
        server(TAKEOVER),
        server(narrow),
        client(NO_TAKEOVER),
        Endpoint::server(),
    ] {
        assert!(!other.connection.takes_shared_deflate(pool));
    }
    let message = "broadcast ".repeat(50);
    let deflate = &mut publisher.resources.deflate;
    let frame = encode_message_deflated(Kind::Text, message.as_bytes(), deflate);
    assert_eq!(frame[0], 0xC1);
    let mut subscriber = client(NO_TAKEOVER);
    for _ in 0..2 {
        assert_eq!(subscriber.read(&frame), text(&message));
    }
    let noise: Vec<u8> = noise(300).collect();
    let plain = encode_message_deflated(Kind::Binary, &noise, deflate);
    assert_eq!(plain, frame::encode_message(Kind::Binary, &noise));
}

#[test]
fn connections_without_takeover_share_streams_and_keep_none() {
    let mut one = client(NO_TAKEOVER);
    let mut wire = one.sent(Kind::Text, &[b'a'; 1000]);
    for _ in 0..100 {
        // Each is new and uses the streams that the one before gave back.
        let mut next = server(NO_TAKEOVER);
        std::mem::swap(&mut next.resources, &mut one.resources);
        assert_eq!(next.read(&wire), text(&"a".repeat(1000)));
        let state = format!("{:?}", next.connection);
        assert!(state.contains("kept: None"), "{state}");
        wire = next.sent(Kind::Text, &[b'a'; 1000]);
        let mut reader = client(NO_TAKEOVER);
        assert_eq!(reader.read(&wire), text(&"a".repeat(1000)));
        wire = reader.sent(Kind::Text, &[b'a'; 1000]);
        std::mem::swap(&mut next.resources, &mut one.resources);
    }
}

/// A message, and the sizes of its fragments (repeated) or none to send it whole.
type Message = (Kind, Vec<u8>, Vec<usize>);

fn message() -> impl Strategy<Value = Message> {
    let content = prop_oneof![
        "\\PC{0,200}".prop_map(|text| (Kind::Text, text.into_bytes())),
        "[a-c]{0,600}".prop_map(|text| (Kind::Text, text.into_bytes())),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (Kind::Binary, bytes)),
        (any::<u8>(), 0usize..100_000).prop_map(|(b, len)| (Kind::Binary, vec![b; len])),
    ];
    let sizes = prop_oneof![
        Just(Vec::new()),
        (proptest::collection::vec(0usize..50, 0..4), 1usize..50_000).prop_map(
            |(mut all, last)| {
                all.push(last);
                all
            }
        ),
    ];
    (content, sizes).prop_map(|((kind, bytes), sizes)| (kind, bytes, sizes))
}

fn send(by: &mut Endpoint, (kind, bytes, sizes): &Message) -> Seen {
    let Endpoint {
        connection,
        resources,
        out,
    } = by;
    if sizes.is_empty() {
        connection.send(*kind, bytes, resources, out).unwrap();
    } else {
        let (mut rest, mut first) = (&bytes[..], true);
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            rest = after;
            let fin = rest.is_empty();
            connection
                .send_fragment(*kind, piece, first, fin, resources, out)
                .unwrap();
            first = false;
            if fin {
                break;
            }
        }
    }
    match kind {
        Kind::Text => Seen::Text(String::from_utf8(bytes.clone()).unwrap()),
        Kind::Binary => Seen::Binary(bytes.clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_agreement_round_trips_however_it_is_fragmented_and_cut(
        agreed in (any::<bool>(), any::<bool>(), 8u8..=15, 8u8..=15),
        settings in (0u8..=9, 1u8..=9, prop_oneof![Just(0usize), 0..200usize]),
        to_server in proptest::collection::vec(message(), 0..6),
        to_client in proptest::collection::vec(message(), 0..6),
        reads in proptest::collection::vec(
            prop_oneof![1usize..20, 20usize..2000, Just(100_000)], 1..10),
    ) {
        let agreed = DeflateParams {
            server_no_context_takeover: agreed.0,
            client_no_context_takeover: agreed.1,
            server_max_window_bits: agreed.2,
            client_max_window_bits: agreed.3,
        };
        let config = DeflateConfig {
            mode: DeflateMode::Dedicated,
            level: settings.0,
            mem_level: settings.1,
            min_size: settings.2,
            ..DeflateConfig::default()
        };
        let mut client = Endpoint::deflating(Role::Client, agreed, config);
        let mut server = Endpoint::deflating(Role::Server, agreed, config);
        for (messages, to_server) in [(&to_server, true), (&to_client, false)] {
            let (from, to) = if to_server {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let expected: Vec<Seen> = messages.iter().map(|message| send(from, message)).collect();
            let wire = from.take_out();
            prop_assert_eq!(to.read_in_pieces(&wire, &reads), expected);
        }
    }

    #[test]
    fn damaged_streams_are_survived(
        message in proptest::collection::vec(any::<u8>(), 0..200),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5),
        takeover in any::<bool>(),
        reads in proptest::collection::vec(1usize..50, 1..5),
    ) {
        let mut bytes = zlib(&message.repeat(20));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let agreed = if takeover { TAKEOVER } else { NO_TAKEOVER };
        let mut server = server(agreed);
        server.resources.limits.max_message = 10_000;
        let seen = server.read_in_pieces(&rsv1(masked(true, Binary, &bytes)), &reads);
        prop_assert_eq!(seen.len(), 1);
    }
}
