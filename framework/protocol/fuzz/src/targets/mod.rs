//! The bodies of the fuzz targets. Each takes any bytes, of which the first
//! choose how the rest is cut into reads, and panics where a promise is broken.

mod differential;
mod proxy;

use hioload_protocol::body::{BodyDecoder, BodyLength};
use hioload_protocol::handshake::{
    ClientRequest, HandshakeLimits, Parsed, Refusal, accept, negotiate_deflate, parse_request,
    parse_response, write_accept,
};
use hioload_protocol::utf8::Utf8;
use hioload_protocol::{
    Connection, DeflateConfig, DeflateMode, DeflateParams, Event, Kind, Limits, MaskKeys,
    ProtocolError, Resources, Role,
};

pub use differential::differential;
pub use proxy::proxy;

/// The choices at the start of the input, and the rest.
struct Choices<'d> {
    flags: u8,
    /// The sizes of the reads, repeated.
    sizes: &'d [u8],
    rest: &'d [u8],
}

impl<'d> Choices<'d> {
    fn of(data: &'d [u8]) -> Option<Self> {
        let [flags, count, rest @ ..] = data else {
            return None;
        };
        let (sizes, rest) = rest.split_at_checked(usize::from(count % 8))?;
        Some(Self {
            flags: *flags,
            sizes,
            rest,
        })
    }

    fn has(&self, bit: u32) -> bool {
        self.flags >> bit & 1 != 0
    }

    /// The rest, cut; in one piece if no sizes are given.
    fn pieces(&self) -> Vec<&'d [u8]> {
        let mut rest = self.rest;
        let mut pieces = Vec::new();
        for &size in self.sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(usize::from(size).clamp(1, rest.len()));
            pieces.push(piece);
            rest = after;
        }
        if self.sizes.is_empty() {
            pieces.push(rest);
        }
        pieces
    }
}

/// An event with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Closed(u16),
    Failed(ProtocolError),
}

const LIMITS: Limits = Limits {
    max_message: 8192,
    max_fragments: 100,
};

/// Feeds the pieces and returns what was seen and what was answered.
fn receive(mut connection: Connection, pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>) {
    let config = DeflateConfig {
        max_ratio: u32::MAX,
        ..DeflateConfig::default()
    };
    let mut resources = Resources::new(LIMITS, MaskKeys::from_seed(1), config);
    let (mut seen, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = &mut bytes[..];
        loop {
            let received = connection.receive(input, &mut resources, &mut out);
            let Some(event) = received.event else {
                assert_eq!(received.consumed, input.len());
                break;
            };
            assert!(!ended(&seen), "an event after the last");
            seen.push(own(event, input, &mut resources));
            input = &mut input[received.consumed..];
        }
    }
    assert_eq!(connection.is_closed(), ended(&seen));
    (seen, out)
}

fn ended(seen: &[Seen]) -> bool {
    matches!(seen.last(), Some(Seen::Closed(_) | Seen::Failed(_)))
}

fn own(event: Event, input: &[u8], resources: &mut Resources) -> Seen {
    let (payload, seen): (_, fn(Vec<u8>) -> Seen) = match event {
        Event::Message { kind, payload } => match kind {
            Kind::Text => (payload, |bytes| {
                assert!(std::str::from_utf8(&bytes).is_ok());
                Seen::Message(Kind::Text, bytes)
            }),
            Kind::Binary => (payload, |bytes| Seen::Message(Kind::Binary, bytes)),
        },
        Event::Ping(payload) => (payload, Seen::Ping),
        Event::Pong(payload) => (payload, Seen::Pong),
        Event::Closed { code, .. } => return Seen::Closed(code.0),
        Event::Failed(error) => return Seen::Failed(error),
    };
    let bytes = payload.bytes(input).to_vec();
    assert!(bytes.len() <= LIMITS.max_message);
    payload.recycle(&mut resources.pool);
    seen(bytes)
}

