//! Whether a client may come in.

use std::collections::BTreeMap;
use std::sync::Arc;

use hioload::Conn;
use hioload_centrifugo::{Connect, Error, Replies, Until};

use super::super::client::{Asking, Client, Stage, Wish};
use super::super::connect::{Entry, wishes};
use super::super::subscribe::{Grant, GrantedBy};
use super::super::token::Expiry;
use super::super::{Chat, disconnect, send};
use crate::config::Event;
use crate::proxy::{ConnectResult, Failure, Headers, Proxy, Question, Said, SubscribeResult};

impl Chat {
    /// What the application is told of a client's request, with what its connect
    /// command adds to it.
    pub(in crate::chat) fn headers(
        &self,
        client: &mut Client,
        connect: &Connect<'_>,
    ) -> Option<Headers> {
        let headers = client.headers.take();
        if connect.headers.is_empty() {
            return headers;
        }
        let emulated = connect.headers.iter();
        let emulated = emulated.map(|(name, value)| (name.as_ref(), value.as_ref()));
        self.proxies.with_emulated(headers, emulated)
    }

    pub(in crate::chat) fn connect_by_application(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        connect: &Connect<'_>,
        proxy: &Arc<Proxy>,
        replies: &mut Replies,
    ) {
        let Stage::New { until } = client.stage else {
            return;
        };
        let id = client.id.clone();
        let question = Question {
            name: &connect.name,
            version: &connect.version,
            channels: connect.subs.keys().map(AsRef::as_ref).collect(),
            transport: client.transport(),
            ..Question::of(&id, client.encoding, connect.data, proxy.is_binary())
        };
        let wishes = wishes(connect);
        let asked = self.ask_application(
            conn,
            client,
            (proxy, Event::Connect),
            &question,
            move |chat, conn, client, said| {
                chat.connect_answered(conn, client, command, wishes, said);
            },
        );
        client.stage = match asked {
            Ok(()) => Stage::Asking(Box::new(Asking::until(until))),
            Err(error) => {
                replies.error(command, error);
                Stage::Refused { until }
            }
        };
    }

    fn connect_answered(
        &mut self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        wishes: BTreeMap<Box<str>, Wish>,
        said: Result<Said<ConnectResult>, Failure>,
    ) {
        let Stage::Asking(asking) = &mut client.stage else {
            return;
        };
        let (until, held) = (asking.until, std::mem::take(&mut asking.held));
        client.stage = Stage::Refused { until };
        let Some(result) = self.granted(conn, client, command, said) else {
            return;
        };
        let expiry = Expiry::granted(result.expire_at);
        let (entry, expiry) = match (entry(result, wishes), expiry) {
            (Ok(entry), Some(expiry)) => (entry, expiry),
            (Ok(_), None) => return Self::refuse(conn, client, command, &Error::Expired.into()),
            (Err(failure), _) => {
                tracing::warn!(%failure, "the application's answer to a connect is none");
                return Self::refuse(conn, client, command, &Error::Internal.into());
            }
        };
        client.by_application = true;
        client.expires = expiry.end(conn.now());
        let mut replies = Replies::new(client.encoding);
        let taken = self.take_in(conn, client, command, entry, &mut replies);
        send(conn, &replies);
        match taken {
            Ok(()) => self.catch_up(conn, client, held),
            Err(why) => disconnect(conn, why),
        }
    }
}

/// What the application says of a client that may come in.
fn entry(result: ConnectResult, wishes: BTreeMap<Box<str>, Wish>) -> Result<Entry, Failure> {
    let mut subs = BTreeMap::new();
    for (channel, said) in result.subs {
        subs.insert(channel, grant(said)?);
    }
    for channel in result.channels {
        subs.entry(channel).or_default();
    }
    Ok(Entry {
        user: result.user,
        info: result.info.json()?,
        data: result.data.json()?,
        // It is renewed by the application, without the client.
        until: Until::default(),
        subs,
        wishes,
    })
}

/// What the application says of a subscription.
pub(super) fn grant(said: SubscribeResult) -> Result<Grant, Failure> {
    let ended = || Failure::Garbled("expire_at of a subscription has passed".to_owned());
    Ok(Grant {
        info: said.info.json()?,
        data: said.data.json()?,
        expiry: Expiry::granted(said.expire_at).ok_or_else(ended)?,
        options: said.r#override,
    })
}

impl Client {
    /// Who grants the subscriptions that it comes with.
    pub(in crate::chat) fn granted_by(&self) -> GrantedBy {
        if self.by_application {
            GrantedBy::Application
        } else {
            GrantedBy::Settings
        }
    }
}
