//! What the application is asked about, beside whether a client may come in
//! ([`entry`]), subscribe ([`subscription`]) and stay ([`stay`]): calls of its
//! methods, messages ([`message`]) and publications.
//!
//! A client goes on while the application is asked, so that answers may overtake
//! each other, except those about its [publications](publication) to one channel.

mod entry;
mod message;
mod publication;
mod stay;
mod subscription;

use std::sync::Arc;

pub(super) use publication::Line;

use hioload::{CloseCode, Conn, Turn};
use hioload_centrifugo::{Answer, Called, Error, Failure as Told, Payload, Replies, Rpc};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::client::Client;
use super::{Chat, disconnect, found, send};
use crate::config::Event;
use crate::proxy::{Data, Failure, Proxy, Question, RpcResult, Said};
use crate::site::{Service, Site};

/// Separates the namespace of a method from the rest of its name.
const METHOD_NAMESPACE_END: char = ':';

impl Chat {
    /// Asks the application; `then` goes on with what it says, if the client is
    /// there still.
    fn ask_application<R: DeserializeOwned + Send + 'static>(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        (proxy, event): (&Arc<Proxy>, Event),
        question: &Question<'_>,
        then: impl FnOnce(&mut Self, &mut Conn<'_>, &mut Client, Result<Said<R>, Failure>)
        + Send
        + 'static,
    ) -> Result<(), Error> {
        if client.proxied >= proxy.max_per_client() {
            return Err(Error::TooManyRequests);
        }
        let refused = |why: &dyn std::fmt::Display| {
            tracing::debug!(%why, event = event.name(), "the application is not asked");
            Error::Internal
        };
        let asker = conn.id();
        let back = self.handle.reserve(conn.shard());
        let back = back.map_err(|full| refused(&full))?;
        let tell = move |said: Result<Said<R>, Failure>| {
            let told =
                back.post::<Site, _>(move |site: &mut Site, turn: &mut Turn<'_, Service>| {
                    let Some((mut conn, client)) = found(turn, asker) else {
                        return;
                    };
                    client.proxied -= 1;
                    let chat = site.chat();
                    chat.rules.follow();
                    then(chat, &mut conn, client, said);
                    chat.arm(&mut conn, client);
                });
            if let Err(stopped) = told {
                tracing::debug!(%stopped, "an answer has nobody to go to");
            }
        };
        let asked = proxy.ask(event, question.written(), client.headers.as_ref(), tell);
        asked.map_err(|full| refused(&full))?;
        client.proxied += 1;
        Ok(())
    }

    /// What the application grants. `None`: nothing, which the client is told
    /// here.
    fn granted<R>(
        &self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        command: u32,
        said: Result<Said<R>, Failure>,
    ) -> Option<R> {
        match said {
            Ok(Said::Result(result)) => return Some(result),
            Ok(Said::Disconnect(farewell)) => {
                conn.close(CloseCode(farewell.code), &farewell.reason);
            }
            Ok(Said::Error(refusal)) => {
                let why = Told {
                    code: refusal.code,
                    message: &refusal.message,
                    temporary: refusal.temporary,
                };
                Self::refuse(conn, client, command, &why);
                let rates = &self.rules.settings().client.rates;
                if let Err(why) = client.rates.failed(rates, conn.now()) {
                    disconnect(conn, why);
                }
            }
            // It is in the log, and no fault of the client's that is counted.
            Err(_) => Self::refuse(conn, client, command, &Error::Internal.into()),
        }
        None
    }

    /// Replies that a command has failed.
    fn refuse(conn: &mut Conn<'_>, client: &Client, command: u32, why: &Told<'_>) {
        let mut replies = Replies::new(client.encoding);
        replies.failure(command, why);
        send(conn, &replies);
    }

    /// As [`refuse`](Self::refuse), for what the client is to blame.
    fn blame(&self, conn: &mut Conn<'_>, client: &mut Client, command: u32, why: Error) {
        Self::refuse(conn, client, command, &why.into());
        if let Err(why) = self.failed(conn, client, why) {
            disconnect(conn, why);
        }
    }

    /// Calls a method of the application.
    pub(super) fn call_application(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        command: u32,
        rpc: &Rpc<'_>,
    ) -> Result<(), Error> {
        let method = rpc.method.as_ref();
        let named = method.split_once(METHOD_NAMESPACE_END);
        let namespace = named.map_or("", |(namespace, _)| namespace);
        let Some(proxy) = self.proxies.of(Event::Rpc, namespace).cloned() else {
            return Err(Error::MethodNotFound);
        };
        let (id, user) = (client.id.clone(), client.user.clone());
        let question = Question {
            user: &user,
            method: Some(method),
            transport: client.transport(),
            ..Question::of(&id, client.encoding, rpc.data, proxy.is_binary())
        };
        self.ask_application(
            conn,
            client,
            (&proxy, Event::Rpc),
            &question,
            move |chat, conn, client, said: Result<Said<RpcResult>, Failure>| {
                if let Some(result) = chat.granted(conn, client, command, said) {
                    let mut replies = Replies::new(client.encoding);
                    let data = payload(&result.data);
                    replies.answer(command, &Answer::Rpc(Called { data }));
                    send(conn, &replies);
                }
            },
        )
    }
}

/// What goes to clients, as it was written.
fn payload(data: &Data) -> Option<Payload<'_>> {
    match data {
        Data::None => None,
        Data::Json(raw) => Some(Payload::Json(raw)),
        Data::Bytes(bytes) => Some(Payload::Bytes(bytes)),
    }
}

/// What a client said, kept until the application has been asked.
fn owned(data: Payload<'_>) -> Data {
    match data {
        Payload::Json(raw) => Data::Json(RawValue::to_owned(raw)),
        Payload::Bytes(bytes) => Data::Bytes(bytes.to_vec()),
    }
}
