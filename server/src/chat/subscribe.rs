//! Subscriptions, from the wish to the end.

use hioload::hub::{Delivery, Epoch, Place, Position, Start, SubscribeOutcome};
use hioload::{Conn, PublishOutcome};
use hioload_centrifugo::{
    Answer, Disconnect, Error, Publication, Push, Recover, Replies, SubRefresh, SubRefreshed,
    Subscribe, Subscribed, Unsubscribed, Until,
};
use serde_json::value::RawValue;

use super::chains::Known;
use super::client::{Asked, Client, Pending, Stage, Sub, Wish};
use super::presence::Step;
use super::rules::Access;
use super::token::{Expiry, Refused, SubClaims};
use super::written::body;
use super::{Chat, ENCODINGS, disconnect, message, place, send};
use crate::config::DeltaType;
use crate::notify::Kind;
use crate::proxy::Override;

/// A subscription that may begin.
pub(super) struct Granted {
    pub(super) namespace: usize,
    pub(super) asked: Asked,
    pub(super) grant: Grant,
    pub(super) by: GrantedBy,
    pub(super) hears: bool,
    /// Whether deltas are wanted.
    pub(super) delta: bool,
    pub(super) recover: Option<Wish>,
}

/// What is said of a subscription by who grants it.
#[derive(Debug, Default)]
pub(super) struct Grant {
    pub(super) info: Option<Box<RawValue>>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) expiry: Expiry,
    /// What is otherwise than in its namespace.
    pub(super) options: Override,
}

/// Who grants a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantedBy {
    Settings,
    /// It is to be renewed by the client.
    Token,
    /// It is to be renewed by the application.
    Application,
}

impl From<SubClaims> for Grant {
    fn from(claims: SubClaims) -> Self {
        Self {
            info: claims.info,
            data: claims.data,
            options: claims.options,
            ..Self::default()
        }
    }
}

impl Granted {
    fn by_server(namespace: usize, asked: Asked, recover: Option<Wish>) -> Self {
        Self {
            namespace,
            asked,
            grant: Grant::default(),
            by: GrantedBy::Settings,
            hears: false,
            delta: false,
            recover,
        }
    }
}

impl Chat {
    pub(super) fn subscribe(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        wish: &Subscribe<'_>,
        replies: &mut Replies,
    ) -> Result<(), Disconnect> {
        if wish.channel.is_empty() {
            return Err(Disconnect::BadRequest);
        }
        let started = self
            .subscribe_by_application(conn, client, command, wish)
            .and_then(|is_asked| {
                if is_asked {
                    return Ok(());
                }
                let granted = self.grant(client, command, wish)?;
                self.start(conn, client, &wish.channel, granted)
            });
        if let Err(error) = started {
            replies.error(command, error);
            return self.failed(conn, client, error);
        }
        Ok(())
    }

    fn grant(&self, client: &Client, command: u32, wish: &Subscribe<'_>) -> Result<Granted, Error> {
        let channel = wish.channel.as_ref();
        let namespace = self.rules.find(channel)?;
        let access = self.rules.access(namespace, channel, &client.user);
        let mut granted = Granted {
            namespace,
            asked: Asked::Client(command),
            grant: Grant::default(),
            by: GrantedBy::Settings,
            hears: wish.join_leave,
            delta: takes_deltas(wish),
            recover: Wish::of(&Recover {
                recover: wish.recover,
                epoch: wish.epoch.as_ref().into(),
                offset: wish.offset,
            }),
        };
        if access == Access::Denied {
            return Err(Error::PermissionDenied);
        }
        if let Some(verifier) = self.rules.verifier()
            && !wish.token.is_empty()
        {
            match verifier.subscription(&wish.token, &client.user, channel) {
                Ok((claims, expiry)) => {
                    granted.grant.info = claims.info;
                    granted.grant.options = claims.options;
                    granted.grant.expiry = expiry;
                    granted.by = GrantedBy::Token;
                }
                Err(Refused::Expired) => return Err(Error::TokenExpired),
                Err(Refused::Invalid) => return Err(Error::PermissionDenied),
            }
        } else if access == Access::ByToken {
            return Err(Error::PermissionDenied);
        }
        Ok(granted)
    }

