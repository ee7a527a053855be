//! Settings of the application's HTTP endpoints, which are asked about what
//! clients do.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderName;
use serde::Deserialize;
use thiserror::Error;

use super::{Namespace, Span};

/// Stands for the event's name in an endpoint.
const PLACE_OF_EVENT: &str = "{event}";

/// Endpoints of an application at most: each may be asked about every event.
const MAX_ENDPOINTS: usize = 16;

/// Events in a request at most.
const MAX_BATCH: usize = 1000;

/// Headers that say how a request is carried, not what it is about.
const NOT_FORWARDED: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The settings of an application are wrong.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ApplicationError {
    #[error(
        "[[application]] {0:?}: a name has 1 to 64 letters, digits, \"-\" and \"_\", and is there \
         once"
    )]
    Name(String),
    #[error("[[application]] {name:?}: {field} is empty; {advice}")]
    Empty {
        name: String,
        field: &'static str,
        advice: &'static str,
    },
    #[error("[[application]] {name:?}: {field} is 0; give at least 1, or leave it out")]
    Zero { name: String, field: &'static str },
    #[error("[[application]] {name:?}: {field} is {value}; at most {most} are possible")]
    TooMany {
        name: String,
        field: &'static str,
        value: usize,
        most: usize,
    },
    #[error(
        "[[application]] {name:?}: endpoints: {endpoint} is no address; write such as \
         \"http://127.0.0.1:3000/centrifugo/{{event}}\""
    )]
    Endpoint { name: String, endpoint: Address },
    #[error("[[application]] {name:?}: {less} is above {more}")]
    Order {
        name: String,
        less: &'static str,
        more: &'static str,
    },
    #[error("[[application]] {name:?}: namespaces: there is no [[namespace]] {namespace:?}")]
    Namespace { name: String, namespace: String },
    #[error(
        "[[application]] {name:?}: namespaces are for events of channels and for rpc; leave them \
         out"
    )]
    Pointless { name: String },
    #[error("[[application]] {name:?}: events: {event} of the same namespaces is for {other:?}")]
    Twice {
        name: String,
        event: &'static str,
        other: String,
    },
    #[error("[[application]] {name:?}: headers: {header:?} can not be passed on")]
    Header { name: String, header: String },
    #[error(
        "[[application]] {name:?}: health_path is a path on the endpoints' hosts, such as \
         \"/health\""
    )]
    HealthPath { name: String },
}

/// What the application can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Connect,
    Refresh,
    Subscribe,
    SubRefresh,
    Publish,
    Rpc,
    /// Which needs no answer.
    Message,
}

impl Event {
    pub(crate) const ALL: [Self; 7] = [
        Self::Connect,
        Self::Refresh,
        Self::Subscribe,
        Self::SubRefresh,
        Self::Publish,
        Self::Rpc,
        Self::Message,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Subscribe => "subscribe",
            Self::SubRefresh => "sub_refresh",
            Self::Publish => "publish",
            Self::Rpc => "rpc",
            Self::Message => "message",
        }
    }

    /// Whether it is about something with a namespace.
    fn has_namespace(self) -> bool {
        !matches!(self, Self::Connect | Self::Refresh | Self::Message)
    }

    /// Whether that is a channel's.
    fn is_of_channel(self) -> bool {
        self.has_namespace() && self != Self::Rpc
    }
}

/// Which of several endpoints are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// The first one that is well; the next when it fails.
    #[default]
    Failover,
    /// All that are well, and the first answer counts.
    Fastest,
    /// All of them, and each must agree.
    All,
}

/// Where an endpoint is. It may hold a password, which is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Address(String);

impl Address {
    /// Where an event is posted.
    pub(crate) fn of(&self, event: Event) -> Option<Url> {
        let url = Url::parse(&self.0.replace(PLACE_OF_EVENT, event.name())).ok()?;
        let is_sound = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_sound.then_some(url)
    }

    /// Another path of the same host.
    pub(crate) fn at(&self, path: &str) -> Option<Url> {
        let mut url = self.of(Event::Connect)?.join(path).ok()?;
        url.set_fragment(None);
        Some(url)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever is before the last @ of the authority may be a password.
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        // A key may be in the query.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if !scheme.is_empty() {
            write!(f, "{scheme}://")?;
        }
        write!(f, "{host}{path}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// `[[application]]`: who is asked about what clients do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) endpoints: Vec<Address>,
    pub(crate) events: Vec<Event>,
    /// Empty: of all.
    pub(crate) namespaces: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) headers: Vec<String>,
    pub(crate) binary: bool,
    /// A PEM file; empty: certificates of the system's authorities alone.
    pub(crate) ca: PathBuf,
    timeout: Span,
    total_timeout: Span,
    pub(crate) retries: u32,
    backoff: Span,
    backoff_max: Span,
    pub(crate) max_in_flight: usize,
    pub(crate) max_queued: usize,
    pub(crate) max_per_client: u32,
    pub(crate) max_response: usize,
    pub(crate) breaker_failures: u32,
    breaker_cooldown: Span,
    /// Empty: nobody asks how it is.
    pub(crate) health_path: String,
    health_interval: Span,
    pub(crate) batch_max: usize,
    batch_wait: Span,
}

