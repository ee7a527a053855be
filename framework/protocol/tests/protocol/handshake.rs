//! The opening handshake of both roles.

use hioload_protocol::handshake::{
    ClientRequest, HandshakeLimits, Parsed, Refusal, Request, ResponseError, Version, accept,
    parse_request, parse_response, write_accept,
};
use proptest::prelude::*;

/// The example of RFC 6455 section 1.3.
const GOOD: &str = "GET /chat?room=1&x HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn parse(text: &str) -> Result<Parsed<Request<'_>>, Refusal> {
    parse_request(text.as_bytes(), &HandshakeLimits::default())
}

fn parsed(text: &str) -> Request<'_> {
    match parse(text) {
        Ok(Parsed::Complete { head_len, value }) => {
            assert_eq!(head_len, text.len());
            value
        }
        other => panic!("{other:?} for {text:?}"),
    }
}

/// The status that a request gets, as a plain one or else as an upgrade.
fn refused(text: &str) -> u16 {
    match parse(text) {
        Err(refusal) => refusal.status(),
        Ok(Parsed::Complete { value, .. }) => accept(&value)
            .expect_err(&format!("accepted {text:?}"))
            .status(),
        Ok(Parsed::Partial) => panic!("partial: {text:?}"),
    }
}

#[test]
fn the_example_of_the_rfc_is_accepted() {
    let request = parsed(GOOD);
    assert_eq!(request.method(), "GET");
    assert_eq!(request.target(), "/chat?room=1&x");
    assert_eq!(request.path(), "/chat");
    assert_eq!(request.query(), Some("room=1&x"));
    assert_eq!(request.version(), Version::Http11);
    assert_eq!(request.header("HOST"), Some("server.example.com"));
    assert_eq!(request.header("absent"), None);
    assert_eq!(request.headers().count(), 7);
    assert!(request.wants_upgrade() && request.keep_alive() && !request.has_body());

    let accepted = accept(&request).unwrap();
    assert_eq!(&accepted.accept_key, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut out = Vec::new();
    write_accept(&mut out, &accepted, Some("chat"), None, &[("X-Shard", "3")]).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: chat\r\n\
         X-Shard: 3\r\n\r\n"
    );
}

#[test]
fn variants_that_the_rfc_allows_are_accepted() {
    for (from, to) in [
        ("Upgrade: websocket", "UPGRADE:WebSocket"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket"),
        ("keep-alive, Upgrade", "UPGRADE"),
        (
            "Connection: keep-alive, Upgrade",
            "Connection: keep-alive\r\nConnection: upgrade",
        ),
        ("/chat?room=1&x", "http://server.example.com/chat"),
        ("Host: server.example.com", "Host: [::1]:8000"),
        ("Host: server.example.com", "Host:"),
        ("Origin: http://example.com", "Cookie: a=b; c=\u{e4}"),
        ("Origin: http://example.com", "Content-Length: 0"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD);
        accept(&parsed(&text)).unwrap_or_else(|refusal| panic!("{refusal} for {text:?}"));
    }
    let after_empty_line = format!("\r\n{GOOD}");
    accept(&parsed(&after_empty_line)).unwrap();
}

#[test]
fn every_bad_upgrade_gets_its_status() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (from, to, status) in [
        ("GET", "POST", 405),
        ("GET", "get", 405),
        ("HTTP/1.1", "HTTP/1.0", 400),
        ("HTTP/1.1", "HTTP/2.0", 505),
        ("Host: server.example.com\r\n", "", 400),
        ("Upgrade: websocket\r\n", "", 426),
        ("Upgrade: websocket", "Upgrade: websockets", 426),
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("Connection: keep-alive, Upgrade\r\n", "", 400),
        ("keep-alive, Upgrade", "keep-alive", 400),
        ("Version: 13", "Version: 12", 426),
        ("Version: 13", "Version: 013", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 400),
        (key, "X: y", 400),
        (key, "Sec-WebSocket-Key:", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZXk=", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==", 400),
        ("Origin: http://example.com", "Content-Length: 5", 400),
        (
            "Origin: http://example.com",
            "Transfer-Encoding: chunked",
            400,
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from:?}");
        assert_eq!(refused(&text), status, "{to:?} for {from:?}");
    }
}

