//! Settings of the chat: who may connect, and what channels offer.

mod changes;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hioload::hub::{History, Hub, MAX_HUBS};
use hioload_store::Kept;
use serde::Deserialize;
use thiserror::Error;

use super::Span;
use super::keys::{KeyError, TokenKeys};
use super::rate::Rate;
pub(crate) use changes::Changes;

/// Bytes of a secret at least; fewer are guessed from a single token.
pub(super) const MIN_SECRET: usize = 16;

/// Namespaces at most: each is a hub, and two hubs are not theirs.
const MAX_NAMESPACES: usize = MAX_HUBS - 2;

/// The namespace in which the chat page says that somebody types, if it is
/// there; `--dev` has it.
const TYPING: &str = "typing";

/// Bytes of a namespace's name at most, so that it leaves most of a channel's
/// name to the channel.
const MAX_NAMESPACE: usize = 64;

/// Messages of a channel's history at most: a query looks at all of them.
const MAX_HISTORY: usize = 10_000;

/// The chat's settings are wrong.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ChatError {
    #[error(
        "client.token_secret has {0} bytes; give at least {MIN_SECRET}, such as the output of: \
         openssl rand -hex 32"
    )]
    WeakSecret(usize),
    #[error(
        "api.key has {0} bytes; give at least {MIN_SECRET} visible characters, such as the output \
         of: openssl rand -hex 32"
    )]
    WeakKey(usize),
    #[error("client.{0} is 0; give a duration such as 10s")]
    Zero(&'static str),
    #[error(
        "client.pong is not below client.ping: a client would be pinged while it is waited for"
    )]
    Pong,
    #[error("client.ping has a part of a second; clients are told whole seconds")]
    PartialPing,
    #[error(
        "client.allowed_origins: {0:?} is no origin; write such as \"https://example.org\", or \
         \"*\" for all"
    )]
    Origin(String),
    #[error("client.max_channels is {0}; give 1 to 10000")]
    Channels(usize),
    #[error(
        "client.rates.subscribe lets a client subscribe to {count} channels at once, but \
         client.max_channels is {max}: who comes back would be refused; give at least {max}/10s"
    )]
    SubscribeRate { count: u32, max: usize },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "[[namespace]] {0:?}: a name has 1 to {MAX_NAMESPACE} letters, digits, \"-\" and \"_\""
    )]
    Name(String),
    #[error("[channel] has no name; use [[namespace]] for channels called {0}:...")]
    Named(String),
    #[error("[[namespace]] {0:?} is there twice")]
    Twice(String),
    #[error("{0} namespaces; at most {MAX_NAMESPACES} are possible")]
    TooMany(usize),
    #[error("{place}: history_size is {size}; at most {MAX_HISTORY} are possible")]
    HistorySize { place: String, size: usize },
    #[error("{place}: {field} takes a history; set history_size and history_ttl above 0")]
    NoHistory { place: String, field: &'static str },
    #[error("{place}: max_channels is 0: nobody could subscribe")]
    NoChannels { place: String },
    #[error("{place}: allow_subscribe can not be \"subscriber\"")]
    Subscriber { place: String },
}

/// What the chat runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatSettings {
    pub(crate) client: ClientTable,
    /// What tokens are verified with.
    pub(crate) keys: TokenKeys,
    /// What a call of the application presents; empty: it can not call.
    pub(crate) api_key: Secret,
    /// Nobody needs a token and everything is allowed: `--dev` on loopback, or
    /// stated in the file.
    pub(crate) insecure: bool,
    /// The first has no name: it is that of channels without a namespace.
    pub(crate) namespaces: Vec<Namespace>,
}

/// What signs tokens, or lets in. Never printed, not even when it is wrong.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(crate) struct Secret(String);

impl TryFrom<toml::Value> for Secret {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(secret) => Ok(Self(secret)),
            other => {
                let what = other.type_str();
                Err(format!(
                    "a secret is a text in quotes, but this is of type {what}"
                ))
            }
        }
    }
}

impl Secret {
    /// The secret's bytes; `None`: there is none.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        (!self.0.is_empty()).then_some(self.0.as_bytes())
    }

    /// The secret itself, for what keeps it secret too.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "some" })
    }
}

