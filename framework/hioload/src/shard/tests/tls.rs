//! TLS on virtual time: rustls as the client, its bytes carried by hand.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hioload_platform::{RecvEnd, Token};
use hioload_protocol::handshake::ClientRequest;
use hioload_protocol::{CloseCode, Connection, Kind, Resources, Role};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::closing::cut_after_five_seconds;
use super::{MS, SECOND, Shard, resources, silent};
use crate::config::{Backpressure, Config};
use crate::shard::chain::Transport;
use crate::shard::tls::Session;
use crate::tls::TlsConfig;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// A certificate for `localhost` and what trusts it.
struct Authority {
    tls: TlsConfig,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let stem = format!("hioload-shard-tls-{}-{n}", std::process::id());
        let file = |end: &str, text: String| -> PathBuf {
            let path = std::env::temp_dir().join(format!("{stem}.{end}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = (
            file("pem", made.cert.pem()),
            file("key", made.signing_key.serialize_pem()),
        );
        let tls = TlsConfig::from_pem_files(std::slice::from_ref(&pair)).unwrap();
        std::fs::remove_file(pair.0).unwrap();
        std::fs::remove_file(pair.1).unwrap();
        Self {
            tls,
            certificate: made.cert.der().clone(),
        }
    }

    fn accept(&self, shard: &mut Shard) -> Token {
        let session = Session::server(self.tls.accept().unwrap());
        shard.accept_over(Transport::tls(session))
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConnection {
        self.client_of(version, None)
    }

    /// A client that cuts what it sends into records of at most `fragment`
    /// bytes.
    fn client_of(
        &self,
        version: &'static SupportedProtocolVersion,
        fragment: Option<usize>,
    ) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.max_fragment_size = fragment;
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }
}

/// A TLS client on the shard's wire.
struct Peer {
    token: Token,
    tls: ClientConnection,
    protocol: Connection,
    resources: Resources,
    /// Bytes per receive of the server.
    piece: usize,
    plain: Vec<u8>,
    /// The server's close_notify arrived.
    notified: bool,
    records: usize,
}

impl Peer {
    fn connect(
        shard: &mut Shard,
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
        piece: usize,
    ) -> Self {
        let client = authority.client(version);
        Self::connect_as(client, shard, authority, piece)
    }

    fn connect_as(
        client: ClientConnection,
        shard: &mut Shard,
        authority: &Authority,
        piece: usize,
    ) -> Self {
        let token = authority.accept(shard);
        let mut peer = Self {
            token,
            tls: client,
            protocol: Connection::new(Role::Client),
            resources: resources(),
            piece,
            plain: Vec::new(),
            notified: false,
            records: 0,
        };
        while peer.tls.is_handshaking() {
            assert!(peer.exchange(shard) > 0, "the handshake is stuck");
        }
        peer.exchange(shard);
        peer
    }

    fn open(shard: &mut Shard, authority: &Authority, path: &str) -> Self {
        let mut peer = Self::connect(shard, authority, VERSIONS[0], usize::MAX);
        peer.upgrade(shard, path);
        peer
    }

    fn upgrade(&mut self, shard: &mut Shard, path: &str) {
        let request = ClientRequest {
            host: "localhost",
            target: path,
            protocols: &[],
            headers: &[],
            origin: None,
            deflate: None,
        };
        let mut head = Vec::new();
        request.write([3; 16], &mut head);
        self.write(shard, &head);
        let answer = self.take();
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{answer:?}");
        assert!(answer.ends_with(b"\r\n\r\n"));
    }

    /// Sends plaintext, and reads what comes back.
    fn write(&mut self, shard: &mut Shard, bytes: &[u8]) {
        for part in bytes.chunks(32 << 10) {
            self.tls.writer().write_all(part).unwrap();
            while self.exchange(shard) > 0 {}
        }
    }

    fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.protocol
            .send(Kind::Binary, payload, &mut self.resources, &mut bytes)
            .unwrap();
        bytes
    }

