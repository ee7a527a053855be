//! Whom a publication names.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::event::Data;

/// Users that one publication can mention; it is not read further.
const MAX_MENTIONED: usize = 32;

/// Bytes of a user's name that can be mentioned.
const MAX_USER: usize = 255;

#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    One(String),
    Some(Vec<String>),
}

/// The users in a field of an object, each once: a text, or a list of texts.
pub(super) fn mentioned(data: &Data, field: &str) -> BTreeSet<String> {
    let named = data.field(field);
    let named = named.and_then(|named| serde_json::from_str(named.get()).ok());
    let users = match named {
        None => Vec::new(),
        Some(Named::One(user)) => vec![user],
        Some(Named::Some(users)) => users,
    };
    let possible = |user: &String| (1..=MAX_USER).contains(&user.len());
    let users = users.into_iter().take(MAX_MENTIONED);
    users.filter(possible).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn of(data: &str) -> Vec<String> {
        let data = Data::Json(RawValue::from_string(data.to_owned()).unwrap());
        mentioned(&data, "mentions").into_iter().collect()
    }

    #[test]
    fn a_list_or_a_text_in_the_field_names_users() {
        for (data, expected) in [
            (r#"{"mentions":["bob","ann","bob"]}"#, &["ann", "bob"][..]),
            (r#"{"mentions":"bob","text":"@ann"}"#, &["bob"]),
            (r#"{"mentions":[]}"#, &[]),
            (r#"{"mentions":["bob",7]}"#, &[]),
            (r#"{"mentions":[""]}"#, &[]),
            (r#"{"inner":{"mentions":["bob"]}}"#, &[]),
            (r#"["mentions"]"#, &[]),
            (r#""mentions""#, &[]),
            ("7", &[]),
        ] {
            assert_eq!(of(data), expected, "{data}");
        }
        assert!(mentioned(&Data::Bytes((*b"mentions").into()), "mentions").is_empty());
    }

    #[test]
    fn a_publication_mentions_few_with_names_that_are_short() {
        let many: Vec<String> = (0..100).map(|n| format!("u{n}")).collect();
        let data = serde_json::json!({ "mentions": many }).to_string();
        assert_eq!(of(&data).len(), MAX_MENTIONED);
        let long = serde_json::json!({ "mentions": ["x".repeat(256), "y".repeat(255)] });
        assert_eq!(of(&long.to_string()), ["y".repeat(255)]);
    }
}