/// `[api]`: what holds for the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ApiTable {
    key: Secret,
}

/// `[client]`: what holds for connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientTable {
    pub(crate) token_secret: Secret,
    token_public_keys: Vec<PathBuf>,
    token_jwks: PathBuf,
    pub(crate) token_issuer: String,
    pub(crate) token_audience: String,
    pub(crate) anonymous: bool,
    pub(crate) insecure: bool,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) max_channels: usize,
    /// 0: as many as come.
    pub(crate) user_connection_limit: u32,
    pub(crate) rates: RatesTable,
    ping: Span,
    pong: Span,
    stale: Span,
    expired_close_delay: Span,
}

impl Default for ClientTable {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            token_secret: Secret::default(),
            token_public_keys: Vec::new(),
            token_jwks: PathBuf::new(),
            token_issuer: String::new(),
            token_audience: String::new(),
            anonymous: false,
            insecure: false,
            allowed_origins: Vec::new(),
            max_channels: 128,
            user_connection_limit: 0,
            rates: RatesTable::default(),
            ping: seconds(25),
            pong: seconds(8),
            stale: seconds(10),
            expired_close_delay: seconds(25),
        }
    }
}

/// `[client.rates]`: what a connection may ask for, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RatesTable {
    pub(crate) publish: Rate,
    pub(crate) subscribe: Rate,
    pub(crate) read: Rate,
    pub(crate) rpc: Rate,
    pub(crate) other: Rate,
    pub(crate) refused: Rate,
    pub(crate) errors: Rate,
}

impl Default for RatesTable {
    fn default() -> Self {
        const fn in_ten_seconds(count: u32) -> Rate {
            Rate::new(count, Duration::from_secs(10))
        }
        Self {
            publish: in_ten_seconds(5000),
            subscribe: in_ten_seconds(2000),
            read: in_ten_seconds(2000),
            rpc: in_ten_seconds(2000),
            other: in_ten_seconds(2000),
            refused: in_ten_seconds(1000),
            errors: in_ten_seconds(1000),
        }
    }
}

impl ClientTable {
    /// Between pings.
    pub(crate) fn ping(&self) -> Duration {
        self.ping.0
    }

    /// From a ping to its answer.
    pub(crate) fn pong(&self) -> Duration {
        self.pong.0
    }

    /// From the handshake to the connect command.
    pub(crate) fn stale(&self) -> Duration {
        self.stale.0
    }

    /// From the end of a token to the end of what it granted: time for a
    /// client to bring a new one.
    pub(crate) fn expired_close_delay(&self) -> Duration {
        self.expired_close_delay.0
    }

    /// Reads the keys that tokens are verified with.
    fn keys(&self) -> Result<TokenKeys, KeyError> {
        let set = Some(&*self.token_jwks).filter(|path| !path.as_os_str().is_empty());
        TokenKeys::read(&self.token_secret, &self.token_public_keys, set)
    }

    fn check(&self) -> Result<(), ChatError> {
        if let Some(bytes) = self.token_secret.bytes()
            && bytes.len() < MIN_SECRET
        {
            return Err(ChatError::WeakSecret(bytes.len()));
        }
        for (field, span) in [
            ("ping", self.ping),
            ("pong", self.pong),
            ("stale", self.stale),
        ] {
            if span.0.is_zero() {
                return Err(ChatError::Zero(field));
            }
        }
        if self.pong.0 >= self.ping.0 {
            return Err(ChatError::Pong);
        }
        if self.ping.0.subsec_nanos() != 0 {
            return Err(ChatError::PartialPing);
        }
        let is_origin = |origin: &&String| *origin == "*" || origin.contains("://");
        if let Some(other) = self.allowed_origins.iter().find(|one| !is_origin(one)) {
            return Err(ChatError::Origin(other.clone()));
        }
        if !(1..=10_000).contains(&self.max_channels) {
            return Err(ChatError::Channels(self.max_channels));
        }
        let (max, at_once) = (self.max_channels, self.rates.subscribe.count());
        if let Some(count) = at_once
            && usize::try_from(count).is_ok_and(|count| count < max)
        {
            return Err(ChatError::SubscribeRate { count, max });
        }
        Ok(())
    }
}