/// Frames mean the same however they are cut into reads, in both roles, with
/// compression and without.
pub fn frames(data: &[u8]) {
    let Some(choices) = Choices::of(data) else {
        return;
    };
    let role = if choices.has(0) {
        Role::Client
    } else {
        Role::Server
    };
    let deflate = choices.has(1);
    let connection = || {
        if deflate {
            Connection::with_deflate(role, params(&choices))
        } else {
            Connection::new(role)
        }
    };
    let (mut whole, whole_out) = receive(connection(), &[choices.rest]);
    let (mut cut, cut_out) = receive(connection(), &choices.pieces());
    if deflate {
        // Which of several faults of one compressed message shows first may
        // depend on how much of it is inflated at once.
        for seen in [&mut whole, &mut cut] {
            if let Some(Seen::Failed(error)) = seen.last_mut() {
                *error = ProtocolError::BadDeflate;
            }
        }
        assert_eq!(whole, cut);
    } else {
        assert_eq!((whole, whole_out), (cut, cut_out));
    }
}

fn params(choices: &Choices<'_>) -> DeflateParams {
    DeflateParams {
        server_no_context_takeover: choices.has(2),
        client_no_context_takeover: choices.has(3),
        server_max_window_bits: 8 + (choices.flags >> 4 & 7),
        client_max_window_bits: 15 - (choices.flags >> 4 & 7),
    }
}

/// What is compressed inflates to the same, message after message.
pub fn deflate(data: &[u8]) {
    let Some(choices) = Choices::of(data) else {
        return;
    };
    let [settings, messages @ ..] = choices.rest else {
        return;
    };
    let config = DeflateConfig {
        level: settings % 10,
        mem_level: 1 + settings / 10 % 9,
        min_size: 0,
        max_ratio: u32::MAX,
        ..DeflateConfig::default()
    };
    let mut resources = Resources::new(Limits::default(), MaskKeys::from_seed(1), config);
    let mut client = Connection::with_deflate(Role::Client, params(&choices));
    let mut expected = Vec::new();
    let mut wire = Vec::new();
    let repeats = if choices.has(0) { 50 } else { 1 };
    for message in messages.split(|&byte| byte == 0) {
        let message = message.repeat(repeats);
        let (kind, fragment) = (Kind::Binary, message.len() / 2);
        if choices.has(1) {
            let (first, last) = message.split_at(fragment);
            for (bytes, first) in [(first, true), (last, false)] {
                let sent =
                    client.send_fragment(kind, bytes, first, !first, &mut resources, &mut wire);
                assert!(sent.is_ok());
            }
        } else {
            assert!(
                client
                    .send(kind, &message, &mut resources, &mut wire)
                    .is_ok()
            );
        }
        expected.push(Seen::Message(kind, message));
    }
    let server = || Connection::with_deflate(Role::Server, params(&choices));
    let cut = Choices {
        rest: &wire,
        ..choices
    };
    if expected.iter().all(|seen| match seen {
        Seen::Message(_, bytes) => bytes.len() <= LIMITS.max_message,
        _ => false,
    }) {
        assert_eq!(receive(server(), &cut.pieces()).0, expected);
    }
}

/// A validator fed in pieces agrees with the standard library.
pub fn utf8(data: &[u8]) {
    let Some(choices) = Choices::of(data) else {
        return;
    };
    let mut utf8 = Utf8::new();
    let mut fed = 0;
    for piece in choices.pieces() {
        fed += piece.len();
        // Invalid with an error length: no continuation makes it valid.
        let hopeless = std::str::from_utf8(&choices.rest[..fed])
            .is_err_and(|error| error.error_len().is_some());
        assert_eq!(utf8.feed(piece).is_err(), hopeless);
        if hopeless {
            return;
        }
    }
    let valid = std::str::from_utf8(choices.rest).is_ok();
    assert_eq!(utf8.finish().is_ok(), valid);
}

const HEAD_LIMITS: HandshakeLimits = HandshakeLimits {
    max_bytes: 2048,
    max_request_line: 256,
    max_headers: 16,
};

