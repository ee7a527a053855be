//! What is written and read.

use serde_json::{Value, json};

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

fn letter(event: Event) -> Letter {
    Letter::single(event, b"{}".to_vec(), None)
}

fn read(event: Event, body: &str) -> Result<Said, Failure> {
    let answers = letter(event).read(body.as_bytes().to_vec());
    answers.map(|mut answers| answers.remove(0))
}

#[test]
fn a_question_says_what_the_client_said_as_it_said_it() {
    let said = raw("{\"a\": 1}");
    let written = |encoding, data: Option<Payload<'_>>, binary| -> Value {
        let question = Question::of("c", encoding, data, binary);
        serde_json::from_slice(&question.written()).unwrap()
    };
    let of = |protocol: &str, encoding: &str, name: &str, data: Value| {
        let mut expected = json!({ "client": "c", "transport": "websocket",
            "protocol": protocol, "encoding": encoding });
        if !name.is_empty() {
            expected[name] = data;
        }
        expected
    };
    for (encoding, data, binary, expected) in [
        (
            Encoding::Json,
            None,
            false,
            of("json", "json", "", Value::Null),
        ),
        (
            Encoding::Json,
            Some(Payload::Json(&said)),
            false,
            of("json", "json", "data", json!({ "a": 1 })),
        ),
        (
            Encoding::Json,
            Some(Payload::Json(&said)),
            true,
            of("json", "binary", "b64data", json!("eyJhIjogMX0=")),
        ),
        (
            Encoding::Protobuf,
            Some(Payload::Bytes(b"[1]")),
            false,
            of("protobuf", "json", "data", json!([1])),
        ),
        (
            Encoding::Protobuf,
            Some(Payload::Bytes(b"\xff\x00")),
            false,
            of("protobuf", "binary", "b64data", json!("/wA=")),
        ),
    ] {
        assert_eq!(written(encoding, data, binary), expected);
    }
}

#[test]
fn an_answer_grants_refuses_or_ends() {
    let refused = |body: &str| match read(Event::Subscribe, body) {
        Ok(Said::Error(refusal)) => (refusal.code, refusal.message, refusal.temporary),
        other => panic!("{other:?}"),
    };
    for granted in [
        "{}",
        "{\"result\":{}}",
        "{\"result\":null}",
        "{\"result\":{},\"error\":null}",
    ] {
        let said = read(Event::Subscribe, granted).unwrap();
        let said = said.parsed::<SubscribeResult>().unwrap();
        assert!(matches!(said, Said::Result(_)), "{granted}");
    }
    assert_eq!(
        refused("{\"error\":{\"code\":403,\"message\":\"no\",\"temporary\":true}}"),
        (403, "no".into(), true)
    );
    assert_eq!(
        refused("{\"result\":{},\"error\":{\"code\":1}}"),
        (1, "".into(), false)
    );
    let ended = read(
        Event::Rpc,
        "{\"error\":{\"code\":1},\"disconnect\":{\"code\":4500}}",
    );
    assert!(matches!(ended, Ok(Said::Disconnect(farewell)) if farewell.code == 4500));
}

#[test]
fn what_is_no_answer_is_garbled() {
    let long = format!(
        "{{\"disconnect\":{{\"code\":4000,\"reason\":\"{:200}\"}}}}",
        ""
    );
    for (event, body) in [
        (Event::Rpc, ""),
        (Event::Rpc, "[]x"),
        (Event::Rpc, "{\"result\":[1]"),
        (Event::Rpc, "\u{0}"),
        (Event::Rpc, "{\"error\":{\"code\":-1}}"),
        (Event::Rpc, "{\"error\":{\"code\":0}}"),
        (Event::Rpc, "{\"error\":\"no\"}"),
        (Event::Rpc, "{\"disconnect\":{\"code\":1000}}"),
        (Event::Rpc, "{\"disconnect\":{\"code\":70000}}"),
        (Event::Rpc, &long),
        (Event::Rpc, "{\"result\":{\"b64data\":\"***\"}}"),
        (Event::Connect, "{\"result\":{\"user\":7}}"),
        (Event::Connect, "{\"result\":{\"expire_at\":-1}}"),
        (Event::Connect, "{\"result\":{\"channels\":\"a\"}}"),
        (
            Event::Subscribe,
            "{\"result\":{\"override\":{\"presence\":true}}}",
        ),
    ] {
        let read = read(event, body);
        assert!(matches!(read, Err(Failure::Garbled(_))), "{body}: {read:?}");
    }
}

#[test]
fn a_result_is_read_with_nulls_and_line_breaks_and_in_base64() {
    let body = "{\"result\":{\r\n\"user\":\"u\",\"channels\":null,\"info\":{\n\"a\":1},\
                \"b64data\":\"WzEsCjJd\",\"subs\":{\"s\":{\"override\":{\"presence\":{\"value\":true}}}},\
                \"meta\":{}}}";
    let said = read(Event::Connect, body).unwrap();
    let Said::Result(result) = said.parsed::<ConnectResult>().unwrap() else {
        panic!("no result");
    };
    assert_eq!((&*result.user, result.channels.len()), ("u", 0));
    assert_eq!(result.info.json().unwrap().unwrap().get(), "{ \"a\":1}");
    assert_eq!(result.data.json().unwrap().unwrap().get(), "[1, 2]");
    let flag = result.subs["s"].r#override.presence;
    assert_eq!(flag, Some(Flag { value: true }));
    let bytes = Data::Bytes(vec![0xff]);
    assert!(matches!(bytes.json(), Err(Failure::Garbled(_))));
}

#[test]
fn a_batch_has_an_answer_for_each_question() {
    let headers: Headers = Arc::new([("Cookie".into(), "a=\"b\"".into())].into());
    let questions = [
        (&b"{\"client\":\"1\"}"[..], None),
        (b"{\"client\":\"2\"}", Some(&headers)),
    ];
    let letter = Letter::batch(Event::Publish, questions.into_iter());
    let body: Value = serde_json::from_slice(&letter.body).unwrap();
    let expected = json!({ "batch": [
        { "client": "1" },
        { "headers": { "Cookie": "a=\"b\"" }, "client": "2" },
    ] });
    assert_eq!(body, expected);
    let answers = letter.read(b"{\"batch\":[{},{\"error\":{\"code\":9}}]}".to_vec());
    let answers = answers.unwrap();
    assert!(matches!(&answers[..], [Said::Result(_), Said::Error(_)]));
    for wrong in ["{\"batch\":[]}", "{\"batch\":[{},{},{}]}", "{}", "[{},{}]"] {
        let read = letter.read(wrong.as_bytes().to_vec());
        assert!(matches!(read, Err(Failure::Garbled(_))), "{wrong}");
    }
}