#[test]
fn every_malformed_request_gets_its_status() {
    let origin = "Origin: http://example.com";
    for (from, to, status) in [
        ("\r\nUpgrade", "\nUpgrade", 400),
        ("\r\nUpgrade", "\rUpgrade", 400),
        (origin, "Origin: a\0b", 400),
        (origin, "Origin : a", 400),
        (origin, "Ori gin: a", 400),
        (origin, "Origin: a\r\n folded", 400),
        (origin, "Origin: a\r\n\tfolded", 400),
        (origin, ": nameless", 400),
        (origin, "no colon", 400),
        (origin, "Origin: a\r\nOrigin: b", 400),
        (origin, "Host: other.example.com", 400),
        (origin, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        (origin, "Sec-WebSocket-Version: 13", 400),
        (origin, "Content-Length: 0\r\nContent-Length: 0", 400),
        (
            origin,
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            400,
        ),
        (origin, "Content-Length: +5", 400),
        (origin, "Content-Length: 0x5", 400),
        (origin, "Content-Length:", 400),
        (origin, "Content-Length: 99999999999999999999", 400),
        (origin, "Content-Length: 5, 5", 400),
        (origin, "Content-Length: 5\r\ncontent-length: 5", 400),
        (origin, "Content-Length : 5", 400),
        (origin, "Content-Length: 0\r\n 5", 400),
        (
            origin,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            400,
        ),
        (
            origin,
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            400,
        ),
        (
            origin,
            "Transfer-Encoding\u{b}: chunked\r\nContent-Length: 5",
            400,
        ),
        (origin, "Transfer-Encoding: xchunked", 501),
        (origin, "Transfer-Encoding: gzip, chunked", 501),
        (origin, "\0: a", 400),
        (origin, "Or\0igin: a", 400),
        (origin, "Origin: a\rX: b", 400),
        (origin, "Origin: a\n X: b", 400),
        (origin, "Origin: a\r\r\n", 400),
        (origin, "Origin: a\u{7f}", 400),
        (origin, "Authorization: a\r\nauthorization: b", 400),
        (origin, "Sec-WebSocket-Protocol: a b", 400),
        (origin, "Sec-WebSocket-Protocol: \"a\"", 400),
        ("\r\nHost:", "\r\n Host:", 400),
        ("/chat?room=1&x", "/ch\0at", 400),
        ("/chat?room=1&x", "/ch\tat", 400),
        ("HTTP/1.1", "HTTP/1.1\0", 400),
        ("GET", "G\0ET", 400),
        ("GET", "GE(T", 400),
        ("Host: server.example.com", "Host: a/b", 400),
        ("Host: server.example.com", "Host: a b", 400),
        ("/chat?room=1&x", "/chat#fragment", 400),
        ("/chat?room=1&x", "/ch\u{e4}t", 400),
        ("/chat?room=1&x", "chat", 400),
        ("/chat?room=1&x", "*", 400),
        ("/chat?room=1&x", "ftp://server/chat", 400),
        ("GET /chat?room=1&x HTTP/1.1", "GET /chat", 400),
        ("GET /chat?room=1&x HTTP/1.1", "GET  /chat HTTP/1.1", 400),
        ("GET /chat?room=1&x HTTP/1.1", "GET /chat HTTP/1.1 ", 400),
        ("GET /chat?room=1&x HTTP/1.1", " GET /chat HTTP/1.1", 400),
        ("GET", "\r\n\r\nGET", 400),
        ("GET", "\nGET", 400),
        ("GET", "\u{16}\u{3}\u{1}", 400),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from:?}");
        assert_eq!(refused(&text), status, "{to:?} for {from:?}");
    }
}

