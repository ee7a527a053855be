//! Who is subscribed to the channels whose home this shard is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use hioload::{Handle, PostError, Turn};
use hioload_centrifugo::{Error, Presence, PresenceStats};
use serde_json::value::RawValue;

use super::Chat;
use crate::notify::{Doer, Kind};
use crate::site::{Service, Site};

/// Clients of a channel that are listed at most; of more only the number is
/// told. A list of them is a megabyte or more.
const MAX_LISTED: usize = 10_000;

/// Changes that wait for room at other shards, at most, before new
/// subscriptions are refused. Those of clients that leave are always kept: they
/// are no more than clients that came.
const MAX_WAITING: usize = 1 << 16;

/// Clients by channel. There are no more than subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<Arc<str>, HashMap<Arc<str>, Entry>>);

#[derive(Debug)]
struct Entry {
    user: Arc<str>,
    info: Arc<str>,
}

/// A change of a [`Table`].
#[derive(Clone, Debug)]
pub(super) enum Step {
    Enter {
        channel: Arc<str>,
        client: Arc<str>,
        user: Arc<str>,
        info: Arc<str>,
    },
    Leave {
        channel: Arc<str>,
        client: Arc<str>,
    },
}

/// A channel has its first client, or has lost its last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    Occupied(Arc<str>),
    Vacated(Arc<str>),
}

impl Chat {
    /// Does a change of who is in a channel whose home is here.
    fn present(&mut self, step: Step) {
        let (kind, channel) = match self.presence.apply(step) {
            None => return,
            Some(Turned::Occupied(channel)) => (Kind::ChannelOccupied, channel),
            Some(Turned::Vacated(channel)) => (Kind::ChannelVacated, channel),
        };
        let namespace = self.rules.find(&channel).ok();
        let notices = &self.notices;
        notices.tell(kind, namespace, || Doer::application(&channel));
    }
}

impl Table {
    /// What a change comes to for its channel, if anything.
    pub(super) fn apply(&mut self, step: Step) -> Option<Turned> {
        match step {
            Step::Enter {
                channel,
                client,
                user,
                info,
            } => {
                let clients = self.0.entry(channel.clone()).or_default();
                let is_first = clients.is_empty();
                clients.insert(client, Entry { user, info });
                is_first.then_some(Turned::Occupied(channel))
            }
            Step::Leave { channel, client } => {
                let clients = self.0.get_mut(&channel)?;
                clients.remove(&client);
                let is_empty = clients.is_empty();
                if is_empty {
                    self.0.remove(&channel);
                }
                is_empty.then_some(Turned::Vacated(channel))
            }
        }
    }

    /// The clients of a channel.
    pub(super) fn list(&self, channel: &str) -> Result<List, Error> {
        let clients = self.0.get(channel);
        if clients.is_some_and(|clients| clients.len() > MAX_LISTED) {
            return Err(Error::LimitExceeded);
        }
        let written = clients.into_iter().flatten().filter_map(|(client, entry)| {
            // Written by us; one that is not JSON would be left out.
            let info = RawValue::from_string(entry.info.as_ref().to_owned()).ok()?;
            Some((Arc::clone(client), info))
        });
        Ok(List(written.collect()))
    }

    pub(super) fn stats(&self, channel: &str) -> PresenceStats {
        let clients = self.0.get(channel);
        let users = clients.map(|clients| clients.values().map(|one| &*one.user));
        PresenceStats {
            num_clients: clients.map_or(0, HashMap::len),
            num_users: users.map_or(0, |users| users.collect::<HashSet<_>>().len()),
        }
    }
}

/// The clients of a channel, with their written infos.
#[derive(Debug)]
pub(super) struct List(Vec<(Arc<str>, Box<RawValue>)>);

impl List {
    /// As clients are told.
    pub(super) fn told(&self) -> Presence<'_> {
        let clients = self.0.iter();
        Presence {
            presence: clients.map(|(id, info)| (&**id, &**info)).collect(),
        }
    }
}

/// Changes on their way to the homes, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox(VecDeque<(usize, Step)>);

impl Outbox {
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MAX_WAITING
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, handle: &Handle, home: usize, step: Step) {
        self.0.push_back((home, step));
        self.flush(handle);
    }

    /// Sends what the inboxes of the homes take.
    pub(super) fn flush(&mut self, handle: &Handle) {
        while let Some((home, step)) = self.0.front() {
            let step = step.clone();
            let task = move |site: &mut Site, _: &mut Turn<'_, Service>| {
                site.chat().present(step);
            };
            match handle.post::<Site, _>(*home, task) {
                Err(PostError::Full) => return,
                // A shard that has ended knows nobody any more.
                Ok(()) | Err(_) => self.0.pop_front(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(client: &str, user: &str) -> Step {
        Step::Enter {
            channel: "c".into(),
            client: client.into(),
            user: user.into(),
            info: format!("{{\"user\":\"{user}\",\"client\":\"{client}\"}}").into(),
        }
    }

    fn leave(client: &str) -> Step {
        Step::Leave {
            channel: "c".into(),
            client: client.into(),
        }
    }

    #[test]
    fn clients_are_listed_and_users_counted_once() {
        let mut table = Table::default();
        assert_eq!(
            table.apply(enter("1", "ann")),
            Some(Turned::Occupied("c".into()))
        );
        for step in [enter("2", "bob"), enter("3", "ann")] {
            assert_eq!(table.apply(step), None);
        }
        let stats = |num_clients, num_users| PresenceStats {
            num_clients,
            num_users,
        };
        assert_eq!(table.stats("c"), stats(3, 2));
        table.apply(leave("1"));
        table.apply(leave("3"));
        let list = table.list("c").unwrap();
        let told = serde_json::to_string(&list.told()).unwrap();
        let expected = r#"{"presence":{"2":{"user":"bob","client":"2"}}}"#;
        assert_eq!(told, expected);
        assert_eq!(table.apply(leave("2")), Some(Turned::Vacated("c".into())));
        assert_eq!(table.apply(leave("2")), None);
        assert_eq!(table.stats("c"), stats(0, 0));
        assert!(
            table.0.is_empty(),
            "nothing is kept of a channel without clients"
        );
    }
}
