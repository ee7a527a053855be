//! Settings of the store that outlives the process.

use std::path::PathBuf;
use std::time::Duration;

use hioload_store::{Options, Sync};
use serde::Deserialize;
use thiserror::Error;

use super::{ChatSettings, Namespace, Span};

/// The settings of the store are wrong.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum PersistenceError {
    #[error(
        "{place}: persist takes a file; set path in [persistence], such as \
         \"/var/lib/hioload/history.redb\""
    )]
    NoPath { place: String },
    #[error("{place}: persist takes a history; set history_size and history_ttl above 0")]
    NoHistory { place: String },
    #[error("[persistence] {0} is 0; give at least 1, or leave it out")]
    Zero(&'static str),
}

/// `[persistence]`: how publications are kept of namespaces that `persist`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PersistenceTable {
    path: PathBuf,
    sync: SyncName,
    interval: Span,
    queue: usize,
    queue_bytes: usize,
    max_size: u64,
    position_ttl: Span,
}

/// When a publication is answered for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SyncName {
    #[default]
    Always,
    Interval,
}

impl Default for PersistenceTable {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            sync: SyncName::default(),
            interval: Span(Duration::from_millis(200)),
            queue: 16_384,
            queue_bytes: 64 << 20,
            max_size: 1 << 30,
            position_ttl: Span(Duration::from_secs(30 * 24 * 60 * 60)),
        }
    }
}

impl PersistenceTable {
    /// How the store is opened; `None`: nothing persists.
    pub(super) fn options(&self, chat: &ChatSettings) -> Result<Option<Options>, PersistenceError> {
        let persisting = chat.namespaces.iter().filter(|one| one.persist);
        if let Some(namespace) = persisting.clone().find(|one| !one.has_history()) {
            let place = namespace.place();
            return Err(PersistenceError::NoHistory { place });
        }
        let Some(first) = persisting.clone().next() else {
            return Ok(None);
        };
        if self.path.as_os_str().is_empty() {
            let place = first.place();
            return Err(PersistenceError::NoPath { place });
        }
        for (field, is_zero) in [
            ("interval", self.interval.0.is_zero()),
            ("queue", self.queue == 0),
            ("queue_bytes", self.queue_bytes == 0),
            ("max_size", self.max_size == 0),
            ("position_ttl", self.position_ttl.0.is_zero()),
        ] {
            if is_zero {
                return Err(PersistenceError::Zero(field));
            }
        }
        Ok(Some(Options {
            path: self.path.clone(),
            sync: match self.sync {
                SyncName::Always => Sync::Always,
                SyncName::Interval => Sync::Interval(self.interval.0),
            },
            queue: self.queue,
            queue_bytes: self.queue_bytes,
            max_size: self.max_size,
            position_ttl: self.position_ttl.0,
            namespaces: persisting.map(Namespace::kept).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use hioload_store::Kept;

    use super::super::testing::chat;
    use super::*;

    fn of(persistence: &str, rest: &str) -> Result<Option<Options>, PersistenceError> {
        let table: PersistenceTable = toml::from_str(persistence).unwrap();
        table.options(&chat(rest))
    }

    #[test]
    fn what_persists_is_kept_as_long_as_in_memory() {
        assert_eq!(of("path = 'x'", ""), Ok(None), "nothing persists");
        let file = "[[namespace]]\nname = 'a'\n[[namespace]]\nname = 'b'\npersist = true\n\
                    history_size = 7\nhistory_ttl = '9s'";
        let options = of("path = 'x'\nsync = 'interval'\ninterval = '1s'", file);
        let options = options.unwrap().unwrap();
        assert_eq!(options.sync, Sync::Interval(Duration::from_secs(1)));
        let kept = Kept {
            name: "b".into(),
            size: 7,
            ttl: Duration::from_secs(9),
        };
        assert_eq!(options.namespaces, [kept]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let persists = "channel.persist = true";
        let none = "channel.persist = true\nchannel.history_size = 0\n\
                    channel.recovery = false\nchannel.positioning = false";
        for (persistence, rest, named) in [
            ("", persists, "[channel]: persist takes a file"),
            ("path = 'x'", none, "persist takes a history"),
            ("path = 'x'\nqueue = 0", persists, "queue is 0"),
            ("path = 'x'\ninterval = '0s'", persists, "interval is 0"),
        ] {
            let error = of(persistence, rest).unwrap_err().to_string();
            assert!(error.contains(named), "{persistence} {rest}: {error}");
        }
    }
}