/// Who may do something in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// No client, but by a token.
    Nobody,
    /// Who is subscribed to it.
    Subscriber,
    /// Every client with a user.
    User,
    /// Every client.
    Anyone,
}

/// A format of deltas, in which a publication is told as what differs from the
/// one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeltaType {
    Fossil,
}

impl DeltaType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fossil => "fossil",
        }
    }
}

/// `[channel]` or `[[namespace]]`: what channels offer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) presence: bool,
    pub(crate) join_leave: bool,
    pub(crate) force_push_join_leave: bool,
    pub(crate) history_size: usize,
    history_ttl: Span,
    pub(crate) recovery: bool,
    pub(crate) positioning: bool,
    pub(crate) allowed_delta_types: Vec<DeltaType>,
    pub(crate) allow_subscribe: Who,
    pub(crate) allow_publish: Who,
    pub(crate) allow_presence: Who,
    pub(crate) allow_history: Who,
    pub(crate) max_channels: usize,
    memory: usize,
    /// Publications are written to the store before anybody sees them.
    pub(crate) persist: bool,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            name: String::new(),
            presence: true,
            join_leave: true,
            force_push_join_leave: false,
            history_size: 100,
            history_ttl: Span(Duration::from_secs(300)),
            recovery: true,
            positioning: true,
            allowed_delta_types: Vec::new(),
            allow_subscribe: Who::Nobody,
            allow_publish: Who::Nobody,
            allow_presence: Who::Nobody,
            allow_history: Who::Nobody,
            max_channels: 100_000,
            memory: 64 << 20,
            persist: false,
        }
    }
}

impl Namespace {
    /// For what is of interest only at once.
    fn typing() -> Self {
        Self {
            name: TYPING.into(),
            presence: false,
            join_leave: false,
            history_size: 0,
            recovery: false,
            positioning: false,
            ..Self::default()
        }
    }

    /// Whether publications are kept.
    pub(crate) fn has_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.0.is_zero()
    }

    pub(crate) fn allows_deltas(&self) -> bool {
        self.allowed_delta_types.contains(&DeltaType::Fossil)
    }

    /// The name of its hub.
    pub(crate) fn hub_name(&self) -> String {
        format!("chat:{}", self.name)
    }

    /// Its hub: publications are numbered and kept there, and get their
    /// encoding for clients on the way to them.
    pub(crate) fn hub(&self) -> Hub {
        let size = if self.has_history() {
            self.history_size
        } else {
            0
        };
        let history = History {
            size,
            ttl: self.history_ttl.0,
            memory: self.memory,
        };
        Hub::new(self.hub_name())
            .ordered(true)
            .history(history)
            .through_app(true)
    }

    /// What the store keeps of it.
    pub(super) fn kept(&self) -> Kept {
        Kept {
            name: self.name.clone(),
            size: self.history_size as u64,
            ttl: self.history_ttl.0,
        }
    }

    /// Where it is in the file.
    pub(super) fn place(&self) -> String {
        if self.name.is_empty() {
            "[channel]".to_owned()
        } else {
            format!("[[namespace]] {:?}", self.name)
        }
    }

    fn check(&self) -> Result<(), ChatError> {
        let place = || self.place();
        if self.history_size > MAX_HISTORY {
            return Err(ChatError::HistorySize {
                place: place(),
                size: self.history_size,
            });
        }
        for (field, set) in [
            ("recovery", self.recovery),
            ("positioning", self.positioning),
        ] {
            if set && !self.has_history() {
                let place = place();
                return Err(ChatError::NoHistory { place, field });
            }
        }
        if self.max_channels == 0 {
            return Err(ChatError::NoChannels { place: place() });
        }
        if self.allow_subscribe == Who::Subscriber {
            return Err(ChatError::Subscriber { place: place() });
        }
        Ok(())
    }
}

