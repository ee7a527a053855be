//! What clients may: namespaces, permissions, tokens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hioload::Request;
use hioload::router::OriginCheck;
use hioload_centrifugo::{Disconnect, Error};
use uuid::Uuid;

use super::seats::{Seat, Seats};
use super::token::Verifier;
use crate::config::{ChatSettings, Namespace, Who};

/// Bytes of a channel's name at most.
const MAX_CHANNEL: usize = 255;

/// Separates a channel's namespace from the rest.
const NAMESPACE_END: char = ':';

/// A channel that takes a token begins with it.
const PRIVATE: char = '$';

/// Begins the list of users whom a channel is for.
const USERS: char = '#';

/// Separates those users.
const USER_END: char = ',';

/// What all shards go by. Each shard has its own, which follows what a reload
/// says when the shard turns to it next. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rules {
    shared: Arc<Shared>,
    inner: Arc<Inner>,
    version: u64,
}

struct Shared {
    latest: Mutex<Arc<Inner>>,
    /// Of the latest: read by each shard at each turn, so that only a reload
    /// costs a lock.
    version: AtomicU64,
    seats: Arc<Seats>,
    uid: Arc<str>,
    started: Instant,
}

struct Inner {
    settings: ChatSettings,
    verifier: Option<Verifier>,
    /// `None`: every page may connect.
    origins: Option<OriginCheck>,
    /// Where a namespace is in the settings.
    index: HashMap<String, usize>,
}

/// Which server this is.
#[derive(Clone, Debug)]
pub(super) struct ServerInfo {
    /// Another one after each start.
    pub(super) uid: Arc<str>,
    /// Seconds.
    pub(super) uptime: u64,
}

/// Who asks for something.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    /// Empty: nobody in particular.
    pub(super) user: &'a str,
    /// Whether it is subscribed to the channel.
    pub(super) subscribed: bool,
}

/// What there is to do in a channel.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Publish,
    Presence,
    History,
}

/// Whether a client may subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Granted,
    /// Only with a token for it.
    ByToken,
    Denied,
}

/// How clients say who they are, for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// They are who they say, without a signature.
    Claimed,
    /// They need not say it.
    Optional,
    /// They bring a token.
    Token,
    /// They can not, as nothing is there to check a token with.
    Nobody,
}

impl Inner {
    fn new(settings: &ChatSettings) -> Arc<Self> {
        let names = settings.namespaces.iter().map(|one| one.name.clone());
        Arc::new(Self {
            settings: settings.clone(),
            verifier: Verifier::new(&settings.keys, &settings.client),
            origins: origins(&settings.client.allowed_origins),
            index: names.zip(0..).collect(),
        })
    }
}

impl Shared {
    fn latest(&self) -> MutexGuard<'_, Arc<Inner>> {
        // It is replaced as a whole.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    pub(crate) fn identity(&self) -> Identity {
        let settings = self.settings();
        match self.verifier() {
            None if settings.insecure => Identity::Claimed,
            _ if settings.insecure || settings.client.anonymous => Identity::Optional,
            Some(_) => Identity::Token,
            None => Identity::Nobody,
        }
    }

    pub(crate) fn new(settings: &ChatSettings) -> Self {
        let inner = Inner::new(settings);
        let shared = Shared {
            latest: Mutex::new(inner.clone()),
            version: AtomicU64::new(0),
            seats: Seats::new(),
            uid: Uuid::new_v4().to_string().into(),
            started: Instant::now(),
        };
        Self {
            shared: Arc::new(shared),
            inner,
            version: 0,
        }
    }

    /// Has all shards go by other settings, with the same namespaces.
    pub(crate) fn replace(&self, settings: &ChatSettings) {
        let inner = Inner::new(settings);
        *self.shared.latest() = inner;
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    /// What all shards go by, or will.
    pub(crate) fn latest(&self) -> ChatSettings {
        self.shared.latest().settings.clone()
    }

    /// Goes by the latest settings.
    pub(super) fn follow(&mut self) {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.inner = self.shared.latest().clone();
            self.version = version;
        }
    }

    pub(crate) fn settings(&self) -> &ChatSettings {
        &self.inner.settings
    }

    pub(super) fn server(&self) -> ServerInfo {
        ServerInfo {
            uid: Arc::clone(&self.shared.uid),
            uptime: self.shared.started.elapsed().as_secs(),
        }
    }

    /// A seat for one more connection of a user; nobody in particular takes
    /// none.
    pub(super) fn seat(&self, user: &str) -> Result<Option<Seat>, Disconnect> {
        if user.is_empty() {
            return Ok(None);
        }
        let limit = self.settings().client.user_connection_limit;
        let seat = self.shared.seats.take(user, limit);
        seat.map(Some).ok_or(Disconnect::ConnectionLimit)
    }

    /// Whether a user has a connection, on any shard.
    pub(crate) fn is_connected(&self, user: &str) -> bool {
        self.shared.seats.is_taken(user)
    }

    /// Whether a page may connect from where this request comes.
    pub(super) fn admit(&self, request: &Request<'_>) -> bool {
        let origins = self.inner.origins.as_ref();
        origins.is_none_or(|origins| origins.passes(request))
    }

    pub(super) fn verifier(&self) -> Option<&Verifier> {
        self.inner.verifier.as_ref()
    }

    pub(super) fn namespace(&self, index: usize) -> &Namespace {
        &self.inner.settings.namespaces[index]
    }

    /// The namespace of a channel that is not empty.
    pub(super) fn find(&self, channel: &str) -> Result<usize, Error> {
        if channel.len() > MAX_CHANNEL {
            return Err(Error::BadRequest);
        }
        let channel = channel.strip_prefix(PRIVATE).unwrap_or(channel);
        match channel.split_once(NAMESPACE_END) {
            None => Ok(0),
            Some((name, _)) => {
                // The one without a name is not to be had by naming it so.
                let named = Some(name).filter(|name| !name.is_empty());
                let index = named.and_then(|name| self.inner.index.get(name));
                index.copied().ok_or(Error::UnknownChannel)
            }
        }
    }

    /// Whether a channel's name leaves it open who may subscribe.
    pub(super) fn is_open(channel: &str) -> bool {
        !channel.starts_with(PRIVATE) && !channel.contains(USERS)
    }

    /// Whether a user may subscribe to a channel of a namespace.
    pub(super) fn access(&self, index: usize, channel: &str, user: &str) -> Access {
        if self.inner.settings.insecure {
            return Access::Granted;
        }
        if let Some((_, users)) = channel.split_once(USERS) {
            let is_listed = !user.is_empty() && users.split(USER_END).any(|one| one == user);
            if !is_listed {
                return Access::Denied;
            }
            if !channel.starts_with(PRIVATE) {
                return Access::Granted;
            }
        }
        let asker = Asker {
            user,
            subscribed: false,
        };
        if !channel.starts_with(PRIVATE) && asker.is(self.namespace(index).allow_subscribe) {
            Access::Granted
        } else {
            Access::ByToken
        }
    }

    /// Whether somebody may do something in a channel of a namespace.
    pub(super) fn check(&self, index: usize, act: Act, asker: Asker<'_>) -> Result<(), Error> {
        let namespace = self.namespace(index);
        let (available, who) = match act {
            Act::Publish => (true, namespace.allow_publish),
            Act::Presence => (namespace.presence, namespace.allow_presence),
            Act::History => (namespace.has_history(), namespace.allow_history),
        };
        if !self.inner.settings.insecure && !asker.is(who) {
            return Err(Error::PermissionDenied);
        }
        if !available {
            return Err(Error::NotAvailable);
        }
        Ok(())
    }
}

