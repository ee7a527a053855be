//! What a reload changes of the chat, and what it can not.

use std::fmt::Debug;

use super::{ChatSettings, ClientTable, Namespace, RatesTable};

/// A setting that a running server follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) field: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// What differs between two settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) live: Vec<Changed>,
    /// The names of those that need a restart.
    pub(crate) fixed: Vec<String>,
}

impl Changes {
    fn live<T: PartialEq>(
        &mut self,
        field: &'static str,
        (old, new): (&T, &T),
        said: impl Fn(&T) -> String,
    ) {
        if old != new {
            self.live.push(Changed {
                field,
                from: said(old),
                to: said(new),
            });
        }
    }

    fn fixed<T: PartialEq>(&mut self, name: impl Into<String>, old: &T, new: &T) {
        if old != new {
            self.fixed.push(name.into());
        }
    }
}

fn printed<T: Debug>(value: &T) -> String {
    format!("{value:?}")
}

impl ChatSettings {
    /// What a reload from these settings to others would change.
    pub(crate) fn changes(&self, other: &Self) -> Changes {
        // No `..` here and below: whoever adds a setting decides about it here.
        let Self {
            client,
            keys,
            api_key,
            insecure,
            namespaces,
        } = other;
        let mut changes = Changes::default();
        changes.live("token keys", (&self.keys, keys), printed);
        self.client.add_changes(client, &mut changes);
        changes.fixed("client.insecure", &self.insecure, insecure);
        let has_key = |key: &super::Secret| key.bytes().is_some();
        if has_key(&self.api_key) == has_key(api_key) {
            changes.live("api.key", (&self.api_key, api_key), printed);
        } else {
            // The routes are those of the start.
            changes.fixed.push("api.key (from or to none)".into());
        }
        let names = |all: &[Namespace]| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        for new in namespaces {
            if let Some(old) = self.namespaces.iter().find(|old| old.name == new.name) {
                old.add_changes(new, &mut changes);
            }
        }
        if names(&self.namespaces) != names(namespaces) {
            let which = "[[namespace]] (which there are, and their order)";
            changes.fixed.push(which.into());
        }
        changes
    }
}

impl ClientTable {
    fn add_changes(&self, other: &Self, changes: &mut Changes) {
        let Self {
            // These are the keys.
            token_secret: _,
            token_public_keys: _,
            token_jwks: _,
            token_issuer,
            token_audience,
            anonymous,
            // With --dev it is another one.
            insecure: _,
            allowed_origins,
            max_channels,
            user_connection_limit,
            rates,
            ping,
            pong,
            stale,
            expired_close_delay,
        } = other;
        let span = |span: &super::Span| humantime::format_duration(span.0).to_string();
        let c = changes;
        c.live(
            "client.token_issuer",
            (&self.token_issuer, token_issuer),
            printed,
        );
        c.live(
            "client.token_audience",
            (&self.token_audience, token_audience),
            printed,
        );
        c.live("client.anonymous", (&self.anonymous, anonymous), printed);
        c.live(
            "client.allowed_origins",
            (&self.allowed_origins, allowed_origins),
            printed,
        );
        c.live(
            "client.max_channels",
            (&self.max_channels, max_channels),
            printed,
        );
        c.live(
            "client.user_connection_limit",
            (&self.user_connection_limit, user_connection_limit),
            printed,
        );
        c.live("client.ping", (&self.ping, ping), span);
        c.live("client.pong", (&self.pong, pong), span);
        c.live("client.stale", (&self.stale, stale), span);
        c.live(
            "client.expired_close_delay",
            (&self.expired_close_delay, expired_close_delay),
            span,
        );
        self.rates.add_changes(rates, c);
    }
}

impl RatesTable {
    fn add_changes(&self, other: &Self, changes: &mut Changes) {
        let Self {
            publish,
            subscribe,
            read,
            rpc,
            other: rest,
            refused,
            errors,
        } = other;
        for (field, old, new) in [
            ("client.rates.publish", &self.publish, publish),
            ("client.rates.subscribe", &self.subscribe, subscribe),
            ("client.rates.read", &self.read, read),
            ("client.rates.rpc", &self.rpc, rpc),
            ("client.rates.other", &self.other, rest),
            ("client.rates.refused", &self.refused, refused),
            ("client.rates.errors", &self.errors, errors),
        ] {
            changes.live(field, (old, new), ToString::to_string);
        }
    }
}