/// A request means the same once it is complete as on the way there, and what
/// is granted is an answer that a client understands.
pub fn request(data: &[u8]) {
    let outcome = parse_request(data, &HEAD_LIMITS);
    let refused_at =
        (0..data.len()).find_map(|len| match parse_request(&data[..len], &HEAD_LIMITS) {
            Ok(Parsed::Partial) => None,
            Ok(Parsed::Complete { head_len, .. }) => Some((len, Ok(head_len))),
            Err(refusal) => Some((len, Err(refusal.status()))),
        });
    match (outcome, refused_at) {
        (Ok(Parsed::Complete { head_len, value }), early) => {
            assert!(early.is_none_or(|(len, early)| len >= head_len && early == Ok(head_len)));
            let Ok(accepted) = accept(&value) else {
                return;
            };
            let config = DeflateConfig {
                mode: DeflateMode::Dedicated,
                ..DeflateConfig::default()
            };
            let agreed = negotiate_deflate(&value, &config);
            let protocol = value.protocols().next();
            let mut out = Vec::new();
            assert!(write_accept(&mut out, &accepted, protocol, agreed.as_ref(), &[]).is_ok());
            assert!(
                out.ends_with(b"\r\n\r\n")
                    && out.windows(4).filter(|w| w == b"\r\n\r\n").count() == 1
            );
        }
        (Ok(Parsed::Partial), early) => assert!(early.is_none()),
        // A refusal may show only at the end of what is there.
        (Err(_), early) => assert!(early.is_none_or(|(_, early)| early.is_err())),
    }
}

/// The data of a body, and where it ended or why it is refused.
fn decode(mut decoder: BodyDecoder, pieces: &[&[u8]]) -> (Vec<u8>, Result<usize, Refusal>) {
    let (mut data, mut before) = (Vec::new(), 0);
    for piece in pieces {
        let mut at = 0;
        while at < piece.len() && !decoder.is_done() {
            match decoder.decode(&piece[at..]) {
                Err(refusal) => return (data, Err(refusal)),
                Ok(decoded) => {
                    assert!(decoded.consumed > 0);
                    data.extend_from_slice(&piece[at..][decoded.data]);
                    at += decoded.consumed;
                }
            }
        }
        before += at;
    }
    (data, Ok(before))
}

/// A body is the same however it is cut into reads, and keeps to its limit.
pub fn body(data: &[u8]) {
    const LIMIT: u64 = 300;
    let Some(choices) = Choices::of(data) else {
        return;
    };
    let length = match choices.flags {
        flags if flags & 1 != 0 => BodyLength::Counted(u64::from(flags)),
        _ => BodyLength::Chunked,
    };
    let Ok(decoder) = BodyDecoder::new(length, LIMIT) else {
        return;
    };
    let whole = decode(decoder.clone(), &[choices.rest]);
    assert!(whole.0.len() as u64 <= LIMIT);
    assert_eq!(whole, decode(decoder, &choices.pieces()));
}

/// A response is granted or refused alike however much has arrived, and only
/// grants what was asked for.
pub fn response(data: &[u8]) {
    let config = DeflateConfig::default();
    let offer = data.first().is_some_and(|first| first & 1 != 0);
    let request = ClientRequest {
        host: "h",
        target: "/",
        protocols: &["a", "b"],
        headers: &[],
        origin: None,
        deflate: offer.then_some(&config),
    };
    let expected = request.write(*b"the sample nonce", &mut Vec::new());
    let bytes = data.get(1..).unwrap_or_default();
    let complete = |len| match parse_response(&bytes[..len], &expected, &HEAD_LIMITS) {
        Ok(Parsed::Partial) => None,
        Ok(Parsed::Complete { head_len, value }) => {
            assert!(head_len <= len);
            assert!(value.deflate.is_none() || offer);
            assert!(
                value
                    .protocol
                    .as_deref()
                    .is_none_or(|p| p == "a" || p == "b")
            );
            Some(Ok((head_len, value)))
        }
        Err(_) => Some(Err(())),
    };
    let first = (0..=bytes.len()).find_map(|len| complete(len).map(|outcome| (len, outcome)));
    if let Some((len, outcome)) = first {
        for more in len..=bytes.len() {
            assert_eq!(complete(more).as_ref(), Some(&outcome), "{len} and {more}");
        }
    }
}