/// Whose pages may connect.
fn origins(allowed: &[String]) -> Option<OriginCheck> {
    if allowed.iter().any(|one| one == "*") {
        return None;
    }
    let own = OriginCheck::new().same_origin();
    Some(allowed.iter().fold(own, |all, one| all.allow(one)))
}

impl Asker<'_> {
    fn is(self, who: Who) -> bool {
        match who {
            Who::Nobody => false,
            Who::Subscriber => self.subscribed,
            Who::User => !self.user.is_empty(),
            Who::Anyone => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::chat;

    fn rules(file: &str) -> Rules {
        Rules::new(&chat(file))
    }

    #[test]
    fn a_shard_follows_what_was_replaced_when_it_turns_to_it() {
        let first = rules("channel.allow_publish = 'nobody'");
        let (mut shard, other) = (first.clone(), first.clone());
        let anyone = Asker {
            user: "",
            subscribed: false,
        };
        let may = |rules: &Rules| rules.check(0, Act::Publish, anyone).is_ok();
        first.replace(&chat("channel.allow_publish = 'anyone'"));
        assert!(!may(&shard));
        shard.follow();
        assert!(may(&shard) && !may(&other));
        assert_eq!(first.latest().namespaces[0].allow_publish, Who::Anyone);
    }

    #[test]
    fn a_channel_is_of_the_namespace_before_its_first_colon() {
        let rules = rules("[[namespace]]\nname = 'a'\n[[namespace]]\nname = 'b'");
        for (channel, expected) in [
            ("x", Ok(0)),
            ("a:x", Ok(1)),
            ("b:x:a", Ok(2)),
            ("$b:x", Ok(2)),
            ("b:", Ok(2)),
            ("$", Ok(0)),
            (":x", Err(Error::UnknownChannel)),
            ("c:x", Err(Error::UnknownChannel)),
        ] {
            assert_eq!(rules.find(channel), expected, "{channel}");
        }
        assert_eq!(rules.find(&"x".repeat(255)), Ok(0));
        assert_eq!(rules.find(&"x".repeat(256)), Err(Error::BadRequest));
    }

    #[test]
    fn private_channels_take_a_token_and_those_of_users_are_theirs() {
        let rules = rules("channel.allow_subscribe = 'user'");
        for (channel, user, expected) in [
            ("x", "42", Access::Granted),
            ("x", "", Access::ByToken),
            ("$x", "42", Access::ByToken),
            ("x#42", "42", Access::Granted),
            ("x#41,42", "42", Access::Granted),
            ("x#41,42", "4", Access::Denied),
            ("x#", "", Access::Denied),
            ("$x#42", "42", Access::ByToken),
            ("$x#42", "41", Access::Denied),
        ] {
            assert_eq!(rules.access(0, channel, user), expected, "{channel} {user}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_denied_before_what_is_not_there() {
        let rules = rules(
            "channel.allow_publish = 'subscriber'\n[[namespace]]\nname = 'a'\npresence = false\n\
             allow_presence = 'anyone'",
        );
        let asker = |subscribed| Asker {
            user: "",
            subscribed,
        };
        assert_eq!(rules.check(0, Act::Publish, asker(true)), Ok(()));
        let denied = Err(Error::PermissionDenied);
        assert_eq!(rules.check(0, Act::Publish, asker(false)), denied);
        assert_eq!(rules.check(1, Act::History, asker(true)), denied);
        let off = Err(Error::NotAvailable);
        assert_eq!(rules.check(1, Act::Presence, asker(false)), off);
    }
}
