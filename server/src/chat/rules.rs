//! What clients may: namespaces, permissions, tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use hioload::Request;
use hioload::router::OriginCheck;
use hioload_centrifugo::Error;
use uuid::Uuid;

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

/// What all shards go by. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rules(Arc<Inner>);

struct Inner {
    settings: ChatSettings,
    verifier: Option<Verifier>,
    /// `None`: every page may connect.
    origins: Option<OriginCheck>,
    /// Where a namespace is in the settings.
    index: HashMap<String, usize>,
    uid: Arc<str>,
    started: Instant,
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

impl Rules {
    pub(crate) fn new(settings: &ChatSettings) -> Self {
        let names = settings.namespaces.iter().map(|one| one.name.clone());
        Self(Arc::new(Inner {
            settings: settings.clone(),
            verifier: settings.client.token_secret.bytes().map(Verifier::new),
            origins: origins(&settings.client.allowed_origins),
            index: names.zip(0..).collect(),
            uid: Uuid::new_v4().to_string().into(),
            started: Instant::now(),
        }))
    }

    pub(crate) fn settings(&self) -> &ChatSettings {
        &self.0.settings
    }

    pub(super) fn server(&self) -> ServerInfo {
        ServerInfo {
            uid: Arc::clone(&self.0.uid),
            uptime: self.0.started.elapsed().as_secs(),
        }
    }

    /// Whether a page may connect from where this request comes.
    pub(super) fn admit(&self, request: &Request<'_>) -> bool {
        let origins = self.0.origins.as_ref();
        origins.is_none_or(|origins| origins.passes(request))
    }

    pub(super) fn verifier(&self) -> Option<&Verifier> {
        self.0.verifier.as_ref()
    }

    pub(super) fn namespace(&self, index: usize) -> &Namespace {
        &self.0.settings.namespaces[index]
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
                let index = named.and_then(|name| self.0.index.get(name));
                index.copied().ok_or(Error::UnknownChannel)
            }
        }
    }

    /// Whether a user may subscribe to a channel of a namespace.
    pub(super) fn access(&self, index: usize, channel: &str, user: &str) -> Access {
        if self.0.settings.insecure {
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
        if !self.0.settings.insecure && !asker.is(who) {
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
