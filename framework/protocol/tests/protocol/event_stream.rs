//! What is sent as an event is what a reader of the format gets.

use hioload_protocol::Kind;
use hioload_protocol::event_stream::{COMMENT, data, field, is_value};
use proptest::prelude::*;

/// An event as the specification dispatches it, and the id that is last then.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dispatched {
    name: String,
    data: String,
    id: String,
}

/// WHATWG HTML, sections 9.2.5 and 9.2.6, step by step.
fn read(stream: &str) -> Vec<Dispatched> {
    let mut seen = Vec::new();
    let (mut data, mut name, mut id) = (String::new(), String::new(), String::new());
    for line in stream.replace("\r\n", "\n").split(['\r', '\n']) {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                seen.push(Dispatched {
                    name: std::mem::take(&mut name),
                    data: std::mem::take(&mut data),
                    id: id.clone(),
                });
            }
            name.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "event" => value.clone_into(&mut name),
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            _ => {}
        }
    }
    seen
}

fn event(text: &str) -> String {
    String::from_utf8(data(Kind::Text, text.as_bytes())).expect("text stays text")
}

proptest! {
    #[test]
    fn a_text_arrives_with_its_line_breaks_as_lf(
        texts in prop::collection::vec("(\r\n|\r|\n| |:|data: |[^\r\n]){0,12}", 1..4),
    ) {
        let stream: String = texts.iter().map(|text| event(text)).collect();
        let expected: Vec<_> = texts
            .iter()
            .map(|text| text.replace("\r\n", "\n").replace('\r', "\n"))
            .collect();
        let data: Vec<_> = read(&stream).into_iter().map(|event| event.data).collect();
        prop_assert_eq!(data, expected);
    }

    #[test]
    fn a_value_stays_in_its_field(value in any::<String>()) {
        prop_assume!(is_value(&value));
        let mut out = Vec::new();
        field("event", &value, &mut out);
        field("id", &value, &mut out);
        let stream = String::from_utf8(out).unwrap() + &event("x");
        let expected = Dispatched { name: value.clone(), data: "x".to_owned(), id: value };
        prop_assert_eq!(read(&stream), [expected]);
    }
}

#[test]
fn what_cannot_be_text_is_base64_and_comments_are_nothing() {
    let mut stream = COMMENT.to_vec();
    stream.extend(data(Kind::Binary, &[0xff, 0, 0xfe]));
    stream.extend_from_slice(COMMENT);
    let seen = read(std::str::from_utf8(&stream).unwrap());
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].data, "/wD+");
    for forged in ["a\nb", "a\rb", "a\0b"] {
        assert!(!is_value(forged), "{forged:?}");
    }
}
