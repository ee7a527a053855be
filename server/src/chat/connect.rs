//! Letting clients in, and letting them stay.

use std::collections::BTreeMap;

use hioload::Conn;
use hioload::hub::Delivery;
use hioload_centrifugo::{
    Answer, Connect, Connected, Disconnect, Error, Publication, Refresh, Refreshed, Replies,
    Subscribed,
};

use super::client::{Client, Connecting, PingState, Stage, Wish};
use super::deadlines::after;
use super::token::{ConnectionClaims, Expiry, Refused};
use super::written::body;
use super::{Chat, VERSION, disconnect, send, unsigned};
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
        let (claims, expiry) = match self.identify(&connect.token) {
            Ok(identity) => identity,
            Err(Refusal::Disconnect(why)) => return Err(why),
            Err(Refusal::Error(error)) => {
                replies.error(command, error);
                client.stage = Stage::Refused { until };
                return Ok(());
            }
        };
        let mut subscriptions = BTreeMap::new();
        if let Some(mut claims) = claims {
            subscriptions = claims.subscriptions();
            client.seat = self.rules.seat(&claims.sub)?;
            client.user = claims.sub.into();
            if !client.user.is_empty() {
                let keys = self.users.entry(client.user.clone()).or_default();
                keys.insert(client.key);
                self.counters.users.set(self.users.len() as u64);
            }
            client.info = claims.info;
        }
        client.expires = self.ends(conn, expiry);
        let ping = self.rules.settings().client.ping();
        client.ping = PingState::Idle {
            next: after(conn.now(), ping),
        };
        client.stage = Stage::Connecting(Box::new(Connecting {
            command,
            until: expiry.until(),
            left: 0,
            begun: BTreeMap::new(),
            bytes: 0,
        }));
        for (channel, claims) in subscriptions {
            let wish = connect.subs.get(channel.as_str()).and_then(Wish::of);
            self.subscribe_by_server(conn, client, &channel, wish, claims)?;
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
                data: None,
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