impl Default for Application {
    fn default() -> Self {
        let millis = |millis| Span(Duration::from_millis(millis));
        Self {
            name: String::new(),
            endpoints: Vec::new(),
            events: Vec::new(),
            namespaces: Vec::new(),
            mode: Mode::default(),
            headers: Vec::new(),
            binary: false,
            ca: PathBuf::new(),
            timeout: millis(1000),
            total_timeout: millis(5000),
            retries: 1,
            backoff: millis(50),
            backoff_max: millis(1000),
            max_in_flight: 256,
            max_queued: 1024,
            max_per_client: 64,
            max_response: 1 << 20,
            breaker_failures: 5,
            breaker_cooldown: millis(5000),
            health_path: String::new(),
            health_interval: millis(5000),
            batch_max: 1,
            batch_wait: millis(5),
        }
    }
}

impl Application {
    /// For the answer to one request.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.0
    }

    /// For all that is tried about an event, with the wait for its turn.
    pub(crate) fn total_timeout(&self) -> Duration {
        self.total_timeout.0
    }

    /// Before the first retry.
    pub(crate) fn backoff(&self) -> Duration {
        self.backoff.0
    }

    /// Before any other at most.
    pub(crate) fn backoff_max(&self) -> Duration {
        self.backoff_max.0
    }

    /// How long an endpoint that fails is left alone.
    pub(crate) fn breaker_cooldown(&self) -> Duration {
        self.breaker_cooldown.0
    }

    /// Between two looks at how an endpoint is.
    pub(crate) fn health_interval(&self) -> Duration {
        self.health_interval.0
    }

    /// How long events wait for others to go with them.
    pub(crate) fn batch_wait(&self) -> Duration {
        self.batch_wait.0
    }

    /// Whether it is asked about an event in a namespace.
    pub(crate) fn takes(&self, event: Event, namespace: &str) -> bool {
        let is_there = |one: &String| one == namespace;
        self.events.contains(&event)
            && (!event.has_namespace()
                || self.namespaces.is_empty()
                || self.namespaces.iter().any(is_there))
    }

    fn check(&self, namespaces: &[Namespace]) -> Result<(), ApplicationError> {
        let name = || self.name.clone();
        let is_sound = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !(1..=64).contains(&self.name.len()) || !self.name.chars().all(is_sound) {
            return Err(ApplicationError::Name(name()));
        }
        self.check_endpoints()?;
        if self.events.is_empty() {
            return Err(ApplicationError::Empty {
                name: name(),
                field: "events",
                advice: "give some of \"connect\", \"refresh\", \"subscribe\", \"sub_refresh\", \
                         \"publish\", \"rpc\", \"message\"",
            });
        }
        let channels = self.events.iter().any(|event| event.is_of_channel());
        if !self.namespaces.is_empty() && !self.events.iter().any(|one| one.has_namespace()) {
            return Err(ApplicationError::Pointless { name: name() });
        }
        let is_known = |wanted: &&String| namespaces.iter().any(|one| one.name == **wanted);
        if let Some(namespace) = self
            .namespaces
            .iter()
            .find(|one| channels && !is_known(one))
        {
            return Err(ApplicationError::Namespace {
                name: name(),
                namespace: namespace.clone(),
            });
        }
        let is_forwarded = |header: &&String| {
            HeaderName::from_bytes(header.as_bytes())
                .is_ok_and(|name| !NOT_FORWARDED.contains(&name.as_str()))
        };
        if let Some(header) = self.headers.iter().find(|one| !is_forwarded(one)) {
            return Err(ApplicationError::Header {
                name: name(),
                header: header.clone(),
            });
        }
        self.check_numbers()
    }

    fn check_endpoints(&self) -> Result<(), ApplicationError> {
        let name = || self.name.clone();
        if self.endpoints.is_empty() {
            return Err(ApplicationError::Empty {
                name: name(),
                field: "endpoints",
                advice: "give at least one address",
            });
        }
        if self.endpoints.len() > MAX_ENDPOINTS {
            return Err(ApplicationError::TooMany {
                name: name(),
                field: "endpoints",
                value: self.endpoints.len(),
                most: MAX_ENDPOINTS,
            });
        }
        let is_sound = |one: &&Address| Event::ALL.iter().all(|event| one.of(*event).is_some());
        if let Some(endpoint) = self.endpoints.iter().find(|one| !is_sound(one)) {
            return Err(ApplicationError::Endpoint {
                name: name(),
                endpoint: endpoint.clone(),
            });
        }
        let leads = |one: &Address| one.at(&self.health_path).is_some();
        let is_path = self.health_path.starts_with('/') && !self.health_path.starts_with("//");
        let is_sound = is_path && self.endpoints.iter().all(leads);
        if !is_sound && !self.health_path.is_empty() {
            return Err(ApplicationError::HealthPath { name: name() });
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), ApplicationError> {
        let name = || self.name.clone();
        for (field, is_zero) in [
            ("timeout", self.timeout.0.is_zero()),
            ("total_timeout", self.total_timeout.0.is_zero()),
            ("backoff", self.backoff.0.is_zero()),
            ("backoff_max", self.backoff_max.0.is_zero()),
            ("max_in_flight", self.max_in_flight == 0),
            ("max_per_client", self.max_per_client == 0),
            ("max_response", self.max_response == 0),
            ("breaker_failures", self.breaker_failures == 0),
            ("breaker_cooldown", self.breaker_cooldown.0.is_zero()),
            ("health_interval", self.health_interval.0.is_zero()),
            ("batch_max", self.batch_max == 0),
            ("batch_wait", self.batch_wait.0.is_zero()),
        ] {
            if is_zero {
                return Err(ApplicationError::Zero {
                    name: name(),
                    field,
                });
            }
        }
        for (less, more, is_above) in [
            (
                "timeout",
                "total_timeout",
                self.timeout.0 > self.total_timeout.0,
            ),
            (
                "backoff",
                "backoff_max",
                self.backoff.0 > self.backoff_max.0,
            ),
            (
                "batch_wait",
                "total_timeout",
                self.batch_wait.0 > self.total_timeout.0,
            ),
        ] {
            if is_above {
                return Err(ApplicationError::Order {
                    name: name(),
                    less,
                    more,
                });
            }
        }
        let retries = usize::try_from(self.retries).unwrap_or(usize::MAX);
        for (field, value, most) in [
            ("retries", retries, 10),
            ("max_in_flight", self.max_in_flight, 65_536),
            ("max_queued", self.max_queued, 65_536),
            ("batch_max", self.batch_max, MAX_BATCH),
        ] {
            if value > most {
                return Err(ApplicationError::TooMany {
                    name: name(),
                    field,
                    value,
                    most,
                });
            }
        }
        Ok(())
    }

    /// An event that another one is asked about too.
    fn rivalry(&self, other: &Self) -> Option<Event> {
        let mut events = self.events.iter().copied();
        events.find(|event| {
            let all = [""].into_iter();
            let named = self.namespaces.iter().map(String::as_str);
            let theirs = other.namespaces.iter().map(String::as_str);
            // One that takes all namespaces takes those of the other.
            all.chain(named)
                .chain(theirs)
                .any(|namespace| self.takes(*event, namespace) && other.takes(*event, namespace))
        })
    }
}

