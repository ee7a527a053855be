//! Messages of clients to the application, which are not answered.

use hioload::{CloseCode, Conn};
use hioload_centrifugo::{Disconnect, Send as Message};

use super::super::client::Client;
use super::super::{Chat, disconnect};
use crate::config::Event;
use crate::proxy::{Failure, MessageResult, Question, Said};

impl Chat {
    /// Tells the application, if it wants to hear it. What there is no room for is
    /// dropped: whoever needs to know calls a method, and who is disconnected
    /// would come back and say more.
    pub(in crate::chat) fn pass_to_application(
        &self,
        conn: &Conn<'_>,
        client: &mut Client,
        message: &Message<'_>,
    ) -> Result<(), Disconnect> {
        let Some(proxy) = self.proxies.of(Event::Message, "").cloned() else {
            // There is no reply to say so in.
            return Err(Disconnect::NotAvailable);
        };
        let (id, user) = (client.id.clone(), client.user.clone());
        let question = Question {
            user: &user,
            transport: client.transport(),
            ..Question::of(&id, client.encoding, message.data, proxy.is_binary())
        };
        let told = self.ask_application(
            conn,
            client,
            (&proxy, Event::Message),
            &question,
            |chat, conn, client, said| chat.message_heard(conn, client, said),
        );
        if let Err(why) = told {
            self.counters.dropped_messages.add(1);
            tracing::debug!(?why, "a message to the application is dropped");
        }
        Ok(())
    }

    fn message_heard(
        &self,
        conn: &mut Conn<'_>,
        client: &mut Client,
        said: Result<Said<MessageResult>, Failure>,
    ) {
        match said {
            Ok(Said::Disconnect(farewell)) => {
                conn.close(CloseCode(farewell.code), &farewell.reason);
            }
            Ok(Said::Error(refusal)) => {
                let (code, why) = (refusal.code, refusal.message);
                tracing::debug!(code, why, "the application refuses a message");
                let rates = &self.rules.settings().client.rates;
                if let Err(why) = client.rates.failed(rates, conn.now()) {
                    disconnect(conn, why);
                }
            }
            // A failure is in the log.
            Ok(Said::Result(_)) | Err(_) => {}
        }
    }
}