    /// Carries bytes both ways once; returns how many.
    fn exchange(&mut self, shard: &mut Shard) -> usize {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).unwrap();
        }
        for piece in out.chunks(self.piece) {
            shard.feed(self.token, piece);
        }
        let input = std::mem::take(&mut shard.wires[self.token.index()].bytes);
        let mut rest = &input[..];
        while let Some(&[kind, _, _, high, low]) = rest.first_chunk::<5>() {
            self.records += usize::from(kind == 23);
            rest = &rest[5 + usize::from(u16::from_be_bytes([high, low]))..];
        }
        let mut rest = &input[..];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).unwrap();
            let state = self.tls.process_new_packets().unwrap();
            self.notified |= state.peer_has_closed();
            let before = self.plain.len();
            self.plain
                .resize(before + state.plaintext_bytes_to_read(), 0);
            self.tls
                .reader()
                .read_exact(&mut self.plain[before..])
                .unwrap();
        }
        out.len() + input.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }
}

/// A server's frame around a binary payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    hioload_protocol::frame::encode_message(Kind::Binary, payload)
}

#[test]
fn every_split_of_the_stream_gives_the_same_echoes() {
    let authority = Authority::new();
    for version in VERSIONS {
        for piece in [1, 3, 7, 100, 1000, 16_384, 20_000, usize::MAX] {
            let mut shard = Shard::new(&silent());
            let mut peer = Peer::connect(&mut shard, &authority, version, piece);
            peer.upgrade(&mut shard, "/echo");
            for size in [0, 1, 125, 126, 1000, 16_352, 16_384, 70_000] {
                if piece < 100 && size > 1000 {
                    continue;
                }
                let payload: Vec<u8> = (0..size).map(|n: usize| n.to_le_bytes()[0]).collect();
                let message = peer.message(&payload);
                peer.write(&mut shard, &message);
                assert_eq!(peer.take(), frame(&payload), "{size} in {piece}");
            }
            shard.core.exchange();
            assert_eq!(shard.metrics.send_bytes_pending(), 0);
            assert_eq!(shard.metrics.tls_handshakes(), 1);
            assert!(shard.metrics.tls_failures().is_empty());
        }
    }
}

#[test]
fn handshake_messages_split_over_records_and_receives_are_joined() {
    let authority = Authority::new();
    for version in VERSIONS {
        for (fragment, piece) in [(32, 1), (32, 50), (40, 7), (100, 1000), (64, usize::MAX)] {
            let mut shard = Shard::new(&silent());
            let client = authority.client_of(version, Some(fragment));
            let mut peer = Peer::connect_as(client, &mut shard, &authority, piece);
            peer.upgrade(&mut shard, "/echo");
            let message = peer.message(&[8; 500]);
            peer.write(&mut shard, &message);
            assert_eq!(peer.take(), frame(&[8; 500]), "{fragment} {piece}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(300))]

    /// Whatever is changed in a client's bytes, and wherever the receives end,
    /// the shard lives, the connection ends, and nothing stays behind.
    #[test]
    fn damaged_streams_end_and_leave_nothing(
        version in 0..2usize,
        fragment in proptest::sample::select(vec![None, Some(32), Some(100)]),
        established: bool,
        piece in 1..400usize,
        changes in proptest::collection::vec((0..2000usize, 0..=255u8), 1..4),
    ) {
        let authority = Authority::new();
        let mut shard = Shard::new(&silent());
        let client = authority.client_of(VERSIONS[version], fragment);
        let (token, mut bytes) = if established {
            let mut peer = Peer::connect_as(client, &mut shard, &authority, piece);
            let message = peer.message(&[1; 600]);
            peer.tls.writer().write_all(&message).unwrap();
            let mut out = Vec::new();
            while peer.tls.wants_write() {
                peer.tls.write_tls(&mut out).unwrap();
            }
            (peer.token, out)
        } else {
            let mut out = Vec::new();
            let mut client = client;
            while client.wants_write() {
                client.write_tls(&mut out).unwrap();
            }
            (authority.accept(&mut shard), out)
        };
        let len = bytes.len();
        for (at, value) in changes {
            bytes[at % len] = value;
        }
        for part in bytes.chunks(piece) {
            if !shard.wire(token).closed {
                shard.feed(token, part);
            }
        }
        shard.advance(30 * SECOND);
        proptest::prop_assert!(shard.wire(token).closed);
        proptest::prop_assert_eq!(shard.metrics.sockets(), 0);
        proptest::prop_assert_eq!(shard.metrics.send_bytes_pending(), 0);
    }
}

#[test]
fn a_turns_messages_leave_in_one_record() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let mut peer = Peer::open(&mut shard, &authority, "/echo");
    let mut burst = Vec::new();
    for n in 0..50 {
        burst.extend(peer.message(&[n; 20]));
    }
    peer.records = 0;
    peer.write(&mut shard, &burst);
    assert_eq!(peer.take().len(), 50 * 22);
    assert_eq!(peer.records, 1);
}

#[test]
fn small_and_large_shared_frames_are_gathered_into_full_records() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let mut reader = Peer::open(&mut shard, &authority, "/room");
    let mut publisher = super::Client::open(&mut shard, "/room");
    shard.wires[reader.token.index()].stuck = true;
    publisher.send(&mut shard, &[0; 10]);
    reader.exchange(&mut shard);
    reader.records = 0;
    let mut expected = frame(&[0; 10]);
    for n in 1..=60 {
        let payload = vec![n; 2000];
        publisher.send(&mut shard, &payload);
        expected.extend(frame(&payload));
    }
    while shard.metrics.send_bytes_pending() > 0 {
        shard.unstick(reader.token);
        reader.exchange(&mut shard);
        shard.core.exchange();
    }
    assert_eq!(reader.take(), expected);
    // The first was with the kernel when the others came: 120,240 bytes.
    assert_eq!(reader.records, 8);
}

#[test]
fn a_stuck_peers_large_frame_is_sealed_bit_by_bit() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let mut reader = Peer::open(&mut shard, &authority, "/room");
    let mut publisher = super::Client::open(&mut shard, "/room");
    shard.wires[reader.token.index()].stuck = true;
    let payload: Vec<u8> = (0..500_000u32).map(|n| n.to_le_bytes()[1]).collect();
    publisher.send(&mut shard, &payload);
    shard.core.exchange();
    let overhead = shard.metrics.send_bytes_pending() - 500_010;
    assert_eq!(
        overhead,
        4 * 22,
        "four records are sealed, the rest is shared"
    );
    let mut most = 0;
    while shard.metrics.send_bytes_pending() > 0 {
        most = most.max(shard.wire(reader.token).bytes.len());
        reader.exchange(&mut shard);
        shard.wires[reader.token.index()].stuck = true;
        let sent = std::mem::take(&mut shard.wires[reader.token.index()].in_flight);
        shard.core.sent(reader.token, &Ok(sent));
        shard.turn();
    }
    reader.exchange(&mut shard);
    assert_eq!(reader.take(), frame(&payload));
    assert!(most < 70_000, "{most}");
}

