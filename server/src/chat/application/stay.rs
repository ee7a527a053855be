//! Whether a client may stay, and stay subscribed, when the time ends that the
//! application has granted.

use std::time::Duration;

use hioload::{CloseCode, Conn, Nanos};
use hioload_centrifugo::{Disconnect, Unsubscribed};

use super::super::client::Client;
use super::super::deadlines::after;
use super::super::token::Expiry;
use super::super::{Chat, disconnect};
use crate::config::Event;
use crate::proxy::{Failure, Proxy, Question, RefreshResult, Said};

/// How long something is granted by default of an answer, before the
/// application is asked again.
const AGAIN: Duration = Duration::from_secs(30);

/// What is left of a grant.
enum Left {
    /// Until then; `None`: for ever.
    Until(Option<Nanos>),
    Ended,
    /// The connection ends.
    Farewell(CloseCode, String),
}

impl Chat {
    /// Asks whether a client may stay, whose time has ended. Not where nobody is
    /// there to be asked.
    pub(in crate::chat) fn ask_to_stay(&self, conn: &Conn<'_>, client: &mut Client) -> bool {
        let proxy = self.proxies.of(Event::Refresh, "").cloned();
        let Some(proxy) = proxy.filter(|_| client.by_application && client.is_in()) else {
            return false;
        };
        let (id, user) = (client.id.clone(), client.user.clone());
        let question = Question {
            user: &user,
            transport: client.transport(),
            ..Question::of(&id, client.encoding, None, proxy.is_binary())
        };
        let asked = self.ask_application(
            conn,
            client,
            (&proxy, Event::Refresh),
            &question,
            |_, conn, client, said: Result<Said<RefreshResult>, Failure>| {
                let now = conn.now();
                let info = match &said {
                    Ok(Said::Result(result)) => result.info.clone().json().unwrap_or_default(),
                    _ => None,
                };
                match left(said, now) {
                    Left::Until(until) => {
                        client.expires = until;
                        client.info = info.or(client.info.take());
                    }
                    Left::Ended => disconnect(conn, Disconnect::Expired),
                    Left::Farewell(code, reason) => {
                        conn.close(code, &reason);
                    }
                }
            },
        );
        client.expires = Some(until_asked_again(conn, &proxy, asked.is_ok()));
        true
    }

    /// The same about a subscription.
    pub(in crate::chat) fn ask_to_stay_subscribed(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        channel: &str,
    ) -> bool {
        let sub = client.subs.get(channel).filter(|sub| sub.by_application);
        let Some(namespace) = sub.map(|sub| sub.namespace) else {
            return false;
        };
        let name = &self.rules.namespace(namespace).name;
        let Some(proxy) = self.proxies.of(Event::SubRefresh, name).cloned() else {
            return false;
        };
        let (id, user) = (client.id.clone(), client.user.clone());
        let question = Question {
            user: &user,
            channel,
            transport: client.transport(),
            ..Question::of(&id, client.encoding, None, proxy.is_binary())
        };
        let of = Box::<str>::from(channel);
        let asked = self.ask_application(
            conn,
            client,
            (&proxy, Event::SubRefresh),
            &question,
            move |chat, conn, client, said| {
                let Some(sub) = client.subs.get_mut(&of).filter(|sub| sub.by_application) else {
                    return;
                };
                match left(said, conn.now()) {
                    Left::Until(until) => sub.expires = until,
                    Left::Ended => chat.end(conn, client, &of, Some(Unsubscribed::Expired)),
                    Left::Farewell(code, reason) => {
                        conn.close(code, &reason);
                    }
                }
            },
        );
        if let Some(sub) = client.subs.get_mut(channel) {
            sub.expires = Some(until_asked_again(conn, &proxy, asked.is_ok()));
        }
        true
    }
}

fn left(said: Result<Said<RefreshResult>, Failure>, now: Nanos) -> Left {
    match said {
        Ok(Said::Result(result)) if result.expired => Left::Ended,
        Ok(Said::Result(result)) => match Expiry::granted(result.expire_at) {
            Some(expiry) => Left::Until(expiry.end(now)),
            None => Left::Ended,
        },
        Ok(Said::Disconnect(farewell)) => Left::Farewell(CloseCode(farewell.code), farewell.reason),
        // An application that is away takes nothing from anybody.
        Ok(Said::Error(_)) | Err(_) => Left::Until(Some(after(now, AGAIN))),
    }
}

/// When the application is asked again, should no answer come: after all that
/// can take one.
fn until_asked_again(conn: &Conn<'_>, proxy: &Proxy, is_asked: bool) -> Nanos {
    let wait = if is_asked {
        proxy.patience() + AGAIN
    } else {
        AGAIN
    };
    after(conn.now(), wait)
}
