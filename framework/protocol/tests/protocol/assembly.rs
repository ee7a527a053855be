//! Messages that do not arrive whole: in place, bounded, and failing early.

use hioload_protocol::frame::OpCode::{Binary, Continuation, Ping, Text};
use hioload_protocol::{Event, Kind, Payload, ProtocolError};

use crate::endpoint::{Endpoint, Seen, header, masked, unmasked};

const MASK: Option<[u8; 4]> = Some([0; 4]);

fn receive(endpoint: &mut Endpoint, input: &mut [u8]) -> Option<Event> {
    let Endpoint {
        connection,
        resources,
        out,
    } = endpoint;
    connection.receive(input, resources, out).event
}

#[test]
fn a_message_within_one_buffer_is_a_range_of_it() {
    let mut server = Endpoint::server();
    let mut input = masked(true, Text, b"in place");
    let Some(Event::Message {
        kind: Kind::Text,
        payload: Payload::Input(range),
    }) = receive(&mut server, &mut input)
    else {
        panic!("not in place");
    };
    assert_eq!(&input[range], b"in place");
}

#[test]
fn a_payload_that_arrives_whole_after_its_header_is_in_place_too() {
    let mut server = Endpoint::server();
    let frame = masked(true, Binary, b"payload");
    for cut in 0..=6 {
        let (mut head, mut body) = (frame[..cut].to_vec(), frame[cut..].to_vec());
        assert!(receive(&mut server, &mut head).is_none());
        let Some(Event::Message {
            payload: Payload::Input(range),
            ..
        }) = receive(&mut server, &mut body)
        else {
            panic!("not in place when cut at {cut}");
        };
        assert_eq!(&body[range], b"payload");
    }
}

#[test]
fn memory_grows_with_what_arrived_not_with_what_was_announced() {
    let mut server = Endpoint::server();
    let announced = 1_000_000;
    assert!(receive(&mut server, &mut header(true, Binary, announced, MASK)).is_none());
    let mut arrived = 0;
    let event = loop {
        let piece = 1000 + arrived / 10;
        let left = usize::try_from(announced).unwrap() - arrived;
        arrived += piece.min(left);
        if let Some(event) = receive(&mut server, &mut vec![7; piece.min(left)]) {
            break event;
        }
    };
    let Event::Message {
        payload: Payload::Assembled(buffer),
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(buffer, vec![7; 1_000_000]);
    assert_eq!(
        buffer.capacity(),
        1_000_000,
        "grown to the announced end and not beyond"
    );
}

#[test]
fn fragments_do_not_reserve_beyond_twice_their_bytes_nor_the_limit() {
    let mut server = Endpoint::server();
    let mut first = masked(false, Binary, &[1; 600_000]);
    assert!(receive(&mut server, &mut first).is_none());
    let Some(Event::Message {
        payload: Payload::Assembled(buffer),
        ..
    }) = receive(&mut server, &mut masked(true, Continuation, b""))
    else {
        panic!("no message");
    };
    assert_eq!(buffer.capacity(), server.resources.limits.max_message);

    let mut server = Endpoint::server();
    assert!(receive(&mut server, &mut masked(false, Binary, &[1; 100])).is_none());
    let Some(Event::Message {
        payload: Payload::Assembled(buffer),
        ..
    }) = receive(&mut server, &mut masked(true, Continuation, b""))
    else {
        panic!("no message");
    };
    assert_eq!(buffer.capacity(), 200);
}

#[test]
fn a_recycled_buffer_is_used_again() {
    let mut server = Endpoint::server();
    let frames = [
        masked(false, Binary, &[1; 5000]),
        masked(true, Continuation, &[2]),
    ]
    .concat();
    let assembled = |server: &mut Endpoint| match receive(server, &mut frames.clone()) {
        Some(Event::Message {
            payload: Payload::Assembled(buffer),
            ..
        }) => buffer,
        other => panic!("{other:?}"),
    };
    let first = assembled(&mut server);
    let address = first.as_ptr();
    Payload::Assembled(first).recycle(&mut server.resources.pool);
    let second = assembled(&mut server);
    assert_eq!(second.as_ptr(), address);
}

#[test]
fn bad_text_fails_at_its_first_bad_byte_inside_an_unfinished_frame() {
    // 20 bytes are announced; F4 is fine until the 90 shows it is beyond U+10FFFF.
    let mut client = Endpoint::client();
    assert_eq!(client.read(&header(true, Text, 20, None)), []);
    assert_eq!(client.read(b"\xCE\xBA\xF4"), []);
    assert_eq!(
        client.read(b"\x90"),
        [Seen::Failed(ProtocolError::InvalidUtf8)]
    );
}

#[test]
fn bad_text_fails_at_once_inside_a_fragment() {
    let mut client = Endpoint::client();
    assert_eq!(client.read(&unmasked(false, Text, b"fine \xF0\x9F")), []);
    assert_eq!(
        client.read(&unmasked(false, Continuation, b"\x98\x80 fine \xED")),
        []
    );
    let bad = unmasked(false, Continuation, b"\xA0");
    assert_eq!(
        client.read(&bad),
        [Seen::Failed(ProtocolError::InvalidUtf8)]
    );
}

#[test]
fn control_frames_interleave_with_fragments_even_when_both_are_cut() {
    let script = [
        masked(false, Text, "κόσ".as_bytes()),
        masked(true, Ping, b"one"),
        masked(false, Continuation, b"\xCE"),
        masked(true, Ping, &[b'x'; 125]),
        masked(true, Continuation, b"\xBC\xCE\xB5"),
    ]
    .concat();
    for size in 1..script.len() {
        let mut server = Endpoint::server();
        let seen = server.read_in_pieces(&script, &[size]);
        let expected = [
            Seen::Ping(b"one".to_vec()),
            Seen::Ping(vec![b'x'; 125]),
            Seen::Text("κόσμε".into()),
        ];
        assert_eq!(seen, expected, "in pieces of {size}");
        let pongs = server.take_out();
        let expected = [Seen::Pong(b"one".to_vec()), Seen::Pong(vec![b'x'; 125])];
        assert_eq!(Endpoint::client().read(&pongs), expected);
    }
}

#[test]
fn every_ping_of_a_flood_is_answered() {
    let mut server = Endpoint::server();
    let seen = server.read(&masked(true, Ping, b"p").repeat(5000));
    assert_eq!(seen.len(), 5000);
    assert_eq!(server.out, b"\x8A\x01p".repeat(5000));
}
