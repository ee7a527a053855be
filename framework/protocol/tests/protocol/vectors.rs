//! The examples of RFC 6455 section 5.7.

use hioload_protocol::Kind;

use crate::endpoint::{Endpoint, Seen};

const MASKED_HELLO: &[u8] = &[
    0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
];

#[test]
fn a_single_frame_unmasked_text_message() {
    let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(
        Endpoint::client().read(&hello),
        [Seen::Text("Hello".into())]
    );

    let mut server = Endpoint::server();
    server
        .connection
        .send(Kind::Text, b"Hello", &mut server.resources, &mut server.out)
        .unwrap();
    assert_eq!(server.out, hello);
}

#[test]
fn a_single_frame_masked_text_message() {
    assert_eq!(
        Endpoint::server().read(MASKED_HELLO),
        [Seen::Text("Hello".into())]
    );
}

#[test]
fn a_fragmented_unmasked_text_message() {
    let frames = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(
        Endpoint::client().read(&frames),
        [Seen::Text("Hello".into())]
    );

    let mut server = Endpoint::server();
    let Endpoint {
        connection,
        resources,
        out,
        ..
    } = &mut server;
    connection
        .send_fragment(Kind::Text, b"Hel", true, false, resources, out)
        .unwrap();
    connection
        .send_fragment(Kind::Text, b"lo", false, true, resources, out)
        .unwrap();
    assert_eq!(server.out, frames);
}

#[test]
fn an_unmasked_ping_and_a_masked_pong() {
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let mut client = Endpoint::client();
    assert_eq!(client.read(&ping), [Seen::Ping(b"Hello".to_vec())]);

    let pong = client.take_out();
    assert_eq!(pong[..2], [0x8a, 0x85]);
    assert_eq!(
        Endpoint::server().read(&pong),
        [Seen::Pong(b"Hello".to_vec())]
    );

    let pong = [
        0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(
        Endpoint::server().read(&pong),
        [Seen::Pong(b"Hello".to_vec())]
    );
}

#[test]
fn binary_messages_of_256_bytes_and_64_kib() {
    for (len, header) in [
        (256, &[0x82, 0x7E, 0x01, 0x00][..]),
        (65_536, &[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let payload = vec![0xA5; len];
        let frame = [header, &payload].concat();
        assert_eq!(
            Endpoint::client().read(&frame),
            [Seen::Binary(payload.clone())]
        );

        let mut server = Endpoint::server();
        server
            .connection
            .send(
                Kind::Binary,
                &payload,
                &mut server.resources,
                &mut server.out,
            )
            .unwrap();
        assert_eq!(server.out, frame);
    }
}