/// The applications, if they make sense together.
pub(super) fn checked(
    applications: &[Application],
    namespaces: &[Namespace],
) -> Result<Vec<Application>, ApplicationError> {
    for (index, one) in applications.iter().enumerate() {
        one.check(namespaces)?;
        for other in &applications[..index] {
            if other.name == one.name {
                return Err(ApplicationError::Name(one.name.clone()));
            }
            if let Some(event) = one.rivalry(other) {
                return Err(ApplicationError::Twice {
                    name: one.name.clone(),
                    event: event.name(),
                    other: other.name.clone(),
                });
            }
        }
    }
    Ok(applications.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::testing::chat;
    use super::*;

    const GOOD: &str = "[[application]]\nname = 'a'\nendpoints = ['http://h/{event}']\n";

    #[derive(Deserialize)]
    struct File {
        application: Vec<Application>,
    }

    fn of(file: &str) -> Result<Vec<Application>, ApplicationError> {
        let chat = chat("[[namespace]]\nname = 'n'\n[[namespace]]\nname = 'm'");
        let file: File = toml::from_str(file).unwrap();
        checked(&file.application, &chat.namespaces)
    }

    #[test]
    fn an_event_goes_to_the_one_that_takes_it_in_its_namespace() {
        let first = format!("{GOOD}events = ['connect', 'publish']\nnamespaces = ['n', '']\n");
        let second = "[[application]]\nname = 'b'\nendpoints = ['http://h']\n\
                      events = ['publish', 'rpc', 'message']\nnamespaces = ['m']";
        let all = of(&(first + second)).unwrap();
        for (event, namespace, expected) in [
            (Event::Connect, "", Some("a")),
            (Event::Publish, "n", Some("a")),
            (Event::Publish, "", Some("a")),
            (Event::Publish, "m", Some("b")),
            (Event::Publish, "x", None),
            (Event::Rpc, "m", Some("b")),
            (Event::Rpc, "", None),
            (Event::Message, "", Some("b")),
            (Event::Subscribe, "n", None),
        ] {
            let found = all.iter().find(|one| one.takes(event, namespace));
            let found = found.map(|one| &*one.name);
            assert_eq!(found, expected, "{event:?} {namespace}");
        }
    }

    #[test]
    fn an_endpoint_has_a_place_for_the_event_and_shows_no_password() {
        let address = Address("https://user:pass@h:8/p/{event}?key=1".into());
        let url = address.of(Event::SubRefresh).unwrap();
        assert_eq!(url.as_str(), "https://user:pass@h:8/p/sub_refresh?key=1");
        assert_eq!(address.to_string(), "https://h:8/p/{event}");
        assert_eq!(format!("{address:?}"), "\"https://h:8/p/{event}\"");
        let health = address.at("/health?x=1").unwrap();
        assert_eq!(health.path(), "/health");
        assert_eq!(health.query(), Some("x=1"));
        for none in ["", "h", "ftp://h", "http://", "http://h:x", "unix:/a"] {
            assert_eq!(Address(none.into()).of(Event::Rpc), None, "{none}");
        }
        assert_eq!(Address("user:pass@h".into()).to_string(), "h");
    }

    #[test]
    fn the_documented_example_states_the_defaults() {
        let example = include_str!("../../hioload-server.toml");
        let mut blocks = example.split("\n\n");
        let block = blocks.find(|block| block.contains("# [[application]]"));
        let lines = block.expect("an example").lines();
        let lines = lines.filter_map(|line| line.strip_prefix("# "));
        let lines = lines.skip_while(|line| !line.starts_with('['));
        let documented: String = lines.flat_map(|line| [line, "\n"]).collect();
        let least = "[[application]]\nname = 'app'\n\
                     endpoints = ['http://127.0.0.1:3000/centrifugo/{event}']\n\
                     events = ['connect', 'subscribe', 'publish', 'rpc']";
        assert_eq!(of(&documented).unwrap(), of(least).unwrap());
        // Each setting is there, by its name in what is printed of them.
        let printed = format!("{:?}", of(least).unwrap());
        let fields = printed
            .split([' ', '{'])
            .filter_map(|word| word.strip_suffix(':'));
        for field in fields.filter(|field| field.chars().all(|c| c.is_lowercase() || c == '_')) {
            assert!(documented.contains(&format!("{field} = ")), "{field}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let rpc = format!("{GOOD}events = ['rpc']\n");
        let other = "[[application]]\nname = 'b'\nendpoints = ['http://h']\nevents = ['rpc']\n";
        for (file, named) in [
            (GOOD.to_owned(), "events is empty"),
            (GOOD.replace("'a'", "'a b'"), "a name has"),
            (rpc.replace("'http://h/{event}'", ""), "endpoints is empty"),
            (rpc.replace("http://", "http//"), "is no address"),
            (format!("{rpc}{rpc}"), "is there once"),
            (
                format!("{rpc}{other}"),
                "rpc of the same namespaces is for \"a\"",
            ),
            (
                format!("{GOOD}events = ['publish']\nnamespaces = ['x']"),
                "no [[namespace]] \"x\"",
            ),
            (
                format!("{GOOD}events = ['connect', 'message']\nnamespaces = ['n']"),
                "leave them",
            ),
            (format!("{rpc}headers = ['Host']"), "\"Host\" can not"),
            (format!("{rpc}headers = ['a b']"), "\"a b\" can not"),
            (format!("{rpc}timeout = '0s'"), "timeout is 0"),
            (
                format!("{rpc}timeout = '9s'"),
                "timeout is above total_timeout",
            ),
            (
                format!("{rpc}backoff = '9s'"),
                "backoff is above backoff_max",
            ),
            (format!("{rpc}max_in_flight = 0"), "max_in_flight is 0"),
            (
                format!("{rpc}breaker_failures = 0"),
                "breaker_failures is 0",
            ),
            (format!("{rpc}batch_max = 0"), "batch_max is 0"),
            (format!("{rpc}batch_max = 1001"), "at most 1000"),
            (format!("{rpc}retries = 11"), "at most 10"),
            (format!("{rpc}health_path = 'health'"), "health_path"),
            (
                format!("{rpc}health_path = '//other/health'"),
                "health_path",
            ),
        ] {
            let error = of(&file).unwrap_err().to_string();
            assert!(error.contains(named), "{file}: {error}");
        }
        of(&rpc).unwrap();
    }
}
