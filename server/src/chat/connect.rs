//! Letting clients in, and letting them stay.

use std::collections::BTreeMap;

use hioload::Conn;
use hioload::hub::Delivery;
use hioload_centrifugo::{
    Answer, Connect, Connected, Disconnect, Error, Publication, Refresh, Refreshed, Replies,
    Subscribed, Until,
};
use serde_json::value::RawValue;

use super::client::{Client, Connecting, PingState, Stage, Wish};
use super::deadlines::after;
use super::subscribe::Grant;
use super::token::{ConnectionClaims, Expiry, Refused};
use super::written::body;
use super::{Chat, VERSION, disconnect, send, unsigned};
use crate::config::Event;
use crate::notify::Kind;

/// Bytes of publications that may come before a client is in: as many as may
/// wait for it later.
const MAX_HELD: usize = 1 << 20;

impl From<Refused> for Disconnect {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Expired => Self::Expired,
            Refused::Invalid => Self::InvalidToken,
        }
    }
}

/// What is known of a client that may come in.
#[derive(Default)]
pub(super) struct Entry {
    /// Empty: nobody in particular.
    pub(super) user: String,
    pub(super) info: Option<Box<RawValue>>,
    /// What the application says with it.
    pub(super) data: Option<Box<RawValue>>,
    /// What it is told of the end.
    pub(super) until: Until,
    /// What the server subscribes it to.
    pub(super) subs: BTreeMap<String, Grant>,
    /// From where it wants to recover in them.
    pub(super) wishes: BTreeMap<Box<str>, Wish>,
}

/// From where a client wants to recover in the server's subscriptions.
pub(super) fn wishes(connect: &Connect<'_>) -> BTreeMap<Box<str>, Wish> {
    let subs = connect.subs.iter();
    subs.filter_map(|(channel, recover)| Some((channel.as_ref().into(), Wish::of(recover)?)))
        .collect()
}

/// Why a client is not let in.
enum Refusal {
    /// It is told, and goes by itself.
    Error(Error),
    Disconnect(Disconnect),
}

impl Chat {
    pub(super) fn connect(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        connect: &Connect<'_>,
        replies: &mut Replies,
    ) -> Result<(), Disconnect> {
        let Stage::New { until } = client.stage else {
            return Err(Disconnect::BadRequest);
        };
        tracing::debug!(
            client = &*client.id,
            program = &*connect.name,
            version = &*connect.version,
            "a client connects"
        );
        client.headers = self.headers(client, connect);
        if connect.token.is_empty()
            && let Some(proxy) = self.proxies.of(Event::Connect, "").cloned()
        {
            self.connect_by_application(conn, client, command, connect, &proxy, replies);
            return Ok(());
        }
        let (claims, expiry) = match self.identify(&connect.token) {
            Ok(identity) => identity,
            Err(Refusal::Disconnect(why)) => return Err(why),
            Err(Refusal::Error(error)) => {
                replies.error(command, error);
                client.stage = Stage::Refused { until };
                return Ok(());
            }
        };
        client.expires = self.ends(conn, expiry);
        let mut entry = Entry {
            until: expiry.until(),
            wishes: wishes(connect),
            ..Entry::default()
        };
        if let Some(mut claims) = claims {
            let subs = claims.subscriptions().into_iter();
            entry.subs = subs.map(|(name, claims)| (name, claims.into())).collect();
            entry.user = claims.sub;
            entry.info = claims.info;
        }
        self.take_in(conn, client, command, entry, replies)
    }

    /// Subscribes a client that may come in, and lets it in then.
    pub(super) fn take_in(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        mut entry: Entry,
        replies: &mut Replies,
    ) -> Result<(), Disconnect> {
        client.seat = self.rules.seat(&entry.user)?;
        client.user = entry.user.into();
        if !client.user.is_empty() {
            let keys = self.users.entry(client.user.clone()).or_default();
            keys.insert(client.key);
            self.counters.users.set(self.users.len() as u64);
        }
        client.info = entry.info;
        let ping = self.rules.settings().client.ping();
        client.ping = PingState::Idle {
            next: after(conn.now(), ping),
        };
        client.stage = Stage::Connecting(Box::new(Connecting {
            command,
            until: entry.until,
            data: entry.data,
            left: 0,
            begun: BTreeMap::new(),
            bytes: 0,
        }));
        for (channel, grant) in entry.subs {
            let wish = entry.wishes.remove(channel.as_str());
            self.subscribe_by_server(conn, client, &channel, wish, grant)?;
        }
        if let Stage::Connecting(connecting) = &client.stage
            && connecting.left == 0
        {
            self.let_in(client, replies);
        }
        Ok(())
    }