    /// Subscribes a client that is about to be let in to what its token names, or
    /// the application that was asked about it.
    pub(super) fn subscribe_by_server(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        channel: &str,
        recover: Option<Wish>,
        grant: Grant,
    ) -> Result<(), Disconnect> {
        let namespace = self.rules.find(channel).ok();
        let Some(namespace) = namespace.filter(|_| !channel.is_empty()) else {
            tracing::warn!(
                channel,
                user = &*client.user,
                "a client is to be subscribed to a channel of a namespace that does not exist"
            );
            return Err(if client.by_application {
                Disconnect::Internal
            } else {
                Disconnect::InvalidToken
            });
        };
        let granted = Granted {
            grant,
            by: client.granted_by(),
            ..Granted::by_server(namespace, Asked::Token, recover)
        };
        match self.start(conn, client, channel, granted) {
            Ok(()) => {
                if let Stage::Connecting(connecting) = &mut client.stage {
                    connecting.left += 1;
                }
                Ok(())
            }
            // Named twice.
            Err(Error::AlreadySubscribed) => Ok(()),
            Err(error) => {
                tracing::warn!(
                    channel,
                    user = &*client.user,
                    error = error.message(),
                    "a client can not be subscribed to what its token or the application names"
                );
                Err(match error {
                    Error::LimitExceeded => Disconnect::ChannelLimit,
                    _ => Disconnect::Internal,
                })
            }
        }
    }

    /// Subscribes a client that is in, or about to be, since the application
    /// wants it.
    pub(super) fn subscribe_by_backend(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        channel: &str,
        namespace: usize,
    ) -> Result<(), Error> {
        let asked = match client.stage {
            Stage::Connecting(_) => Asked::Token,
            _ => Asked::Backend,
        };
        let granted = Granted::by_server(namespace, asked, None);
        self.start(conn, client, channel, granted)?;
        if let Stage::Connecting(connecting) = &mut client.stage {
            connecting.left += 1;
        }
        Ok(())
    }

    /// Whether a client, and the server, may have one more subscription.
    fn check_room(&self, client: &Client, channel: &str, namespace: usize) -> Result<(), Error> {
        if client.subs.contains_key(channel) {
            return Err(Error::AlreadySubscribed);
        }
        if client.subs.len() >= self.rules.settings().client.max_channels {
            return Err(Error::LimitExceeded);
        }
        let most = self.rules.namespace(namespace).max_channels;
        let all = self.handle.hub(self.hubs[namespace]);
        if all.subscribers(channel) == 0 && all.topics() >= most {
            return Err(Error::LimitExceeded);
        }
        if !self.outbox.has_room() {
            return Err(Error::Internal);
        }
        Ok(())
    }

    /// Asks the channel's home for the beginning.
    pub(super) fn start(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        channel: &str,
        granted: Granted,
    ) -> Result<(), Error> {
        self.check_room(client, channel, granted.namespace)?;
        let namespace = self.rules.namespace(granted.namespace);
        let hub = self.hubs[granted.namespace];
        let grant = granted.grant;
        let options = grant.options;
        let recovery = options.recovers(namespace);
        let recover = granted.recover.filter(|_| recovery);
        let position = recover
            .as_ref()
            .map_or(Position::Now, |wish| position(wish, namespace.history_size));
        match conn.hub(hub).subscribe_from(channel, position) {
            SubscribeOutcome::Asked | SubscribeOutcome::Subscribed => {}
            SubscribeOutcome::TooMany => return Err(Error::LimitExceeded),
            SubscribeOutcome::Already => return Err(Error::AlreadySubscribed),
            _ => return Err(Error::Internal),
        }
        let positioned = recovery || options.positions(namespace);
        let delta = granted.delta && namespace.allows_deltas();
        // What the application granted is renewed by it, without the client.
        let by_application = granted.by == GrantedBy::Application;
        let told = Subscribed {
            until: if by_application {
                Until::default()
            } else {
                grant.expiry.until()
            },
            recoverable: recovery,
            positioned,
            was_recovering: recover.is_some(),
            delta,
            data: grant.data,
            ..Subscribed::default()
        };
        let pending = Pending {
            asked: granted.asked,
            replays: 0,
            known: 0,
            recover,
            hears: options.hears(namespace, granted.hears),
            told,
        };
        let sub = Sub {
            namespace: granted.namespace,
            pending: Some(Box::new(pending)),
            offset: 0,
            positioned,
            delta: delta.then(Known::default),
            info: client.describe(grant.info.as_deref()),
            expires: if by_application {
                grant.expiry.end(conn.now())
            } else {
                self.ends(conn, grant.expiry)
            },
            by_token: granted.by == GrantedBy::Token,
            by_application,
            by_server: !matches!(granted.asked, Asked::Client(_)),
            entered: false,
            presence: options.shows(namespace),
            tells: options.tells(namespace),
        };
        client.subs.insert(channel.into(), sub);
        Ok(())
    }

