//! Texts with places for what an event says.

use std::str::FromStr;

use lettre::Address;
use serde::Deserialize;

/// Bytes of a user's name in an address.
const MAX_USER: usize = 64;

/// A text in which `{user}` and others stand for what an event says; `{{` and
/// `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    User,
    Channel,
    From,
    Text,
    Event,
}

const PLACES: [(&str, Place); 5] = [
    ("user", Place::User),
    ("channel", Place::Channel),
    ("from", Place::From),
    ("text", Place::Text),
    ("event", Place::Event),
];

/// What the places are filled with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) user: &'a str,
    pub(super) channel: &'a str,
    pub(super) from: &'a str,
    pub(super) text: &'a str,
    pub(super) event: &'a str,
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            let places = PLACES.map(|(name, _)| format!("{{{name}}}")).join(", ");
            format!("{text:?} has a place that is none; there are {places}; {{{{ is a brace")
        };
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = rest.split_once('}').ok_or_else(wrong)?;
            let place = PLACES.iter().find(|(known, _)| *known == name);
            let (_, place) = place.filter(|_| brace == "{").ok_or_else(wrong)?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Place(*place));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }
}

impl Template {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it can be an address: with no place but the user's, and valid
    /// with a name that is.
    pub(crate) fn is_address(&self) -> bool {
        let others = |part: &Part| matches!(part, Part::Place(place) if *place != Place::User);
        let user = if self.is_user() { "a@example.org" } else { "a" };
        !self.0.iter().any(others) && self.address(user).is_some()
    }

    pub(super) fn filled(&self, said: Said<'_>) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Place(Place::User) => said.user,
            Part::Place(Place::Channel) => said.channel,
            Part::Place(Place::From) => said.from,
            Part::Place(Place::Text) => said.text,
            Part::Place(Place::Event) => said.event,
        });
        parts.collect()
    }

    /// The address for a user; `None`: the user's name makes none. Names with
    /// what means something in an address do not, so that nobody chooses a
    /// domain or a second recipient.
    pub(super) fn address(&self, user: &str) -> Option<Address> {
        let uses_it = self.0.contains(&Part::Place(Place::User));
        let is_plain = |user: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
            (1..=MAX_USER).contains(&user.len()) && user.chars().all(plain)
        };
        let is_sound = if self.is_user() {
            let (local, domain) = user.split_once('@')?;
            is_plain(local) && domain.is_ascii() && !domain.starts_with('[')
        } else {
            !uses_it || is_plain(user)
        };
        if !is_sound {
            return None;
        }
        let filled = self.filled(Said {
            user,
            ..Said::default()
        });
        Address::from_str(&filled).ok()
    }

    /// Whether it is the user's name alone, which then is an address.
    fn is_user(&self) -> bool {
        self.0 == [Part::Place(Place::User)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn places_are_filled_once() {
        let said = Said {
            user: "{text}",
            channel: "room",
            from: "ann",
            text: "hi",
            event: "mention",
        };
        let filled = template("{user} {{user}} {from}@{channel}: {text} ({event})").filled(said);
        assert_eq!(filled, "{text} {user} ann@room: hi (mention)");
        for wrong in ["{who}", "{user", "a } b", "{{{who}", "}user{"] {
            let error = Template::try_from(wrong.to_owned()).unwrap_err();
            assert!(error.contains("{user}, {channel}"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_name_that_makes_no_address_makes_none() {
        let to = template("{user}@example.org");
        for user in ["bob", "b.o-b_+1"] {
            let address = to.address(user).expect("an address").to_string();
            assert_eq!(address, format!("{user}@example.org"));
        }
        for user in [
            "",
            "a@evil.org",
            "a b",
            "a\r\nBcc: x",
            "a\0",
            "\"a\"",
            "a,b",
            "<a>",
            ".a",
            "a%b",
            "\u{e4}",
            &"x".repeat(65),
        ] {
            assert_eq!(to.address(user), None, "{user:?}");
        }
    }

    #[test]
    fn a_name_may_be_an_address_itself_and_an_address_need_no_name() {
        let to = template("{user}");
        let address = to.address("bob@example.org").expect("an address");
        assert_eq!(address.to_string(), "bob@example.org");
        for user in [
            "bob",
            "b ob@example.org",
            "bob@example.org,x@y.org",
            "bob@a@b.org",
            "bob@example.org\r\nX: y",
            "bob@[127.0.0.1]",
        ] {
            assert_eq!(to.address(user), None, "{user:?}");
        }
        let fixed = template("ops@example.org");
        assert!(fixed.address("whoever \r\n").is_some());
        for (text, sound) in [
            ("{user}", true),
            ("x-{user}@example.org", true),
            ("ops@example.org", true),
            ("{from}@example.org", false),
            ("{user}@", false),
            ("nobody", false),
        ] {
            assert_eq!(template(text).is_address(), sound, "{text}");
        }
    }
}
