//! permessage-deflate in the opening handshake (RFC 7692 sections 5 and 7.1).

use hioload_protocol::handshake::{
    ClientRequest, HandshakeLimits, Parsed, Request, Response, ResponseError, accept,
    negotiate_deflate, parse_request, parse_response, write_accept,
};
use hioload_protocol::{DeflateConfig, DeflateMode, DeflateParams};

const SHARED: DeflateConfig = DeflateConfig {
    mode: DeflateMode::Shared,
    level: 1,
    mem_level: 8,
    window_bits: 15,
    peer_window_bits: 15,
    min_size: 64,
    max_ratio: 200,
    ratio_floor: 1 << 20,
};

const DEDICATED: DeflateConfig = DeflateConfig {
    mode: DeflateMode::Dedicated,
    ..SHARED
};

fn head(extensions: &[&str]) -> String {
    let lines = extensions
        .iter()
        .map(|value| format!("Sec-WebSocket-Extensions: {value}\r\n"));
    format!(
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
        lines.collect::<String>()
    )
}

fn parsed(text: &str) -> Request<'_> {
    match parse_request(text.as_bytes(), &HandshakeLimits::default()) {
        Ok(Parsed::Complete { value, .. }) => value,
        other => panic!("{other:?}"),
    }
}

/// The answer to these offers.
fn answered(extensions: &[&str], config: &DeflateConfig) -> Option<String> {
    let text = head(extensions);
    let request = parsed(&text);
    accept(&request).expect("well-formed");
    negotiate_deflate(&request, config).map(|agreed| agreed.header().to_owned())
}

#[test]
fn every_offer_gets_the_answer_that_holds() {
    let narrow = DeflateConfig {
        window_bits: 10,
        peer_window_bits: 9,
        ..DEDICATED
    };
    let table: [(&DeflateConfig, &str, Option<&str>); 22] = [
        (&DEDICATED, "", Some("")),
        (
            &SHARED,
            "",
            Some("; server_no_context_takeover; client_no_context_takeover"),
        ),
        // What Chromium, Firefox and `ws` offer.
        (&DEDICATED, "; client_max_window_bits", Some("")),
        (&narrow, "", Some("; server_max_window_bits=10")),
        (
            &narrow,
            "; client_max_window_bits",
            Some("; server_max_window_bits=10; client_max_window_bits=9"),
        ),
        (
            &DEDICATED,
            "; server_no_context_takeover",
            Some("; server_no_context_takeover"),
        ),
        (
            &DEDICATED,
            "; client_no_context_takeover",
            Some("; client_no_context_takeover"),
        ),
        (
            &DEDICATED,
            "; server_max_window_bits=12",
            Some("; server_max_window_bits=12"),
        ),
        (
            &narrow,
            "; server_max_window_bits=12",
            Some("; server_max_window_bits=10"),
        ),
        (
            &DEDICATED,
            "; server_max_window_bits=15",
            Some("; server_max_window_bits=15"),
        ),
        (
            &DEDICATED,
            "; server_max_window_bits=\"9\"",
            Some("; server_max_window_bits=9"),
        ),
        (
            &DEDICATED,
            "; client_max_window_bits=8",
            Some("; client_max_window_bits=8"),
        ),
        (
            &DEDICATED,
            "; client_max_window_bits=15",
            Some("; client_max_window_bits=15"),
        ),
        // zlib cannot compress for 256 bytes.
        (&DEDICATED, "; server_max_window_bits=8", None),
        (&DEDICATED, "; server_max_window_bits", None),
        (&DEDICATED, "; server_max_window_bits=16", None),
        (&DEDICATED, "; server_max_window_bits=09", None),
        (&DEDICATED, "; client_max_window_bits=7", None),
        (&DEDICATED, "; client_max_window_bits=+9", None),
        (&DEDICATED, "; server_no_context_takeover=1", None),
        (
            &DEDICATED,
            "; client_no_context_takeover; client_no_context_takeover",
            None,
        ),
        (&DEDICATED, "; unknown", None),
    ];
    for (config, offer, expected) in table {
        let answer = answered(&[&format!("permessage-deflate{offer}")], config);
        let expected = expected.map(|params| format!("permessage-deflate{params}"));
        assert_eq!(answer, expected, "{offer:?}");
    }
}

#[test]
fn the_first_offer_that_can_be_met_wins_over_all_headers() {
    let best = "permessage-deflate; server_max_window_bits=8, \
        permessage-deflate; client_max_window_bits=0, x-other; a=b, \
        permessage-deflate; server_max_window_bits=10";
    let expected = Some("permessage-deflate; server_max_window_bits=10".to_owned());
    assert_eq!(
        answered(&[best, "permessage-deflate"], &DEDICATED),
        expected
    );
    let split: Vec<&str> = best.split(", ").collect();
    assert_eq!(answered(&split, &DEDICATED), expected);
    assert_eq!(answered(&[], &DEDICATED), None);
    assert_eq!(answered(&["x-webkit-deflate-frame", ""], &DEDICATED), None);
}

#[test]
fn a_malformed_list_is_refused_with_400() {
    for list in [
        "permessage-deflate;",
        "permessage-deflate; a=",
        "a b",
        "a;b=\"c",
        "=",
    ] {
        let text = head(&["x-fine", list]);
        let request = parsed(&text);
        assert_eq!(accept(&request).unwrap_err().status(), 400, "{list:?}");
        assert_eq!(negotiate_deflate(&request, &DEDICATED), None);
    }
}

