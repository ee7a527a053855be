use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::*;
use crate::code::Unsubscribed;
use crate::encoding::Payload;
use crate::publication::{Body, Form, Publication, json_body, protobuf_body};
use crate::reply::{
    Called, Connected, Empty, Past, Presence, PresenceStats, Refreshed, SubRefreshed, Subscribed,
    Until,
};

const INFO: &str = r#"{"user":"u","client":"c","conn_info":{"n":1},"chan_info":[2]}"#;

/// What is written in both encodings: text, and bytes of one message.
fn both(write: impl Fn(&mut Replies)) -> (String, Vec<u8>) {
    let mut json = Replies::new(Encoding::Json);
    write(&mut json);
    let Ok(Some(Frame::Text(text))) = json.frame() else {
        panic!("{json:?}");
    };
    let mut protobuf = Replies::new(Encoding::Protobuf);
    write(&mut protobuf);
    let Ok(Some(Frame::Binary(bytes))) = protobuf.frame() else {
        panic!("{protobuf:?}");
    };
    (text.to_owned(), bytes.to_vec())
}

fn framed(message: &[u8]) -> Vec<u8> {
    field_bytes(&[], message)
}

/// A message or text after its tag.
fn field(tag: u8, inner: &[u8]) -> Vec<u8> {
    field_bytes(&[tag], inner)
}

