//! Events as mails, one each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error as SmtpError, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::timeout;

use super::deliver::Tried;
use super::event::Event;
use super::template::Said;
use crate::config::{Mail, Smtp, SmtpTls};

/// Characters of what a mail quotes of a publication.
const MAX_TEXT: usize = 4000;

/// Characters of a subject.
const MAX_SUBJECT: usize = 200;

/// A mail is a dialogue: so many of the server's answers are waited for.
const STEPS: u32 = 6;

type Server = AsyncSmtpTransport<Tokio1Executor>;

/// Hands one worker's mails to the mail server, on a connection that is kept.
#[derive(Debug)]
pub(super) struct Postman {
    builder: AsyncSmtpTransportBuilder,
    server: Mutex<Server>,
    from: Mailbox,
    patience: Duration,
    settings: Mail,
    text_field: String,
}

impl Postman {
    /// Must be called where a runtime is entered.
    pub(super) fn new(settings: &Mail, smtp: &Smtp, text_field: &str) -> Result<Self, SmtpError> {
        let tls = |host: &String| TlsParameters::new(host.clone());
        let tls = match smtp.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Starttls => Tls::Required(tls(&smtp.host)?),
            SmtpTls::Tls => Tls::Wrapper(tls(&smtp.host)?),
        };
        let mut builder = Server::builder_dangerous(&*smtp.host)
            .port(smtp.port)
            .tls(tls)
            .timeout(Some(smtp.timeout))
            .pool_config(PoolConfig::new().max_size(1));
        if let Some((user, password)) = &smtp.credentials {
            let password = password.reveal().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            server: Mutex::new(builder.clone().build()),
            builder,
            from: smtp.from.clone(),
            patience: smtp.timeout.saturating_mul(STEPS),
            settings: settings.clone(),
            text_field: text_field.to_owned(),
        })
    }

    /// The mail about an event, the same one each time it is tried. `None`: it
    /// has nobody to go to.
    pub(super) fn write(&self, event: &Event) -> Option<Message> {
        let to = self.settings.to.address(event.addressee())?;
        let text = event.data.as_ref().map(|data| data.text(&self.text_field));
        // The application has no name but the one that it writes by.
        let own = self.from.name.as_deref();
        let own = own.unwrap_or_else(|| self.from.email.as_ref());
        let said = Said {
            user: event.addressee(),
            channel: &event.channel,
            from: Some(&*event.user)
                .filter(|user| !user.is_empty())
                .unwrap_or(own),
            text: &shortened(&text.unwrap_or_default(), MAX_TEXT),
            event: event.kind.name(),
        };
        let subject = one_line(&self.settings.subject.filled(said));
        let text = readable(&self.settings.text.filled(said));
        let id = format!("<{}@{}>", event.id, self.from.email.domain());
        let written = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(shortened(&subject, MAX_SUBJECT))
            .message_id(Some(id))
            // Those who are away do not answer it by themselves.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(text);
        written.ok()
    }

    pub(super) async fn send(&self, mail: &Message) -> Tried {
        let server = self.server().clone();
        match timeout(self.patience, server.send(mail.clone())).await {
            Ok(Ok(_accepted)) => Tried::Delivered,
            Ok(Err(error)) if error.is_permanent() => Tried::Never(error.to_string()),
            Ok(Err(error)) => not_yet(error.to_string()),
            Err(_late) => {
                // Its connection stands in the middle of a dialogue, and would
                // take a late answer for one to the next mail.
                *self.server() = self.builder.clone().build();
                not_yet("it takes too long".into())
            }
        }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        // It is replaced as a whole.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_yet(why: String) -> Tried {
    Tried::NotYet { why, after: None }
}

/// Without what begins another line, and other characters that are no text.
fn one_line(text: &str) -> String {
    let space = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(space).collect()
}

/// Without characters that are no text.
fn readable(text: &str) -> String {
    let is_text = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(is_text).collect()
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::deliver::Backoff;
    use super::super::event::Kind;
    use super::super::event::testing::event;
    use super::super::template::Template;
    use super::super::testing::paused;
    use super::*;
    use crate::config::SinkSettings;

    #[test]
    fn a_subject_is_one_line_and_a_text_has_no_other_control_characters() {
        assert_eq!(one_line("a\r\nBcc: b\u{7f}\u{0}"), "a  Bcc: b  ");
        assert_eq!(readable("a\r\n\tb\u{1b}[0m\u{0}"), "a\n\tb[0m");
    }

    fn postman() -> Postman {
        let template = |text: &str| Template::try_from(text.to_owned()).unwrap();
        let mail = Mail {
            sink: SinkSettings {
                name: "m".into(),
                events: vec![Kind::Mention],
                namespaces: Vec::new(),
                workers: 1,
                queue: 1,
                queue_bytes: 1024,
                backoff: Backoff {
                    retries: 0,
                    least: Duration::ZERO,
                    most: Duration::ZERO,
                },
            },
            to: template("{user}@example.org"),
            subject: template("{from} in {channel}: {text}"),
            text: template("{text}"),
            interval: Duration::ZERO,
        };
        let smtp = Smtp {
            host: "127.0.0.1".into(),
            port: 1,
            tls: SmtpTls::None,
            credentials: None,
            from: "Chat <chat@example.org>".parse().unwrap(),
            timeout: Duration::from_secs(1),
        };
        Postman::new(&mail, &smtp, "text").unwrap()
    }

    fn written(user: &str, mentioned: &str) -> Option<(Vec<String>, String)> {
        let text = "x\r\nBcc: c@evil.example\r\n\r\n.\r\nRCPT TO:<c@evil.example>";
        let data = serde_json::json!({ "text": text }).to_string();
        let mut event = Arc::into_inner(event(1, &data)).unwrap();
        event.user = user.into();
        event.mentioned = mentioned.into();
        let mail = paused(async { postman().write(&event) })?;
        let to = mail.envelope().to().iter().map(ToString::to_string);
        Some((to.collect(), String::from_utf8(mail.formatted()).unwrap()))
    }

    #[test]
    fn nothing_that_is_said_makes_a_header_or_a_recipient() {
        let (to, mail) = written("ann\r\nBcc: b@evil.example", "bob").unwrap();
        assert_eq!(to, ["bob@example.org"]);
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().filter(|line| !line.starts_with(' '));
        let names: Vec<_> = lines.map(|line| line.split(": ").next().unwrap()).collect();
        for name in ["From", "To", "Subject", "Message-ID", "Date"] {
            assert_eq!(
                names.iter().filter(|one| **one == name).count(),
                1,
                "{head}"
            );
        }
        assert!(!names.contains(&"Bcc"), "{head}");
        assert!(body.contains("Bcc: c@evil.example"), "it is text: {body}");
        for name in ["bob@evil.example", "bob\r\nBcc: x", "", "<bob>"] {
            assert_eq!(written("ann", name), None, "{name:?}");
        }
    }

    #[test]
    fn the_application_writes_by_the_name_of_the_server() {
        let (_, mail) = written("", "bob").unwrap();
        assert!(mail.contains("Subject: Chat in room: x"), "{mail}");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(shortened("\u{e4}\u{f6}\u{fc}", 2), "\u{e4}\u{f6}...");
        assert_eq!(shortened("\u{e4}\u{f6}", 2), "\u{e4}\u{f6}");
    }
}