const CLIENT: ClientRequest<'_> = ClientRequest {
    host: "h",
    target: "/",
    protocols: &[],
    headers: &[],
    origin: None,
    deflate: None,
};

const NONCE: [u8; 16] = *b"the sample nonce";

/// The response with these extensions, as the client with this configuration sees it.
fn outcome(
    config: Option<&DeflateConfig>,
    extensions: &[&str],
) -> Result<Option<DeflateParams>, ResponseError> {
    let client = ClientRequest {
        deflate: config,
        ..CLIENT
    };
    let expected = client.write(NONCE, &mut Vec::new());
    let lines = extensions
        .iter()
        .map(|value| format!("Sec-WebSocket-Extensions: {value}\r\n"));
    let text = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{}\r\n",
        lines.collect::<String>()
    );
    match parse_response(text.as_bytes(), &expected, &HandshakeLimits::default())? {
        Parsed::Complete { value, .. } => Ok(value.deflate),
        Parsed::Partial => panic!("partial"),
    }
}

#[test]
fn a_client_takes_only_answers_to_its_offer() {
    let narrow = DeflateConfig {
        window_bits: 10,
        peer_window_bits: 12,
        ..DEDICATED
    };
    let good: [(&DeflateConfig, &str, DeflateParams); 5] = [
        (&DEDICATED, "", DeflateParams::default()),
        (
            &DEDICATED,
            "; server_max_window_bits=8; client_max_window_bits=8",
            DeflateParams {
                server_max_window_bits: 8,
                client_max_window_bits: 8,
                ..DeflateParams::default()
            },
        ),
        (
            &DEDICATED,
            "; client_no_context_takeover; server_no_context_takeover",
            DeflateParams {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                ..DeflateParams::default()
            },
        ),
        (
            &SHARED,
            "; server_no_context_takeover",
            DeflateParams {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                ..DeflateParams::default()
            },
        ),
        (
            &narrow,
            "; server_max_window_bits=11",
            DeflateParams {
                server_max_window_bits: 11,
                client_max_window_bits: 10,
                ..DeflateParams::default()
            },
        ),
    ];
    for (config, answer, params) in good {
        let answer = format!("permessage-deflate{answer}");
        assert_eq!(
            outcome(Some(config), &[&answer]),
            Ok(Some(params)),
            "{answer}"
        );
    }
    for (config, answer) in [
        (&DEDICATED, "; unknown"),
        (&DEDICATED, "; server_max_window_bits"),
        (&DEDICATED, "; server_max_window_bits=7"),
        (&DEDICATED, "; client_max_window_bits"),
        (&DEDICATED, "; client_no_context_takeover=x"),
        (
            &DEDICATED,
            "; server_no_context_takeover; server_no_context_takeover",
        ),
        (&SHARED, ""),
        (&narrow, ""),
        (&narrow, "; server_max_window_bits=13"),
        (
            &narrow,
            "; server_max_window_bits=12; client_max_window_bits=11",
        ),
        (&DEDICATED, ", permessage-deflate"),
        (&DEDICATED, ";"),
    ] {
        let answer = format!("permessage-deflate{answer}");
        let outcome = outcome(Some(config), &[&answer]);
        assert!(
            matches!(outcome, Err(ResponseError::BadExtension(_))),
            "{answer}: {outcome:?}"
        );
    }
    let foreign = outcome(Some(&DEDICATED), &["x-other"]);
    assert!(matches!(foreign, Err(ResponseError::BadExtension(_))));
    let repeated = outcome(
        Some(&DEDICATED),
        &["permessage-deflate", "permessage-deflate"],
    );
    assert!(matches!(repeated, Err(ResponseError::BadExtension(_))));
    let unasked = outcome(None, &["permessage-deflate"]);
    assert_eq!(unasked, Err(ResponseError::UnofferedExtension));
    assert_eq!(outcome(Some(&DEDICATED), &[]), Ok(None));
    assert_eq!(outcome(None, &[]), Ok(None));
}

#[test]
fn both_ends_agree_for_every_pair_of_configurations() {
    let bits = [8, 9, 12, 15];
    let configs = || {
        [DeflateMode::Shared, DeflateMode::Dedicated]
            .into_iter()
            .flat_map(move |mode| {
                bits.into_iter().flat_map(move |window_bits| {
                    bits.into_iter().map(move |peer_window_bits| DeflateConfig {
                        mode,
                        window_bits,
                        peer_window_bits,
                        ..SHARED
                    })
                })
            })
    };
    for client in configs() {
        for server in configs() {
            let request = ClientRequest {
                deflate: Some(&client),
                ..CLIENT
            };
            let mut bytes = Vec::new();
            let expected = request.write(NONCE, &mut bytes);
            let text = String::from_utf8(bytes).unwrap();
            let request = parsed(&text);
            let accepted = accept(&request).unwrap();
            let agreed = negotiate_deflate(&request, &server);
            // A client that asks for 8 bits of a server is declined.
            assert_eq!(agreed.is_some(), client.peer_window_bits > 8);
            let mut response = Vec::new();
            write_accept(&mut response, &accepted, None, agreed.as_ref(), &[]).unwrap();
            let limits = HandshakeLimits::default();
            let Ok(Parsed::Complete {
                value: Response { deflate, .. },
                ..
            }) = parse_response(&response, &expected, &limits)
            else {
                panic!("refused");
            };
            let params = agreed.map(|agreed| agreed.params());
            assert_eq!(deflate, params, "{client:?} and {server:?}");
        }
    }
}