    /// The home's answer: where a subscription begins.
    pub(super) fn begin(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        channel: &str,
        start: &Start,
    ) {
        let Some(sub) = client.subs.get_mut(channel) else {
            return;
        };
        let Some(pending) = &mut sub.pending else {
            return;
        };
        let last = start.place.offset;
        sub.offset = last;
        if sub.positioned {
            pending.told.epoch = written(start.place.epoch);
            pending.told.offset = last;
        }
        if let Some(wish) = &pending.recover {
            pending.known = wish.offset;
            pending.told.recovered = if wish.epoch.is_empty() {
                // What is kept was asked for: is it all that came since?
                let before = last.saturating_sub(start.replayed as u64);
                (before..=last).contains(&wish.offset)
            } else {
                start.recovered
            };
        }
        pending.replays = start.replayed;
        if start.replayed == 0 {
            self.enter(conn, client, channel);
        }
    }

    /// A publication from before a subscription's beginning.
    pub(super) fn replayed(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        delivery: &Delivery<'_>,
        offset: u64,
    ) {
        let channel = delivery.topic();
        let sub = client.subs.get_mut(channel);
        let Some(pending) = sub.and_then(|sub| sub.pending.as_mut()) else {
            return;
        };
        if pending.told.recovered && offset > pending.known {
            let body = body(delivery.message());
            let publication = body.map(|body| Publication::at(body, offset));
            // Each client has missed others: deltas would be made for it alone.
            let is_plain = !pending.told.delta;
            let publication = publication.map(|one| if is_plain { one } else { one.whole() });
            pending.told.publications.extend(publication);
        }
        pending.replays = pending.replays.saturating_sub(1);
        if pending.replays == 0 {
            self.enter(conn, client, channel);
        }
    }

    /// Tells the client that its subscription has begun, and then others.
    fn enter(&mut self, conn: &mut Conn<'_>, client: &mut Client, channel: &str) {
        let Some(sub) = client.subs.get_mut(channel) else {
            return;
        };
        let Some(pending) = sub.pending.take() else {
            return;
        };
        sub.entered = true;
        if sub.delta.is_some() {
            self.chains.join(channel);
        }
        self.counters.subscriptions.add(1);
        match (pending.told.was_recovering, pending.told.recovered) {
            (true, true) => self.counters.recovered.add(1),
            (true, false) => self.counters.unrecovered.add(1),
            (false, _) => {}
        }
        let (namespace, info) = (sub.namespace, sub.info.clone());
        let (has_presence, tells) = (sub.presence, sub.tells);
        let notices = &self.notices;
        notices.tell(Kind::Subscribe, Some(namespace), || client.doer(channel));
        if pending.hears {
            // Without room for it, it hears nobody; presence tells the truth.
            let signals = self.signals[place(client.encoding)];
            conn.hub(signals).subscribe(channel);
        }
        match pending.asked {
            Asked::Client(command) => {
                let mut replies = Replies::new(client.encoding);
                replies.answer(command, &Answer::Subscribe(&pending.told));
                send(conn, &replies);
            }
            Asked::Token => self.begun_by_server(conn, client, channel, Some(pending.told)),
            Asked::Backend => {
                let mut replies = Replies::new(client.encoding);
                replies.push(channel, Push::Subscribe(&pending.told));
                send(conn, &replies);
            }
        }
        if has_presence {
            let step = Step::Enter {
                channel: channel.into(),
                client: client.id.clone(),
                user: client.user.clone(),
                info: info.clone(),
            };
            let home = self.home(namespace, channel);
            self.outbox.push(&self.handle, home, step);
            self.flush_later(conn);
        }
        if tells {
            self.signal(conn, channel, Push::Join(&info));
        }
        self.arm(conn, client);
    }

