//! What the fuzz target runs, and the property tests on machines without a
//! fuzzer.

use hioload_centrifugo::{
    Body, Command, Emulated, Encoding, Form, Frame, Malformed, Payload, Publish, Push, Replies,
    Request, commands, json_body, protobuf_body, protobuf_commands,
};

const INFO: &str = r#"{"user":"u","client":"c"}"#;

/// Takes any bytes as a frame of either encoding, or as a request with one, and
/// panics where a promise is broken: no more commands than there can be, and what
/// is passed on arrives as it was in the encoding that it came in.
pub(crate) fn frame(data: &[u8]) {
    commands_of(data);
    emulated(data);
}

fn commands_of(data: &[u8]) {
    let seen = look_at(protobuf_commands(data), |publish, bytes| {
        let body = protobuf_body(bytes, INFO, 7).expect("a written info");
        let told = tell(Encoding::Protobuf, publish, Body::Protobuf(&body));
        let told = told.expect("bytes are passed on");
        assert!(contains(&told, bytes), "{told:?}");
        if let Some(json) = tell(Encoding::Json, publish, Body::Protobuf(&body)) {
            assert!(is_a_line_of_json(&json), "{json:?}");
        }
    });
    // Each has its length before it.
    assert!(seen <= data.len());
    let Ok(text) = std::str::from_utf8(data) else {
        // The WebSocket does not let it through as text.
        return;
    };
    let seen = look_at(commands(text), |publish, bytes| {
        let data = std::str::from_utf8(bytes).expect("it came as text");
        let body = json_body(data, Some(INFO), None, 7);
        let told = tell(Encoding::Json, publish, Body::Json(&body)).expect("JSON");
        assert!(is_a_line_of_json(&told) && contains(&told, bytes), "{data}");
        let told = tell(Encoding::Protobuf, publish, Body::Json(&body)).expect("JSON");
        assert!(contains(&told, bytes), "{data}");
    });
    assert!(seen <= text.split('\n').count());
}

/// Takes any bytes as a request that speaks for a connection, and what it says
/// as a frame.
fn emulated(data: &[u8]) {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        if let Ok(said) = Emulated::parse(data, encoding) {
            let len = said.session.len() + said.node.len() + said.data.len();
            assert!(len <= data.len(), "it says no more than was sent");
            commands_of(&said.data);
        }
    }
}

/// How many there are; calls with what is published.
fn look_at<'a>(
    commands: impl Iterator<Item = Result<Command<'a>, Malformed>>,
    mut publish: impl FnMut(&Publish<'a>, &[u8]),
) -> usize {
    let mut seen = 0;
    for command in commands {
        seen += 1;
        if let Ok(Command {
            request: Request::Publish(wish),
            ..
        }) = command
            && let Some(data) = &wish.data
        {
            publish(&wish, data.bytes());
        }
    }
    seen
}

/// The frame that tells of a publication, where it can be told.
pub(crate) fn tell(encoding: Encoding, publish: &Publish<'_>, body: Body<'_>) -> Option<Vec<u8>> {
    let mut replies = Replies::new(encoding);
    let (offset, form) = (Some(7), Form::Plain);
    replies.push(&publish.channel, Push::Pub { body, offset, form });
    match replies.frame().ok()?.expect("a push") {
        Frame::Text(text) => Some(text.as_bytes().to_vec()),
        Frame::Binary(bytes) => Some(bytes.to_vec()),
    }
}

fn contains(told: &[u8], part: &[u8]) -> bool {
    part.is_empty() || told.windows(part.len()).any(|window| window == part)
}

fn is_a_line_of_json(told: &[u8]) -> bool {
    !told.contains(&b'\n') && Payload::Bytes(told).json().is_ok()
}
