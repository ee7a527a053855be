//! The close handshake (RFC 6455 sections 5.5.1 and 7).

use hioload_protocol::frame::OpCode::{Close, Continuation, Ping, Text};
use hioload_protocol::{CloseCode, Closing, Kind, ProtocolError};

use crate::endpoint::{Endpoint, Seen, close_frame, masked, unmasked};

fn close(endpoint: &mut Endpoint, code: CloseCode, reason: &str) -> bool {
    let Endpoint {
        connection,
        resources,
        out,
        ..
    } = endpoint;
    connection.close(code, reason, resources, out)
}

#[test]
fn a_close_is_echoed_and_both_sides_are_done() {
    let (mut client, mut server) = (Endpoint::client(), Endpoint::server());
    assert!(client.connection.is_open());
    assert!(close(&mut client, CloseCode::GOING_AWAY, "bye"));
    assert!(client.connection.close_sent() && !client.connection.is_closed());

    let seen = server.read(&client.take_out());
    assert_eq!(
        seen,
        [Seen::Closed(CloseCode::GOING_AWAY, "bye".into(), true)]
    );
    assert_eq!(server.out, close_frame(1001, ""));
    assert!(server.connection.is_closed() && server.connection.close_received());

    let seen = client.read(&server.take_out());
    assert_eq!(
        seen,
        [Seen::Closed(CloseCode::GOING_AWAY, String::new(), true)]
    );
    assert!(client.connection.is_closed() && client.out.is_empty());
}

#[test]
fn an_empty_close_has_no_status_and_an_empty_echo() {
    let mut server = Endpoint::server();
    let seen = server.read(&masked(true, Close, b""));
    assert_eq!(
        seen,
        [Seen::Closed(CloseCode::NO_STATUS, String::new(), true)]
    );
    assert_eq!(server.out, [0x88, 0]);
}

#[test]
fn every_code_that_may_be_sent_is_echoed() {
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1014, 3000, 4000, 4999u16,
    ] {
        let mut server = Endpoint::server();
        let seen = server.read(&masked(true, Close, &code.to_be_bytes()));
        assert_eq!(seen, [Seen::Closed(CloseCode(code), String::new(), true)]);
        assert_eq!(server.out, close_frame(code, ""));
    }
}

#[test]
fn codes_that_must_not_be_on_the_wire_send_an_empty_close() {
    for code in [
        CloseCode::NO_STATUS,
        CloseCode::ABNORMAL,
        CloseCode(0),
        CloseCode(1015),
    ] {
        let mut server = Endpoint::server();
        assert!(close(&mut server, code, "unsaid"));
        assert_eq!(server.out, [0x88, 0]);
    }
}

#[test]
fn a_second_close_does_nothing() {
    let mut server = Endpoint::server();
    assert!(close(&mut server, CloseCode::NORMAL, ""));
    let once = server.out.clone();
    assert!(!close(&mut server, CloseCode::POLICY, "again"));
    assert_eq!(server.out, once);

    let mut answered = Endpoint::server();
    answered.read(&masked(true, Close, b""));
    assert!(!close(&mut answered, CloseCode::NORMAL, ""));
}

#[test]
fn nothing_is_sent_after_a_close_but_messages_still_arrive() {
    let mut server = Endpoint::server();
    close(&mut server, CloseCode::NORMAL, "");
    server.take_out();
    let Endpoint {
        connection,
        resources,
        out,
        ..
    } = &mut server;
    assert_eq!(
        connection.send(Kind::Text, b"late", resources, out),
        Err(Closing)
    );
    assert_eq!(
        connection.send_fragment(Kind::Text, b"", true, true, resources, out),
        Err(Closing)
    );
    assert_eq!(connection.ping(b"", resources, out), Err(Closing));
    assert_eq!(connection.pong(b"", resources, out), Err(Closing));

    let late = [masked(true, Text, b"under way"), masked(true, Ping, b"?")].concat();
    let seen = server.read(&late);
    assert_eq!(
        seen,
        [Seen::Text("under way".into()), Seen::Ping(b"?".to_vec())]
    );
    assert!(server.out.is_empty());
}

#[test]
fn what_follows_the_peers_close_is_ignored() {
    let mut server = Endpoint::server();
    let mut bytes = masked(true, Close, &1000u16.to_be_bytes());
    bytes.extend(masked(true, Text, b"late"));
    bytes.extend([0xFF; 50]);
    let seen = server.read(&bytes);
    assert_eq!(seen, [Seen::Closed(CloseCode::NORMAL, String::new(), true)]);
    assert_eq!(server.out, close_frame(1000, ""));
    assert_eq!(server.read(&[0xFF; 50]), []);
}

#[test]
fn closes_that_cross_are_both_seen_once() {
    let (mut client, mut server) = (Endpoint::client(), Endpoint::server());
    close(&mut client, CloseCode(4001), "c");
    close(&mut server, CloseCode(4002), "s");
    let (to_server, to_client) = (client.take_out(), server.take_out());
    assert_eq!(
        server.read(&to_server),
        [Seen::Closed(CloseCode(4001), "c".into(), true)]
    );
    assert_eq!(
        client.read(&to_client),
        [Seen::Closed(CloseCode(4002), "s".into(), true)]
    );
    assert!(server.out.is_empty() && client.out.is_empty());
}

#[test]
fn a_close_inside_a_message_is_not_clean() {
    let mut server = Endpoint::server();
    let bytes = [masked(false, Text, b"unfin"), masked(true, Close, b"")].concat();
    let seen = server.read(&bytes);
    assert_eq!(
        seen,
        [Seen::Closed(CloseCode::NO_STATUS, String::new(), false)]
    );
}

#[test]
fn a_violation_after_our_close_fails_without_a_second_close() {
    let mut server = Endpoint::server();
    close(&mut server, CloseCode::NORMAL, "");
    server.take_out();
    let seen = server.read(&masked(true, Continuation, b""));
    assert_eq!(seen, [Seen::Failed(ProtocolError::UnexpectedContinuation)]);
    assert!(server.out.is_empty() && server.connection.is_closed());
}

#[test]
fn the_longest_reason_fits_and_a_longer_one_is_cut() {
    let mut server = Endpoint::server();
    close(&mut server, CloseCode::POLICY, &"ß".repeat(200));
    assert_eq!(server.out, close_frame(1008, &"ß".repeat(61)));
    let seen = Endpoint::client().read(&close_frame(1008, &"r".repeat(123)));
    assert_eq!(
        seen,
        [Seen::Closed(CloseCode::POLICY, "r".repeat(123), true)]
    );
}

#[test]
fn control_payloads_are_cut_at_125_bytes() {
    let mut server = Endpoint::server();
    let Endpoint {
        connection,
        resources,
        out,
        ..
    } = &mut server;
    connection.ping(&[1; 200], resources, out).unwrap();
    connection.pong(&[2; 126], resources, out).unwrap();
    let expected = [
        unmasked(true, Ping, &[1; 125]),
        unmasked(true, hioload_protocol::frame::OpCode::Pong, &[2; 125]),
    ];
    assert_eq!(server.out, expected.concat());
}