    /// Ends a subscription; with a reason, the client is told.
    pub(super) fn end(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        channel: &str,
        why: Option<Unsubscribed>,
    ) {
        let Some(sub) = client.subs.remove(channel) else {
            return Self::give_up(conn, client, channel);
        };
        conn.hub(self.hubs[sub.namespace]).unsubscribe(channel);
        let signals = self.signals[place(client.encoding)];
        conn.hub(signals).unsubscribe(channel);
        self.leave(conn, client, channel, &sub);
        self.flush_later(conn);
        match sub.pending.map(|pending| pending.asked) {
            Some(Asked::Client(command)) => {
                let mut replies = Replies::new(client.encoding);
                replies.error(command, Error::Internal);
                send(conn, &replies);
            }
            Some(Asked::Token) => self.begun_by_server(conn, client, channel, None),
            Some(Asked::Backend) => {}
            None => match why {
                // It does not subscribe again by itself: a new connection does.
                Some(Unsubscribed::Insufficient) if sub.by_server => {
                    disconnect(conn, Disconnect::InsufficientState);
                }
                Some(why) => {
                    let mut replies = Replies::new(client.encoding);
                    replies.push(channel, Push::Unsubscribe(why));
                    send(conn, &replies);
                }
                None => {}
            },
        }
    }

    /// Tells others that a subscription has ended.
    pub(super) fn leave(&mut self, conn: &mut Conn<'_>, client: &Client, channel: &str, sub: &Sub) {
        if !sub.entered {
            return;
        }
        self.counters.subscriptions.sub(1);
        if sub.delta.is_some() {
            self.chains.leave(channel);
        }
        let (notices, namespace) = (&self.notices, Some(sub.namespace));
        notices.tell(Kind::Unsubscribe, namespace, || client.doer(channel));
        if sub.presence {
            let step = Step::Leave {
                channel: channel.into(),
                client: client.id.clone(),
            };
            let home = self.home(sub.namespace, channel);
            self.outbox.push(&self.handle, home, step);
        }
        if sub.tells {
            self.signal(conn, channel, Push::Leave(&sub.info));
        }
    }

    /// Tells those who want to hear it who comes and goes.
    fn signal(&self, conn: &mut Conn<'_>, channel: &str, what: Push<'_>) {
        for (encoding, signals) in ENCODINGS.into_iter().zip(self.signals) {
            let mut replies = Replies::new(encoding);
            replies.push(channel, what);
            let Ok(Some(frame)) = replies.frame() else {
                continue;
            };
            let told = conn.hub(signals).publish_all(channel, message(frame));
            if told == PublishOutcome::Full {
                tracing::debug!(channel, "too much is on its way to tell who comes and goes");
            }
        }
    }

    pub(super) fn sub_refresh(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        refresh: &SubRefresh<'_>,
        replies: &mut Replies,
    ) -> Result<(), Disconnect> {
        if refresh.channel.is_empty() {
            return Err(Disconnect::BadRequest);
        }
        let channel = refresh.channel.as_ref();
        let is_there = client.is_subscribed(channel);
        let Some(sub) = client.subs.get_mut(channel).filter(|_| is_there) else {
            replies.error(command, Error::PermissionDenied);
            return Ok(());
        };
        let Some(verifier) = self.rules.verifier().filter(|_| sub.by_token) else {
            // There is no token to be renewed.
            return Err(Disconnect::BadRequest);
        };
        if refresh.token.is_empty() {
            replies.error(command, Error::BadRequest);
            return Ok(());
        }
        match verifier.subscription(&refresh.token, &client.user, channel) {
            Ok((_, expiry)) => {
                sub.expires = self.ends(conn, expiry);
                let until = expiry.until();
                replies.answer(command, &Answer::SubRefresh(SubRefreshed { until }));
            }
            Err(Refused::Expired) => replies.error(command, Error::TokenExpired),
            Err(Refused::Invalid) => replies.error(command, Error::PermissionDenied),
        }
        Ok(())
    }
}

/// Whether a client can make something of deltas.
pub(super) fn takes_deltas(wish: &Subscribe<'_>) -> bool {
    wish.delta == DeltaType::Fossil.name()
}

/// Where a subscription is to begin.
fn position(wish: &Wish, history: usize) -> Position {
    if wish.epoch.is_empty() {
        return Position::Latest(history);
    }
    match u64::from_str_radix(&wish.epoch, 16) {
        Ok(epoch) => Position::After(Place {
            epoch: Epoch(epoch),
            offset: wish.offset,
        }),
        // None of ours: nothing can be recovered.
        Err(_) => Position::Now,
    }
}

/// An epoch as clients know it.
pub(super) fn written(epoch: Epoch) -> String {
    format!("{:016x}", epoch.0)
}