#[test]
fn repeated_lists_are_merged_in_order() {
    let text = GOOD.replacen(
        "Origin: http://example.com",
        "sec-websocket-protocol: first,, second\r\nSec-WebSocket-Protocol:\r\nCookie: a\r\nCookie: b",
        1,
    );
    let request = parsed(&text);
    accept(&request).unwrap();
    assert_eq!(
        request.protocols().collect::<Vec<_>>(),
        ["first", "second", "chat", "superchat"]
    );
    assert_eq!(
        request.header_all("COOKIE").collect::<Vec<_>>(),
        [b"a", b"b"]
    );
    assert_eq!(request.header_all("absent").count(), 0);
    assert_eq!(
        parsed("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .protocols()
            .count(),
        0
    );
}

#[test]
fn limits_have_their_own_statuses_before_the_head_is_complete() {
    let limits = HandshakeLimits {
        max_bytes: 300,
        max_request_line: 100,
        max_headers: 4,
    };
    let status = |text: &str| match parse_request(text.as_bytes(), &limits) {
        Ok(Parsed::Partial) => 0,
        Ok(Parsed::Complete { .. }) => 200,
        Err(refusal) => refusal.status(),
    };
    let head = |filler: usize, headers: usize| {
        let headers = "A: b\r\n".repeat(headers);
        format!(
            "GET / HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            "h".repeat(filler)
        )
    };
    let fixed = head(0, 0).len();
    assert_eq!(status(&head(300 - fixed, 0)), 200);
    assert_eq!(status(&head(301 - fixed, 0)), 431);
    assert_eq!(status(&head(300 - fixed, 0)[..299]), 0);
    assert_eq!(status(&head(400, 0)[..300]), 431);
    assert_eq!(status(&head(1, 3)), 200);
    assert_eq!(status(&head(1, 4)), 431);

    let line = |len: usize| format!("GET /{} HTTP/1.1\r\n", "p".repeat(len - 16));
    assert_eq!(line(100).len(), 100);
    assert_eq!(status(&format!("{}Host: h\r\n\r\n", line(100))), 200);
    assert_eq!(status(&format!("{}Host: h\r\n\r\n", line(101))), 414);
    assert_eq!(status(&line(200)[..101]), 414);
}

#[test]
fn every_prefix_is_partial_and_bytes_after_the_head_are_left() {
    for len in 0..GOOD.len() {
        assert!(matches!(parse(&GOOD[..len]), Ok(Parsed::Partial)), "{len}");
    }
    let after_empty_line = format!("\r\n{GOOD}");
    for len in 0..after_empty_line.len() {
        let outcome = parse(&after_empty_line[..len]);
        assert!(matches!(outcome, Ok(Parsed::Partial)), "{len}");
    }
    let with_frames = format!("{GOOD}\u{1}\u{2}GET / HTTP/1.1\r\n\r\n");
    let Ok(Parsed::Complete { head_len, .. }) = parse(&with_frames) else {
        panic!()
    };
    assert_eq!(head_len, GOOD.len());
}

#[test]
fn garbage_is_refused_before_it_is_complete() {
    for text in [
        "\u{16}\u{3}\u{1}",
        "GET / HTTP/1.1\nHost",
        "GET / HTTP/1.1\r\nHost : a",
    ] {
        assert_eq!(refused(text), 400, "{text:?}");
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n"), 505);
}

#[test]
fn plain_requests_know_their_path_and_whether_they_keep_the_connection() {
    let request = parsed("GET http://h:80?q HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!((request.path(), request.query()), ("/", Some("q")));
    assert!(!request.keep_alive() && !request.wants_upgrade());
    let request = parsed("HEAD / HTTP/1.0\r\n\r\n");
    assert_eq!(
        (request.version(), request.keep_alive()),
        (Version::Http10, false)
    );
    assert!(parsed("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive());
    assert_eq!(parsed("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").path(), "*");
    let request = parsed("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n");
    assert_eq!(
        (request.content_length(), request.has_body()),
        (Some(12), true)
    );
}

#[test]
fn a_refusal_is_a_whole_http_response() {
    let refusals = [
        Refusal::BadRequest("malformed header name"),
        Refusal::Forbidden,
        Refusal::NotFound,
        Refusal::MethodNotAllowed { allow: "GET" },
        Refusal::Timeout,
        Refusal::PayloadTooLarge,
        Refusal::UriTooLong,
        Refusal::UpgradeRequired,
        Refusal::HeadersTooLarge,
        Refusal::Internal,
        Refusal::NotImplemented,
        Refusal::Unavailable,
        Refusal::TooManyConnections,
        Refusal::VersionNotSupported,
    ];
    assert_eq!(refusals.map(|refusal| refusal.label()), Refusal::LABELS);
    for refusal in refusals {
        let mut out = Vec::new();
        refusal.write(&mut out);
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = response.parse(&out).unwrap() else {
            panic!()
        };
        assert_eq!(response.code, Some(refusal.status()));
        let header = |name: &str| {
            let found = response.headers.iter().find(|h| h.name == name);
            found.map(|h| std::str::from_utf8(h.value).unwrap())
        };
        assert_eq!(
            header("Content-Length"),
            Some(&*(out.len() - head).to_string())
        );
        assert_eq!(header("Content-Type"), Some("text/plain; charset=utf-8"));
        assert!(header("Connection").unwrap().starts_with("close"));
        assert_eq!(out[head..], *format!("{}\n", refusal.reason()).as_bytes());
        let is_405 = refusal.status() == 405;
        assert_eq!(header("Allow"), is_405.then_some("GET"));
        let is_426 = refusal.status() == 426;
        assert_eq!(header("Sec-WebSocket-Version"), is_426.then_some("13"));
    }
}

#[test]
fn an_answer_cannot_be_injected_into() {
    let accepted = accept(&parsed(GOOD)).unwrap();
    let mut out = Vec::new();
    for (protocol, extra) in [
        (Some("a\r\nX: y"), &[][..]),
        (Some(""), &[]),
        (Some("a b"), &[]),
        (None, &[("X", "a\r\nY: b")]),
        (None, &[("X\r\nY", "a")]),
        (None, &[("Connection", "close")]),
        (
            None,
            &[
                ("Good", "a"),
                ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ],
        ),
    ] {
        assert!(write_accept(&mut out, &accepted, protocol, None, extra).is_err());
        assert!(out.is_empty());
    }
}

const CLIENT: ClientRequest<'_> = ClientRequest {
    host: "localhost:8000",
    target: "/chat?room=1",
    protocols: &["chat", "superchat"],
    headers: &[("Authorization", "Bearer x")],
    origin: Some("http://localhost"),
    deflate: None,
};

const NONCE: [u8; 16] = *b"the sample nonce";

#[test]
fn a_client_and_a_server_agree() {
    CLIENT.validate().unwrap();
    let mut request = Vec::new();
    let expected = CLIENT.write(NONCE, &mut request);
    let text = String::from_utf8(request).unwrap();
    let request = parsed(&text);
    assert_eq!(
        request.header("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(
        request.header("sec-websocket-protocol"),
        Some("chat, superchat")
    );
    assert_eq!(request.header("authorization"), Some("Bearer x"));
    assert_eq!(request.header("origin"), Some("http://localhost"));
    let accepted = accept(&request).unwrap();
    for protocol in [None, Some("superchat")] {
        let mut response = Vec::new();
        write_accept(&mut response, &accepted, protocol, None, &[("Server", "x")]).unwrap();
        let head = response.len();
        response.extend(b"\x81\x01a");
        let limits = HandshakeLimits::default();
        let Ok(Parsed::Complete { head_len, value }) =
            parse_response(&response, &expected, &limits)
        else {
            panic!("refused");
        };
        assert_eq!((head_len, value.protocol.as_deref()), (head, protocol));
        for len in 0..head {
            assert_eq!(
                parse_response(&response[..len], &expected, &limits),
                Ok(Parsed::Partial)
            );
        }
    }
}

#[test]
fn every_bad_response_gets_its_error() {
    use ResponseError as E;
    let expected = CLIENT.write(NONCE, &mut Vec::new());
    let good = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: WebSocket\r\n\
        Connection: upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: chat\r\n\r\n";
    let limits = HandshakeLimits {
        max_bytes: 400,
        max_headers: 8,
        ..Default::default()
    };
    assert!(matches!(
        parse_response(good.as_bytes(), &expected, &limits),
        Ok(Parsed::Complete { .. })
    ));
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    let malformed = E::Malformed;
    for (from, to, error) in [
        (
            "101 Switching Protocols",
            "403 Forbidden",
            E::Status(403, "Forbidden".into()),
        ),
        (
            "101 Switching Protocols",
            "200",
            E::Status(200, String::new()),
        ),
        ("HTTP/1.1", "HTTP/1.0", malformed("not HTTP/1.1")),
        ("HTTP/1.1", "SSH-2.0", malformed("not HTTP/1.1")),
        (
            "\r\nUpgrade",
            "\nUpgrade",
            malformed("line end is not CR LF"),
        ),
        (
            "Upgrade: WebSocket",
            "Up grade: WebSocket",
            malformed("bad header"),
        ),
        ("Upgrade: WebSocket\r\n", "", E::NoUpgrade),
        ("Upgrade: WebSocket", "Upgrade: h2c", E::NoUpgrade),
        ("Connection: upgrade\r\n", "", E::NoConnectionUpgrade),
        (
            "Connection: upgrade",
            "Connection: close",
            E::NoConnectionUpgrade,
        ),
        (accept, "X: y", E::WrongAccept),
        ("s3pP", "S3pP", E::WrongAccept),
        ("Sec-WebSocket-Protocol: chat", accept, E::WrongAccept),
        ("Protocol: chat", "Protocol: Chat", E::UnofferedProtocol),
        (
            "Protocol: chat",
            "Protocol: chat, superchat",
            E::UnofferedProtocol,
        ),
        (
            "Sec-WebSocket-Protocol: chat",
            "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat",
            E::UnofferedProtocol,
        ),
        (
            "Sec-WebSocket-Protocol: chat",
            "Sec-WebSocket-Extensions: permessage-deflate",
            E::UnofferedExtension,
        ),
        (
            "Protocol: chat",
            &format!("Protocol: {}", "a".repeat(400)),
            E::TooLarge,
        ),
        (
            "Connection",
            &format!("{}Connection", "A: b\r\n".repeat(8)),
            E::TooLarge,
        ),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from:?}");
        let outcome = parse_response(text.as_bytes(), &expected, &limits);
        assert_eq!(outcome, Err(error), "{to:?} for {from:?}");
    }
}

#[test]
fn a_client_request_cannot_be_injected_into() {
    for bad in [
        ClientRequest {
            host: "a\r\nX: y",
            ..CLIENT
        },
        ClientRequest {
            target: "/ HTTP/1.1\r\nX: y",
            ..CLIENT
        },
        ClientRequest {
            protocols: &["a\r\nX: y"],
            ..CLIENT
        },
        ClientRequest {
            headers: &[("A", "b\r\nX: y")],
            ..CLIENT
        },
        ClientRequest {
            headers: &[("A: b\r\nX", "y")],
            ..CLIENT
        },
        ClientRequest {
            origin: Some("a\nX: y"),
            ..CLIENT
        },
    ] {
        assert!(bad.validate().is_err());
        let mut out = Vec::new();
        bad.write(NONCE, &mut out);
        assert!(!String::from_utf8(out).unwrap().contains("X: y"));
    }
}

proptest! {
    #[test]
    fn random_heads_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        damage in proptest::collection::vec((0..GOOD.len(), any::<u8>()), 1..4),
    ) {
        let limits = HandshakeLimits::default();
        let _refused_or_partial = parse_request(&bytes, &limits);
        let expected = CLIENT.write(NONCE, &mut Vec::new());
        let _refused_or_partial = parse_response(&bytes, &expected, &limits);
        let mut damaged = GOOD.as_bytes().to_vec();
        for (at, byte) in damage {
            damaged[at] = byte;
        }
        if let Ok(Parsed::Complete { head_len, value }) = parse_request(&damaged, &limits) {
            prop_assert!(head_len <= damaged.len());
            let _granted_or_refused = accept(&value);
        }
    }
}