#[test]
fn close_notify_leaves_before_our_side_ends() {
    let authority = Authority::new();
    for version in VERSIONS {
        let mut shard = Shard::new(&silent());
        let mut peer = Peer::connect(&mut shard, &authority, version, usize::MAX);
        peer.upgrade(&mut shard, "/echo");
        shard.wires[peer.token.index()].stuck = true;
        let mut close = Vec::new();
        peer.protocol
            .close(CloseCode(4001), "bye", &mut peer.resources, &mut close);
        peer.tls.writer().write_all(&close).unwrap();
        peer.exchange(&mut shard);
        assert!(!shard.wire(peer.token).shut, "the send is in flight");
        shard.unstick(peer.token);
        peer.exchange(&mut shard);
        assert!(shard.wire(peer.token).shut && peer.notified);
        assert_eq!(peer.take(), [0x88, 2, 0x0f, 0xa1]);
        shard.core.receive_ended(peer.token, &RecvEnd::Eof);
        shard.turn();
        assert!(shard.wire(peer.token).closed);
        assert_eq!(shard.app().closed, [(4001, true)]);
        assert_eq!(shard.metrics.sockets(), 0);
        assert_eq!(shard.metrics.send_bytes_pending(), 0);
    }
}

#[test]
fn after_our_close_neither_silence_nor_more_input_moves_the_deadline() {
    let authority = Authority::new();
    let sends: [fn(&mut Peer) -> Vec<u8>; 4] = [
        |_| Vec::new(),
        |peer| peer.message(&[6; 300]),
        |peer| {
            let mut ping = Vec::new();
            let sent = peer.protocol.ping(b"?", &mut peer.resources, &mut ping);
            sent.unwrap();
            ping
        },
        // Not a frame.
        |_| vec![0xFF; 40],
    ];
    for (version, send) in VERSIONS.into_iter().flat_map(|v| sends.map(|s| (v, s))) {
        let mut shard = Shard::new(&silent());
        let mut peer = Peer::connect(&mut shard, &authority, version, usize::MAX);
        peer.upgrade(&mut shard, "/echo");
        shard.core.with(peer.token, |link, cx| {
            link.close(CloseCode(4000), "bye", cx);
        });
        let token = peer.token;
        cut_after_five_seconds(&mut shard, token, |shard| {
            let bytes = send(&mut peer);
            peer.tls.writer().write_all(&bytes).unwrap();
            peer.exchange(shard);
        });
        assert_eq!(shard.metrics.sockets(), 0);
        assert_eq!(shard.app().closed.len(), 1);
    }
}