impl Namespace {
    fn add_changes(&self, other: &Self, changes: &mut Changes) {
        let Self {
            // The same one.
            name,
            presence,
            join_leave,
            force_push_join_leave,
            history_size,
            history_ttl,
            recovery,
            positioning,
            allowed_delta_types,
            allow_subscribe,
            allow_publish,
            allow_presence,
            allow_history,
            max_channels,
            memory,
            persist,
        } = other;
        let place = if name.is_empty() {
            "channel".to_owned()
        } else {
            format!("namespace {name}")
        };
        let fixed = |field: &str| format!("{place}: {field}");
        let c = changes;
        c.fixed(fixed("presence"), &self.presence, presence);
        c.fixed(fixed("join_leave"), &self.join_leave, join_leave);
        c.fixed(fixed("history_size"), &self.history_size, history_size);
        c.fixed(fixed("history_ttl"), &self.history_ttl, history_ttl);
        c.fixed(fixed("recovery"), &self.recovery, recovery);
        c.fixed(fixed("positioning"), &self.positioning, positioning);
        c.fixed(fixed("memory"), &self.memory, memory);
        c.fixed(fixed("persist"), &self.persist, persist);
        for (field, old, new) in [
            ("allow_subscribe", self.allow_subscribe, *allow_subscribe),
            ("allow_publish", self.allow_publish, *allow_publish),
            ("allow_presence", self.allow_presence, *allow_presence),
            ("allow_history", self.allow_history, *allow_history),
        ] {
            c.live(field, (&old, &new), |who| format!("{place}: {who:?}"));
        }
        c.live(
            "allowed_delta_types",
            (&self.allowed_delta_types, allowed_delta_types),
            |all| format!("{place}: {all:?}"),
        );
        c.live("max_channels", (&self.max_channels, max_channels), |n| {
            format!("{place}: {n}")
        });
        c.live(
            "force_push_join_leave",
            (&self.force_push_join_leave, force_push_join_leave),
            |set| format!("{place}: {set}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::chat;

    fn between(old: &str, new: &str) -> Changes {
        chat(old).changes(&chat(new))
    }

    #[test]
    fn what_can_change_is_listed_without_secrets() {
        let changes = between(
            "client.token_secret = 'the first of the secrets'\napi.key = 'the-first-of-the-keys'\n\
             [[namespace]]\nname = 'a'",
            "client.token_secret = 'the second of the secrets'\napi.key = 'another-key-for-calls'\n\
             client.allowed_origins = ['*']\nclient.rates.read = 'off'\n\
             [[namespace]]\nname = 'a'\nallow_publish = 'user'\nallowed_delta_types = ['fossil']",
        );
        assert_eq!(changes.fixed, [""; 0]);
        let listed: Vec<_> = changes
            .live
            .iter()
            .map(|one| format!("{} {} -> {}", one.field, one.from, one.to))
            .collect();
        assert_eq!(
            listed,
            [
                "token keys [HS256 by client.token_secret] -> [HS256 by client.token_secret]",
                "client.allowed_origins [] -> [\"*\"]",
                "client.rates.read 2000/10s -> off",
                "api.key some -> some",
                "allow_publish namespace a: Nobody -> namespace a: User",
                "allowed_delta_types namespace a: [] -> namespace a: [Fossil]",
            ]
        );
        assert_eq!(between("", ""), Changes::default());
    }

    #[test]
    fn what_can_not_change_is_named() {
        for (new, named) in [
            ("client.insecure = true", "client.insecure"),
            (
                "api.key = 'a-key-that-was-not'",
                "api.key (from or to none)",
            ),
            ("channel.history_size = 7", "channel: history_size"),
            ("channel.presence = false", "channel: presence"),
            ("channel.memory = 7", "channel: memory"),
            (
                "[[namespace]]\nname = 'a'",
                "[[namespace]] (which there are, and their order)",
            ),
        ] {
            assert_eq!(between("", new).fixed, [named], "{new}");
        }
    }
}