impl ChatSettings {
    /// What the tables come to; `dev`: `--dev`, where only this machine can
    /// reach the server.
    pub(super) fn new(
        client: &ClientTable,
        channel: &Namespace,
        namespaces: &[Namespace],
        api: &ApiTable,
        dev: bool,
    ) -> Result<Self, ChatError> {
        let api_key = api.key.clone();
        let visible = api_key.0.bytes().all(|byte| byte.is_ascii_graphic());
        if !api_key.0.is_empty() && (api_key.0.len() < MIN_SECRET || !visible) {
            return Err(ChatError::WeakKey(api_key.0.len()));
        }
        client.check()?;
        if !channel.name.is_empty() {
            return Err(ChatError::Named(channel.name.clone()));
        }
        if namespaces.len() >= MAX_NAMESPACES {
            return Err(ChatError::TooMany(namespaces.len()));
        }
        channel.check()?;
        for (index, namespace) in namespaces.iter().enumerate() {
            let name = &namespace.name;
            let is_sound = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if !(1..=MAX_NAMESPACE).contains(&name.len()) || !name.chars().all(is_sound) {
                return Err(ChatError::Name(name.clone()));
            }
            if namespaces[..index].iter().any(|other| &other.name == name) {
                return Err(ChatError::Twice(name.clone()));
            }
            namespace.check()?;
        }
        let mut namespaces: Vec<_> = [channel].into_iter().chain(namespaces).cloned().collect();
        let has_room = namespaces.len() < MAX_NAMESPACES;
        if dev && has_room && !namespaces.iter().any(|one| one.name == TYPING) {
            namespaces.push(Namespace::typing());
        }
        Ok(Self {
            insecure: dev || client.insecure,
            keys: client.keys()?,
            client: client.clone(),
            api_key,
            namespaces,
        })
    }

    /// Subscriptions a connection may have: one for each channel's
    /// publications, one for who comes and goes there.
    pub(super) fn subscriptions(&self) -> usize {
        2 * self.client.max_channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tables {
        client: ClientTable,
        channel: Namespace,
        namespace: Vec<Namespace>,
        api: ApiTable,
    }

    fn of(file: &str) -> Result<ChatSettings, ChatError> {
        let tables: Tables = toml::from_str(file).unwrap();
        let Tables {
            client,
            channel,
            namespace,
            api,
        } = tables;
        ChatSettings::new(&client, &channel, &namespace, &api, false)
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (file, named) in [
            ("client.token_secret = 'short'", "has 5 bytes"),
            ("api.key = 'short'", "has 5 bytes"),
            ("api.key = 'with spaces in between'", "visible"),
            ("client.pong = '30s'", "pong is not below"),
            ("client.ping = '0s'", "ping is 0"),
            ("client.ping = '25500ms'", "whole seconds"),
            ("client.allowed_origins = ['a.example']", "is no origin"),
            ("client.max_channels = 0", "1 to 10000"),
            (
                "client.rates.subscribe = '100/10s'",
                "is 128: who comes back",
            ),
            (
                "client.token_jwks = '/none/at/all.json'",
                "cannot read /none/at/all.json",
            ),
            ("channel.name = 'a'", "use [[namespace]]"),
            ("channel.max_channels = 0", "nobody could subscribe"),
            ("channel.history_size = 20000", "at most 10000"),
            ("channel.history_ttl = '0s'", "recovery takes a history"),
            ("channel.allow_subscribe = 'subscriber'", "allow_subscribe"),
            ("[[namespace]]", "1 to 64 letters"),
            ("[[namespace]]\nname = 'a:b'", "\"a:b\""),
            (
                "[[namespace]]\nname = 'a'\n[[namespace]]\nname = 'a'",
                "twice",
            ),
        ] {
            let error = of(file).unwrap_err().to_string();
            assert!(error.contains(named), "{file}: {error}");
        }
        let many: String = (0..62)
            .map(|n| format!("[[namespace]]\nname = 'n{n}'\n"))
            .collect();
        assert_eq!(of(&many), Err(ChatError::TooMany(62)));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let settings = of("client.token_secret = 'a secret that nobody sees'").unwrap();
        assert!(!format!("{settings:?}").contains("nobody sees"));
    }
}