#[test]
fn after_an_alert_neither_silence_nor_more_input_moves_the_deadline() {
    let authority = Authority::new();
    for more in [&[][..], &[23, 3, 3, 0, 1, 0], &[0; 500]] {
        let mut shard = Shard::new(&silent());
        let peer = Peer::open(&mut shard, &authority, "/echo");
        shard.feed(peer.token, &[23, 3, 3, 0, 1, 0]);
        assert!(shard.wire(peer.token).shut);
        cut_after_five_seconds(&mut shard, peer.token, |shard| {
            shard.feed(peer.token, more);
        });
    }
}

#[test]
fn a_peers_close_notify_ends_the_connection_with_ours() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let mut peer = Peer::open(&mut shard, &authority, "/echo");
    let last = peer.message(b"last");
    peer.tls.writer().write_all(&last).unwrap();
    peer.tls.send_close_notify();
    while peer.exchange(&mut shard) > 0 {}
    assert_eq!(peer.take(), frame(b"last"));
    assert!(peer.notified && shard.wire(peer.token).closed);
    assert_eq!(shard.app().closed, [(1006, false)]);
}

#[test]
fn the_handshake_has_the_deadline_of_the_request() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let mute = authority.accept(&mut shard);
    let slow = authority.accept(&mut shard);
    let mut hello = Vec::new();
    authority.client(VERSIONS[0]).write_tls(&mut hello).unwrap();
    for (n, byte) in hello[..40].iter().enumerate() {
        shard.feed(slow, &[*byte]);
        shard.advance(if n < 39 { SECOND / 4 } else { 0 });
    }
    assert!(!shard.wire(slow).closed && !shard.wire(mute).closed);
    // Established, but without a request.
    let idle = Peer::connect(&mut shard, &authority, VERSIONS[0], usize::MAX);
    shard.advance(SECOND / 4 + MS);
    assert!(shard.wire(slow).closed && shard.wire(mute).closed);
    assert!(!shard.wire(idle.token).closed);
    shard.advance(10 * SECOND);
    assert!(shard.wire(idle.token).closed);
    assert_eq!(shard.metrics.tls_failures()["timeout"], 2);
    assert_eq!(shard.metrics.sockets(), 0);
}

#[test]
fn plain_http_is_told_so() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let token = authority.accept(&mut shard);
    shard.feed(token, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = String::from_utf8_lossy(&shard.wire(token).bytes);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("https://"), "{answer}");
    assert!(shard.wire(token).shut);
    shard.feed(token, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    shard.core.receive_ended(token, &RecvEnd::Eof);
    shard.turn();
    assert!(shard.wire(token).closed);
    let failures = shard.metrics.tls_failures();
    assert_eq!(
        failures.into_iter().collect::<Vec<_>>(),
        [("plain_http".into(), 1)]
    );
}

#[test]
fn garbage_ends_its_own_connection_with_an_alert() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let mut bystander = Peer::open(&mut shard, &authority, "/echo");
    for garbage in [
        &[0x16, 3, 1, 0xff, 0xff][..],
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15][..],
        &[0; 100][..],
        &[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff][..],
        &[0x17, 3, 3, 0, 1, 0][..],
    ] {
        let token = authority.accept(&mut shard);
        shard.feed(token, garbage);
        shard.advance(SECOND * 20);
        assert!(shard.wire(token).closed, "{garbage:02x?}");
    }
    let mut forged = Peer::open(&mut shard, &authority, "/echo");
    shard.feed(forged.token, &[23, 3, 3, 0, 32, 1, 1, 1, 1]);
    shard.feed(forged.token, &[1; 28]);
    assert!(shard.wire(forged.token).shut);
    let mut alert = &std::mem::take(&mut shard.wires[forged.token.index()].bytes)[..];
    forged.tls.read_tls(&mut alert).unwrap();
    let error = forged.tls.process_new_packets().unwrap_err();
    assert_eq!(error.to_string(), "received fatal alert: BadRecordMac");
    assert_eq!(shard.app().closed, [(1006, false)]);
    assert_eq!(shard.metrics.tls_failures()["decrypt"], 1);
    let message = bystander.message(b"still here");
    bystander.write(&mut shard, &message);
    assert_eq!(bystander.take(), frame(b"still here"));
    shard.core.exchange();
    assert_eq!(shard.metrics.send_bytes_pending(), 0);
}

