//! No input is too odd for the parser, and what it understands it passes on.

#![forbid(unsafe_code)]

mod target;

use std::path::Path;

use hioload_centrifugo::{Body, Encoding, Request, commands, json_body, protobuf_commands};
use proptest::prelude::*;

/// Text that resembles commands more than chance would.
fn command_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("\"id\":".to_owned()),
        Just(",".to_owned()),
        Just("\n".to_owned()),
        Just("\"connect\":{".to_owned()),
        Just("\"subscribe\":{\"channel\":".to_owned()),
        Just("\"publish\":{\"data\":".to_owned()),
        Just("\"history\":{\"since\":{\"offset\":".to_owned()),
        Just("null".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        any::<u64>().prop_map(|number| number.to_string()),
        "[\\PC]{0,6}".prop_map(|text| format!("{text:?}")),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

/// Any JSON value, as text.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "\\PC{0,20}".prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            list.prop_map(|items| format!("[{}]", items.join(" , "))),
            inner.prop_map(|value| format!("{{ \"k\":{value}}}")),
        ]
    })
}

#[test]
fn the_corpus_keeps_every_promise() {
    let folder = "../../framework/protocol/fuzz/corpus/commands";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut inputs = 0;
    for entry in folder.read_dir().expect("a corpus") {
        let input = std::fs::read(entry.expect("readable").path()).expect("readable");
        target::frame(&input);
        for length in 0..input.len() {
            target::frame(&input[..length]);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus is empty");
}

proptest! {
    #[test]
    fn anything_is_understood_or_refused(text in prop_oneof![command_like(), "\\PC{0,200}"]) {
        target::frame(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_understood_or_refused(bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        message_like(),
    ]) {
        target::frame(&bytes);
    }

    #[test]
    fn what_is_published_arrives_byte_for_byte(data in json(), channel in "\\PC{1,30}") {
        let name = serde_json::Value::from(channel.as_str());
        let frame = format!("{{\"id\":1,\"publish\":{{\"channel\":{name},\"data\":{data}}}}}");
        let command = commands(&frame).next().expect("a line").expect("a command");
        let Request::Publish(publish) = command.request else {
            panic!("{frame}");
        };
        prop_assert_eq!(&*publish.channel, channel.as_str());
        let raw = publish.data.expect("data").json().expect("JSON");
        prop_assert_eq!(&*raw, data.as_str());
        let body = json_body(&raw, None, None, 0);
        let told = target::tell(Encoding::Json, &publish, Body::Json(&body)).expect("JSON");
        let expected = format!(
            "{{\"push\":{{\"channel\":{name},\"pub\":{{\"data\":{data},\"offset\":7}}}}}}"
        );
        prop_assert_eq!(String::from_utf8(told).expect("text"), expected);
    }

    #[test]
    fn bytes_are_published_as_they_are(data in proptest::collection::vec(any::<u8>(), 1..99)) {
        let publish = [&[0x0a, 1, b'c', 0x12][..], &sized(&data)].concat();
        let command = [&[0x08, 1, 0x3a][..], &sized(&publish)].concat();
        let frame = sized(&command);
        let command = protobuf_commands(&frame).next().expect("one").expect("a command");
        let Request::Publish(publish) = command.request else {
            panic!("{frame:?}");
        };
        prop_assert_eq!((&*publish.channel, publish.data.expect("data").bytes()), ("c", &data[..]));
    }
}

/// Fewer than 128 bytes, after their length.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len())
        .ok()
        .filter(|&length| length < 128);
    [&[length.expect("short")][..], bytes].concat()
}

/// Bytes that resemble messages more than chance would.
fn message_like() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<[u8; 2]>().prop_map(Vec::from),
        (1_u8..16, any::<u8>()).prop_map(|(number, value)| vec![number << 3, value & 0x7f]),
        (1_u8..16, "\\PC{0,5}").prop_map(|(number, text)| {
            [&[number << 3 | 2][..], &sized(text.as_bytes())].concat()
        }),
    ];
    let message = leaf.prop_recursive(3, 12, 4, |inner| {
        (1_u8..16, proptest::collection::vec(inner, 0..4)).prop_map(|(number, fields)| {
            let mut inner = fields.concat();
            inner.truncate(127);
            [&[number << 3 | 2][..], &sized(&inner)].concat()
        })
    });
    proptest::collection::vec(message, 0..6).prop_map(|messages| {
        let framed = messages
            .iter()
            .map(|message| sized(&message[..message.len().min(127)]));
        framed.collect::<Vec<_>>().concat()
    })
}