fn field_bytes(tag: &[u8], inner: &[u8]) -> Vec<u8> {
    let length = u8::try_from(inner.len()).expect("short");
    assert!(length < 0x80, "{length} takes two bytes");
    [tag, &[length], inner].concat()
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

#[test]
fn replies_share_a_frame_and_leave_out_what_is_unset() {
    assert_eq!(Replies::new(Encoding::Json).frame(), Ok(None));
    assert_eq!(Replies::new(Encoding::Protobuf).frame(), Ok(None));
    let (text, bytes) = both(|replies| {
        replies.answer(
            1,
            &Answer::Connect(Connected {
                client: "c",
                version: "1",
                until: Until::default(),
                data: None,
                subs: BTreeMap::new(),
                ping: 25,
                pong: true,
                session: "",
                node: "n",
            }),
        );
        replies.error(2, Error::Internal);
        replies.error(3, Error::PermissionDenied);
        replies.answer(4, &Answer::Publish(Empty {}));
        replies.answer(5, &Answer::Ping(Empty {}));
        replies.answer(6, &Answer::Unsubscribe(Empty {}));
    });
    let lines = [
        r#"{"id":1,"connect":{"client":"c","version":"1","ping":25,"pong":true,"node":"n"}}"#,
        r#"{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}"#,
        r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#,
        r#"{"id":4,"publish":{}}"#,
        r#"{"id":5,"ping":{}}"#,
        r#"{"id":6,"unsubscribe":{}}"#,
    ];
    assert_eq!(text, lines.join("\n"));
    let connected = [
        b"\x0a\x01c\x12\x011\x38\x19\x40\x01".as_slice(),
        b"\x52\x01n",
    ]
    .concat();
    let internal = [
        &b"\x08\x64"[..],
        &field(0x12, b"internal server error"),
        b"\x18\x01",
    ]
    .concat();
    let denied = [&b"\x08\x67"[..], &field(0x12, b"permission denied")].concat();
    let expected = [
        framed(&[&b"\x08\x01"[..], &field(0x2a, &connected)].concat()),
        framed(&[&b"\x08\x02"[..], &field(0x12, &internal)].concat()),
        framed(&[&b"\x08\x03"[..], &field(0x12, &denied)].concat()),
        framed(b"\x08\x04\x42\x00"),
        framed(b"\x08\x05\x62\x00"),
        framed(b"\x08\x06\x3a\x00"),
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_publication_of_either_kind_is_told_in_both_encodings() {
    let json = json_body("{\"a\":1}", Some(INFO), Some("{\"k\":\"v\"}"), 300);
    let protobuf = protobuf_body(b"{\"a\":1}", INFO, 300).unwrap();
    let info = [
        field(0x0a, b"u"),
        field(0x12, b"c"),
        field(0x1a, b"{\"n\":1}"),
        field(0x22, b"[2]"),
    ]
    .concat();
    let tags = field(0x3a, &[field(0x0a, b"k"), field(0x12, b"v")].concat());
    for (body, text_tags, tags) in [
        (Body::Json(&json), r#","tags":{"k":"v"}"#, tags),
        (Body::Protobuf(&protobuf), "", Vec::new()),
    ] {
        let (text, bytes) = both(|replies| {
            let offset = Some(7);
            replies.push(
                "a\"b",
                Push::Pub {
                    body,
                    offset,
                    form: Form::Plain,
                },
            );
        });
        let expected = format!(
            r#"{{"push":{{"channel":"a\"b","pub":{{"data":{{"a":1}},"info":{INFO}{text_tags},"time":300,"offset":7}}}}}}"#
        );
        assert_eq!(text, expected);
        let mut publication = [field(0x22, b"{\"a\":1}"), field(0x2a, &info), tags].concat();
        publication.extend(b"\x48\xac\x02\x30\x07");
        let push = [field(0x12, b"a\"b"), field(0x22, &publication)].concat();
        assert_eq!(bytes, framed(&field(0x22, &push)));
    }
}

#[test]
fn a_delta_is_told_in_place_of_the_data_and_as_a_text_in_json() {
    let was = json_body("{\"text\":\"the same in both\",\"n\":1}", None, None, 0);
    let was_bytes = protobuf_body(b"{\"text\":\"the same in both\",\"n\":1}", INFO, 7).unwrap();
    let data = "{\"text\":\"the same in both\",\"n\":2}";
    let json = json_body(data, Some(INFO), Some("{\"k\":\"v\"}"), 300);
    let protobuf = protobuf_body(data.as_bytes(), INFO, 300).unwrap();
    let all = [
        (Body::Json(&json), r#","tags":{"k":"v"}"#),
        (Body::Protobuf(&protobuf), ""),
    ];
    let (offset, mut seen) = (Some(7), Vec::new());
    for (body, tags) in all {
        for before in [Body::Json(&was), Body::Protobuf(&was_bytes)] {
            let [in_json, in_bytes] = [Encoding::Json, Encoding::Protobuf]
                .map(|encoding| body.delta(before, encoding).expect("it is shorter"));
            assert_eq!(in_json, in_bytes);
            let form = Form::Delta(&in_json);
            let (text, bytes) = both(|all| all.push("c", Push::Pub { body, offset, form }));
            let written = serde_json::to_string(std::str::from_utf8(&in_json).unwrap()).unwrap();
            assert_eq!(
                text,
                format!(
                    r#"{{"push":{{"channel":"c","pub":{{"data":{written},"info":{INFO}{tags},"time":300,"delta":true,"offset":7}}}}}}"#
                )
            );
            let place = bytes
                .windows(in_json.len())
                .position(|part| part == in_json);
            assert!(
                place.is_some() && bytes.ends_with(b"\x30\x07\x40\x01"),
                "{bytes:?}"
            );
            assert!(!bytes.windows(9).any(|part| part == b"{\"text\":\""));
            seen.push((text, bytes));
        }
        let form = Form::Whole;
        let (text, bytes) = both(|all| all.push("c", Push::Pub { body, offset, form }));
        let written = serde_json::to_string(data).unwrap();
        assert!(
            text.contains(&format!("{{\"data\":{written},\"info\":")),
            "{text}"
        );
        let form = Form::Plain;
        assert_eq!(
            both(|all| all.push("c", Push::Pub { body, offset, form })).1,
            bytes
        );
    }
    assert_eq!((&seen[0], &seen[2]), (&seen[1], &seen[3]));
    let none = protobuf_body(b"\x00\xff", INFO, 0).unwrap();
    let (none, body) = (Body::Protobuf(&none), all[0].0);
    assert_eq!(body.delta(none, Encoding::Json), None);
    assert_eq!(none.delta(body, Encoding::Json), None);
    let told = Subscribed {
        publications: vec![Publication::at(Body::Json(&was), 7).whole()],
        delta: true,
        ..Subscribed::default()
    };
    let (text, bytes) = both(|replies| replies.answer(1, &Answer::Subscribe(&told)));
    assert!(text.contains(r#"[{"data":"{\"text\":"#), "{text}");
    assert!(text.ends_with(r#","offset":7}],"delta":true}}"#), "{text}");
    assert!(bytes.ends_with(b"\x68\x01"), "{bytes:?}");
}

#[test]
fn bytes_that_are_not_json_have_no_place_in_json() {
    let body = protobuf_body(b"\x00\xff", INFO, 0).unwrap();
    let body = Body::Protobuf(&body);
    let told = Subscribed {
        publications: vec![Publication::at(body, 1)],
        ..Subscribed::default()
    };
    let mut replies = Replies::new(Encoding::Json);
    replies.answer(1, &Answer::Publish(Empty {}));
    replies.answer(2, &Answer::Subscribe(&told));
    replies.answer(3, &Answer::Publish(Empty {}));
    assert_eq!(replies.frame(), Err(Unwritable));
    let mut replies = Replies::new(Encoding::Json);
    replies.push(
        "c",
        Push::Pub {
            body,
            offset: None,
            form: Form::Plain,
        },
    );
    assert_eq!(replies.frame(), Err(Unwritable));
    let mut replies = Replies::new(Encoding::Protobuf);
    replies.answer(2, &Answer::Subscribe(&told));
    let Ok(Some(Frame::Binary(bytes))) = replies.frame() else {
        panic!("{replies:?}");
    };
    assert!(bytes.windows(4).any(|four| four == b"\x22\x02\x00\xff"));
}

#[test]
fn what_was_written_over_several_lines_is_one_line_in_json() {
    let body = protobuf_body(b"{\n\"a\":\r\n1}", INFO, 0).unwrap();
    let (text, bytes) = both(|replies| {
        let body = Body::Protobuf(&body);
        replies.push(
            "c",
            Push::Pub {
                body,
                offset: None,
                form: Form::Plain,
            },
        );
    });
    assert!(text.contains(r#""data":{ "a":  1}"#), "{text}");
    assert!(!text.contains('\n'));
    assert!(bytes.windows(10).any(|ten| ten == b"{\n\"a\":\r\n1}"));
}

#[test]
fn a_subscription_is_told_with_all_its_fields() {
    let body = json_body("1", None, None, 0);
    let told = Subscribed {
        until: Until {
            expires: true,
            ttl: 5,
        },
        recoverable: true,
        epoch: "e".into(),
        publications: vec![Publication::at(Body::Json(&body), 7)],
        recovered: true,
        offset: 7,
        positioned: true,
        was_recovering: true,
        delta: true,
        data: Some(raw("[]")),
    };
    let (text, bytes) = both(|replies| replies.answer(1, &Answer::Subscribe(&told)));
    let expected = r#"{"id":1,"subscribe":{"expires":true,"ttl":5,"recoverable":true,"epoch":"e","publications":[{"data":1,"offset":7}],"recovered":true,"offset":7,"positioned":true,"was_recovering":true,"delta":true,"data":[]}}"#;
    assert_eq!(text, expected);
    let result = [
        &b"\x08\x01\x10\x05\x18\x01\x32\x01e"[..],
        &field(0x3a, b"\x22\x011\x30\x07"),
        b"\x40\x01\x48\x07\x50\x01\x5a\x02[]\x60\x01\x68\x01",
    ]
    .concat();
    let reply = [&b"\x08\x01"[..], &field(0x32, &result)].concat();
    assert_eq!(bytes, framed(&reply));
    let (text, bytes) = both(|replies| replies.push("c", Push::Subscribe(&told)));
    assert!(
        text.starts_with(r#"{"push":{"channel":"c","subscribe":{"#),
        "{text}"
    );
    let subscribe = b"\x08\x01\x22\x01e\x28\x07\x30\x01\x3a\x02[]";
    let push = [field(0x12, b"c"), field(0x4a, subscribe)].concat();
    assert_eq!(bytes, framed(&field(0x22, &push)));
}

#[test]
fn other_answers_have_the_numbers_of_the_protocol() {
    let until = Until {
        expires: true,
        ttl: 9,
    };
    let (client, version) = ("c", "1");
    let info = raw(r#"{"user":"u","client":"c"}"#);
    let presence = [("c", &*info)].into_iter().collect();
    let body = json_body("1", None, None, 0);
    let past = || Past {
        publications: vec![Publication::at(Body::Json(&body), 3)],
        epoch: "e".into(),
        offset: 4,
    };
    let in_presence = [field(0x0a, b"c"), field(0x12, b"\x0a\x01u\x12\x01c")].concat();
    let in_past = [&field(0x0a, b"\x22\x011\x30\x03")[..], b"\x12\x01e\x18\x04"].concat();
    let stats = PresenceStats {
        num_clients: 3,
        num_users: 2,
    };
    let data = Some(Payload::Bytes(b"[1]"));
    let refreshed = Refreshed {
        client,
        version,
        until,
    };
    for (answer, json, tag, result) in [
        (
            Answer::Presence(Presence { presence }),
            r#""presence":{"presence":{"c":{"user":"u","client":"c"}}}"#,
            0x4a,
            field(0x0a, &in_presence),
        ),
        (
            Answer::PresenceStats(stats),
            r#""presence_stats":{"num_clients":3,"num_users":2}"#,
            0x52,
            b"\x08\x03\x10\x02".to_vec(),
        ),
        (
            Answer::History(past()),
            r#""history":{"publications":[{"data":1,"offset":3}],"epoch":"e","offset":4}"#,
            0x5a,
            in_past,
        ),
        (
            Answer::Rpc(Called { data }),
            r#""rpc":{"data":[1]}"#,
            0x6a,
            b"\x0a\x03[1]".to_vec(),
        ),
        (
            Answer::Refresh(refreshed),
            r#""refresh":{"client":"c","version":"1","expires":true,"ttl":9}"#,
            0x72,
            b"\x0a\x01c\x12\x011\x18\x01\x20\x09".to_vec(),
        ),
        (
            Answer::SubRefresh(SubRefreshed { until }),
            r#""sub_refresh":{"expires":true,"ttl":9}"#,
            0x7a,
            b"\x08\x01\x10\x09".to_vec(),
        ),
    ] {
        let (text, bytes) = both(|replies| replies.answer(300, &answer));
        assert_eq!(text, format!("{{\"id\":300,{json}}}"));
        let reply = [&b"\x08\xac\x02"[..], &field(tag, &result)].concat();
        assert_eq!(bytes, framed(&reply), "{json}");
    }
}

#[test]
fn other_pushes_have_the_numbers_of_the_protocol() {
    let info = r#"{"user":"u","client":"c"}"#;
    let in_info = field(0x0a, b"\x0a\x01u\x12\x01c");
    let until = Until {
        expires: true,
        ttl: 9,
    };
    let ended = [&b"\x10\xc4\x13"[..], &field(0x1a, b"insufficient state")].concat();
    for (channel, push, json, tag, inner) in [
        (
            "r",
            Push::Join(info),
            r#""channel":"r","join":{"info":{"user":"u","client":"c"}}"#,
            0x2a,
            in_info.clone(),
        ),
        (
            "r",
            Push::Leave(info),
            r#""channel":"r","leave":{"info":{"user":"u","client":"c"}}"#,
            0x32,
            in_info,
        ),
        (
            "r",
            Push::Unsubscribe(Unsubscribed::Insufficient),
            r#""channel":"r","unsubscribe":{"code":2500,"reason":"insufficient state"}"#,
            0x3a,
            ended,
        ),
        (
            "",
            Push::Message(Payload::Bytes(b"[1]")),
            r#""message":{"data":[1]}"#,
            0x42,
            b"\x0a\x03[1]".to_vec(),
        ),
        (
            "",
            Push::Disconnect {
                code: 3001,
                reason: "x\"",
            },
            r#""disconnect":{"code":3001,"reason":"x\""}"#,
            0x5a,
            b"\x08\xb9\x17\x12\x02x\"".to_vec(),
        ),
        (
            "",
            Push::Refresh(until),
            r#""refresh":{"expires":true,"ttl":9}"#,
            0x62,
            b"\x08\x01\x10\x09".to_vec(),
        ),
    ] {
        let (text, bytes) = both(|replies| replies.push(channel, push));
        assert_eq!(text, format!("{{\"push\":{{{json}}}}}"));
        let name = if channel.is_empty() {
            Vec::new()
        } else {
            field(0x12, channel.as_bytes())
        };
        let push = [name, field(tag, &inner)].concat();
        assert_eq!(bytes, framed(&field(0x22, &push)), "{json}");
    }
}

#[test]
fn a_ping_is_an_empty_message() {
    assert_eq!(ping(Encoding::Json), Frame::Text("{}"));
    assert_eq!(ping(Encoding::Protobuf), Frame::Binary(&[0]));
}