#[test]
fn an_end_in_the_handshake_is_counted_and_leaves_nothing() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let token = authority.accept(&mut shard);
    let mut hello = Vec::new();
    authority.client(VERSIONS[1]).write_tls(&mut hello).unwrap();
    shard.feed(token, &hello);
    shard.core.receive_ended(token, &RecvEnd::Eof);
    shard.turn();
    assert!(shard.wire(token).closed);
    assert_eq!(shard.metrics.tls_failures()["eof"], 1);
    shard.core.exchange();
    assert_eq!(shard.metrics.send_bytes_pending(), 0);
}

#[test]
fn pause_reading_keeps_what_was_opened_and_goes_on() {
    let authority = Authority::new();
    let config = Config {
        backpressure_limit: 10_000,
        backpressure: Backpressure::PauseReading,
        ..silent()
    };
    let mut shard = Shard::new(&config);
    let mut peer = Peer::open(&mut shard, &authority, "/echo");
    shard.wires[peer.token.index()].stuck = true;
    for _ in 0..20 {
        let message = peer.message(&[1; 1000]);
        peer.tls.writer().write_all(&message).unwrap();
    }
    peer.tls.send_close_notify();
    peer.exchange(&mut shard);
    let pending = shard.metrics.send_bytes_pending();
    assert!((5000..8000).contains(&pending), "{pending}");
    assert_eq!(
        shard.app().closed,
        [],
        "what came before the end is heard first"
    );
    for _ in 0..30 {
        if !shard.wire(peer.token).closed {
            shard.unstick(peer.token);
        }
        peer.exchange(&mut shard);
    }
    assert_eq!(peer.take(), frame(&[1; 1000]).repeat(20));
    assert!(peer.notified && shard.wire(peer.token).closed);
    shard.core.exchange();
    assert_eq!(shard.metrics.send_bytes_pending(), 0);
}

#[test]
fn sending_goes_on_between_the_halves_of_a_key_update() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let mut peer = Peer::open(&mut shard, &authority, "/room");
    let mut publisher = super::Client::open(&mut shard, "/room");
    for round in 0..5 {
        peer.tls.refresh_traffic_keys().unwrap();
        let mut update = Vec::new();
        peer.tls.write_tls(&mut update).unwrap();
        let (first, second) = update.split_at(3 + round * 5);
        shard.feed(peer.token, first);
        publisher.send(&mut shard, b"between");
        shard.feed(peer.token, second);
        publisher.send(&mut shard, b"after");
        peer.exchange(&mut shard);
        assert_eq!(peer.take(), [frame(b"between"), frame(b"after")].concat());
    }
    assert!(shard.metrics.tls_failures().is_empty());
}

#[test]
fn above_the_connection_limit_the_answer_comes_through_tls() {
    let authority = Authority::new();
    let mut shard = Shard::new(&Config {
        max_connections: 1,
        ..silent()
    });
    let _first = Peer::open(&mut shard, &authority, "/echo");
    let mut second = Peer::connect(&mut shard, &authority, VERSIONS[0], 10);
    let answer = second.take();
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
    assert!(second.notified && shard.wire(second.token).shut);
}

#[test]
fn stopping_ends_a_handshake_at_once_and_closes_the_open() {
    let authority = Authority::new();
    let mut shard = Shard::new(&silent());
    let fresh = authority.accept(&mut shard);
    let mut peer = Peer::open(&mut shard, &authority, "/echo");
    shard.core.stop(false, None);
    shard.turn();
    assert!(shard.wire(fresh).shut && shard.wire(fresh).bytes.is_empty());
    peer.exchange(&mut shard);
    assert_eq!(peer.take()[2..4], 1001u16.to_be_bytes());
    shard.advance(10 * SECOND);
    assert!(shard.core.is_drained());
}
