//! What tokens say.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hioload::Nanos;
use hioload_centrifugo::Until;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Fault;
use crate::chat::deadlines::after;
use crate::proxy::Override;

/// Seconds that something granted may last at most: a year, lest a token by
/// mistake overflows what counts time.
const MAX_TTL: u64 = 365 * 24 * 3600;

/// What the token of a connection says.
#[derive(Debug, Deserialize)]
pub(in crate::chat) struct ConnectionClaims {
    /// The user; empty: nobody in particular.
    #[serde(default)]
    pub(in crate::chat) sub: String,
    /// Until when the token is good, in seconds of the Unix clock.
    exp: Option<u64>,
    /// Until when what it grants is, if not as long; 0: for ever.
    expire_at: Option<u64>,
    /// Told to others.
    pub(in crate::chat) info: Option<Box<RawValue>>,
    /// What the server subscribes the client to.
    #[serde(default)]
    channels: Vec<String>,
    /// The same, with what is said about each.
    #[serde(default)]
    subs: BTreeMap<String, SubClaims>,
    /// A subscription's token says this; such a token lets nobody in.
    channel: Option<String>,
}

/// What a connection's token says of a subscription. What it says beyond it is
/// refused, by name: passed over in silence it would be taken for something that
/// works.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::chat) struct SubClaims {
    /// Told to others in the channel.
    pub(in crate::chat) info: Option<Box<RawValue>>,
    /// Told to the client with the beginning.
    pub(in crate::chat) data: Option<Box<RawValue>>,
    /// What is otherwise than in the channel's namespace.
    #[serde(rename = "override")]
    pub(in crate::chat) options: Override,
}

/// What the token of a subscription says.
#[derive(Debug, Deserialize)]
pub(in crate::chat) struct SubscriptionClaims {
    /// The user it is for.
    #[serde(default)]
    pub(super) sub: String,
    /// The channel it is for.
    pub(super) channel: String,
    /// As [`ConnectionClaims::exp`].
    exp: Option<u64>,
    /// As [`ConnectionClaims::expire_at`].
    expire_at: Option<u64>,
    /// Told to others in the channel.
    pub(in crate::chat) info: Option<Box<RawValue>>,
    /// As [`SubClaims::options`].
    #[serde(default, rename = "override")]
    pub(in crate::chat) options: Override,
}

/// When something granted ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::chat) struct Expiry {
    /// Seconds from now; `None`: never.
    pub(in crate::chat) ttl: Option<u64>,
}

impl ConnectionClaims {
    pub(super) fn expiry(&self) -> Result<Expiry, Fault> {
        if self.channel.is_some() {
            return Err(Fault::OfSubscription);
        }
        Expiry::of(self.exp, self.expire_at)
    }

    /// What the server subscribes the client to, each channel once.
    pub(in crate::chat) fn subscriptions(&mut self) -> BTreeMap<String, SubClaims> {
        let mut all = std::mem::take(&mut self.subs);
        for channel in self.channels.drain(..) {
            all.entry(channel).or_default();
        }
        all
    }
}

impl SubscriptionClaims {
    pub(super) fn expiry(&self) -> Result<Expiry, Fault> {
        Expiry::of(self.exp, self.expire_at)
    }
}

impl Expiry {
    /// Of a token that is good until `exp`, for something granted until
    /// `granted`.
    fn of(exp: Option<u64>, granted: Option<u64>) -> Result<Self, Fault> {
        let token = Self::until_second(exp)?;
        match granted {
            None => Ok(token),
            Some(0) => Ok(Self::default()),
            Some(_) => Self::until_second(granted),
        }
    }

    /// Until a second of the Unix clock; 0 is for ever. `None`: it has passed.
    pub(in crate::chat) fn granted(until: u64) -> Option<Self> {
        Self::of(None, Some(until)).ok()
    }

    fn until_second(end: Option<u64>) -> Result<Self, Fault> {
        let Some(end) = end else {
            return Ok(Self::default());
        };
        match end.checked_sub(now()) {
            None | Some(0) => Err(Fault::Expired),
            Some(ttl) => Ok(Self {
                ttl: Some(ttl.min(MAX_TTL)),
            }),
        }
    }

    /// When it ends, by a shard's clock.
    pub(in crate::chat) fn end(self, now: Nanos) -> Option<Nanos> {
        Some(after(now, Duration::from_secs(self.ttl?)))
    }

    /// As clients are told.
    pub(in crate::chat) fn until(self) -> Until {
        Until {
            expires: self.ttl.is_some(),
            ttl: u32::try_from(self.ttl.unwrap_or(0)).unwrap_or(u32::MAX),
        }
    }
}

/// Seconds of the Unix clock.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
