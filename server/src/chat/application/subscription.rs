//! Whether a client may subscribe.

use hioload::Conn;
use hioload_centrifugo::{Error, Recover, Replies, Subscribe};

use super::super::client::{Asked, Client, Wanted, Wish};
use super::super::rules::{Access, Rules};
use super::super::subscribe::{Granted, GrantedBy, takes_deltas};
use super::super::{Chat, send};
use super::entry::grant;
use crate::config::{Event, Namespace};
use crate::proxy::{Failure, Override, Question, Said, SubscribeResult};

impl Chat {
    /// Asks the application whether a client may subscribe, if it decides about
    /// this channel; whether it does. A token has the word, and so has a name
    /// that says for whom the channel is.
    pub(in crate::chat) fn subscribe_by_application(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        wish: &Subscribe<'_>,
    ) -> Result<bool, Error> {
        let channel = wish.channel.as_ref();
        if client.wants(channel) {
            return Err(Error::AlreadySubscribed);
        }
        let namespace = self.rules.find(channel)?;
        let is_open = wish.token.is_empty() && Rules::is_open(channel);
        let name = &self.rules.namespace(namespace).name;
        let proxy = self.proxies.of(Event::Subscribe, name).cloned();
        let Some(proxy) = proxy.filter(|_| is_open) else {
            return Ok(false);
        };
        if self.rules.access(namespace, channel, &client.user) == Access::Denied {
            return Err(Error::PermissionDenied);
        }
        if client.subs.contains_key(channel) {
            return Err(Error::AlreadySubscribed);
        }
        let taken = client.subs.len() + client.wanted.len();
        if taken >= self.rules.settings().client.max_channels {
            return Err(Error::LimitExceeded);
        }
        let (id, user) = (client.id.clone(), client.user.clone());
        let question = Question {
            user: &user,
            channel,
            transport: client.transport(),
            ..Question::of(&id, client.encoding, wish.data, proxy.is_binary())
        };
        let recover = Wish::of(&Recover {
            recover: wish.recover,
            epoch: wish.epoch.as_ref().into(),
            offset: wish.offset,
        });
        let (ticket, hears) = (client.tickets, wish.join_leave);
        let delta = takes_deltas(wish);
        self.ask_application(
            conn,
            client,
            (&proxy, Event::Subscribe),
            &question,
            move |chat, conn, client, said| {
                let Some(wanted) = client.take_wanted(ticket) else {
                    return;
                };
                let by = Wishes {
                    namespace,
                    hears,
                    delta,
                    recover,
                };
                chat.subscribe_answered(conn, client, &wanted, by, said);
            },
        )?;
        client.tickets += 1;
        client.wanted.push(Wanted {
            channel: channel.into(),
            command,
            ticket,
        });
        Ok(true)
    }

    fn subscribe_answered(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        wanted: &Wanted,
        wishes: Wishes,
        said: Result<Said<SubscribeResult>, Failure>,
    ) {
        let command = wanted.command;
        let Some(result) = self.granted(conn, client, command, said) else {
            return;
        };
        let grant = match grant(result) {
            Ok(grant) => grant,
            Err(failure) => {
                tracing::warn!(%failure, "the application's answer to a subscribe is none");
                return Self::refuse(conn, client, command, &Error::Internal.into());
            }
        };
        let granted = Granted {
            namespace: wishes.namespace,
            asked: Asked::Client(command),
            grant,
            by: GrantedBy::Application,
            hears: wishes.hears,
            delta: wishes.delta,
            recover: wishes.recover,
        };
        if let Err(error) = self.start(conn, client, &wanted.channel, granted) {
            self.blame(conn, client, command, error);
        }
    }

    /// Waits no more for what the application says of a subscription, whose
    /// command has failed.
    pub(in crate::chat) fn give_up(conn: &mut Conn<'_>, client: &mut Client, channel: &str) {
        let place = client
            .wanted
            .iter()
            .position(|one| *one.channel == *channel);
        if let Some(place) = place {
            let wanted = client.wanted.swap_remove(place);
            let mut replies = Replies::new(client.encoding);
            replies.error(wanted.command, Error::Internal);
            send(conn, &replies);
        }
    }
}

/// What a client wants of a subscription.
struct Wishes {
    namespace: usize,
    hears: bool,
    delta: bool,
    recover: Option<Wish>,
}

impl Client {
    fn wants(&self, channel: &str) -> bool {
        self.wanted.iter().any(|one| *one.channel == *channel)
    }

    fn take_wanted(&mut self, ticket: u64) -> Option<Wanted> {
        let place = self.wanted.iter().position(|one| one.ticket == ticket)?;
        Some(self.wanted.swap_remove(place))
    }
}

/// The options of a subscription: those of its namespace, where nothing is said
/// otherwise.
impl Override {
    pub(in crate::chat) fn shows(self, namespace: &Namespace) -> bool {
        let said = self.presence.map(|flag| flag.value);
        said.unwrap_or(namespace.presence)
    }

    pub(in crate::chat) fn tells(self, namespace: &Namespace) -> bool {
        let said = self.join_leave.map(|flag| flag.value);
        said.unwrap_or(namespace.join_leave)
    }

    /// Whether it hears who comes and goes, if it wants to.
    pub(in crate::chat) fn hears(self, namespace: &Namespace, wants: bool) -> bool {
        let said = self.force_push_join_leave.map(|flag| flag.value);
        let is_forced = said.unwrap_or(namespace.force_push_join_leave);
        self.tells(namespace) && (wants || is_forced)
    }

    pub(in crate::chat) fn recovers(self, namespace: &Namespace) -> bool {
        let said = self.force_recovery.map(|flag| flag.value);
        said.unwrap_or(namespace.recovery) && namespace.has_history()
    }

    pub(in crate::chat) fn positions(self, namespace: &Namespace) -> bool {
        let said = self.force_positioning.map(|flag| flag.value);
        said.unwrap_or(namespace.positioning) && namespace.has_history()
    }
}