    /// Who a client is; nobody in particular without a token.
    fn identify(&self, token: &str) -> Result<(Option<ConnectionClaims>, Expiry), Refusal> {
        let settings = self.rules.settings();
        match self.rules.verifier() {
            Some(verifier) if !token.is_empty() => match verifier.connection(token) {
                Ok((claims, expiry)) => Ok((Some(claims), expiry)),
                Err(Refused::Expired) => Err(Refusal::Error(Error::TokenExpired)),
                Err(Refused::Invalid) => Err(Refusal::Disconnect(Disconnect::InvalidToken)),
            },
            // There is nothing to check it with, and nothing it could forbid.
            None if settings.insecure => Ok((unsigned::claims(token), Expiry::default())),
            None if !token.is_empty() => Err(Refusal::Disconnect(Disconnect::InvalidToken)),
            _ if settings.insecure || settings.client.anonymous => Ok((None, Expiry::default())),
            _ => Err(Refusal::Error(Error::Unauthorized)),
        }
    }

    /// When what was granted is taken away.
    pub(super) fn ends(&self, conn: &Conn<'_>, expiry: Expiry) -> Option<u64> {
        let delay = self.rules.settings().client.expired_close_delay();
        let ttl = std::time::Duration::from_secs(expiry.ttl?);
        Some(after(conn.now(), ttl + delay))
    }

    /// Answers the connect command, all of whose subscriptions have begun.
    pub(super) fn let_in(&self, client: &mut Client, replies: &mut Replies) {
        let Stage::Connecting(connecting) = std::mem::replace(&mut client.stage, Stage::In) else {
            return;
        };
        self.counters.clients.add(1);
        self.notices.tell(Kind::Connect, None, || client.doer(""));
        let begun = &connecting.begun;
        let ping = self.rules.settings().client.ping().as_secs();
        replies.answer(
            connecting.command,
            &Answer::Connect(Connected {
                client: &client.id,
                version: VERSION,
                until: connecting.until,
                data: connecting.data.as_deref(),
                subs: begun.iter().map(|(name, sub)| (&**name, sub)).collect(),
                ping: u32::try_from(ping).unwrap_or(u32::MAX),
                pong: true,
                // A WebSocket speaks for itself.
                session: client.stream.as_ref().map_or("", |own| &own.session),
                node: &self.rules.server().uid,
            }),
        );
    }

    /// A subscription of the connect command has begun, or never will.
    pub(super) fn begun_by_server(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        channel: &str,
        told: Option<Subscribed>,
    ) {
        let Stage::Connecting(connecting) = &mut client.stage else {
            return;
        };
        connecting.left -= 1;
        if let Some(told) = told {
            connecting.begun.insert(channel.into(), told);
        }
        if connecting.left == 0 {
            let mut replies = Replies::new(client.encoding);
            self.let_in(client, &mut replies);
            send(conn, &replies);
        }
    }

    /// A publication for a client that is not told yet that it is in: it comes
    /// with the answer.
    pub(super) fn held(
        conn: &mut Conn<'_>,
        client: &mut Client,
        delivery: &Delivery<'_>,
        offset: u64,
    ) {
        let Stage::Connecting(connecting) = &mut client.stage else {
            return;
        };
        let message = delivery.message();
        connecting.bytes += message.payload().len();
        if connecting.bytes > MAX_HELD {
            return disconnect(conn, Disconnect::Slow);
        }
        let begun = connecting.begun.get_mut(delivery.topic());
        if let (Some(begun), Some(body)) = (begun, body(message)) {
            begun.publications.push(Publication::at(body, offset));
        }
    }

    pub(super) fn refresh(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        refresh: &Refresh<'_>,
        replies: &mut Replies,
    ) -> Result<(), Disconnect> {
        if refresh.token.is_empty() {
            return Err(Disconnect::BadRequest);
        }
        let Some(verifier) = self.rules.verifier() else {
            replies.error(command, Error::NotAvailable);
            return Ok(());
        };
        let (claims, expiry) = verifier.connection(&refresh.token)?;
        if *claims.sub != *client.user {
            // A token of somebody else does not make a client somebody else.
            return Err(Disconnect::InvalidToken);
        }
        client.info = claims.info;
        client.expires = self.ends(conn, expiry);
        replies.answer(
            command,
            &Answer::Refresh(Refreshed {
                client: &client.id,
                version: VERSION,
                until: expiry.until(),
            }),
        );
        Ok(())
    }
}
