//! No input is too odd for the parser, and what it understands it passes on.

#![forbid(unsafe_code)]

mod target;

use std::path::Path;

use hioload_centrifugo::{Publication, Push, Request, commands, push, with_offset};
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
    fn what_is_published_arrives_byte_for_byte(data in json(), channel in "\\PC{1,30}", offset: u64) {
        let name = serde_json::Value::from(channel.as_str());
        let frame = format!("{{\"id\":1,\"publish\":{{\"channel\":{name},\"data\":{data}}}}}");
        let command = commands(&frame).next().expect("a line").expect("a command");
        let Request::Publish(publish) = command.request else {
            panic!("{frame}");
        };
        prop_assert_eq!(&*publish.channel, channel.as_str());
        let raw = publish.data.expect("data");
        prop_assert_eq!(raw.get(), data.as_str());
        let body = with_offset(&Publication::body(raw.get(), None, None), Some(offset));
        let told = push(&publish.channel, Push::Pub(&body));
        let expected = format!(
            "{{\"push\":{{\"channel\":{name},\"pub\":{{\"data\":{data},\"offset\":{offset}}}}}}}"
        );
        prop_assert_eq!(&told, &expected);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok());
        prop_assert!(!told.contains('\n'));
    }
}
