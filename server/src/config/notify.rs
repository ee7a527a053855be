//! Settings of what the server tells others: webhooks and mail.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;
use serde::Deserialize;
use thiserror::Error;

use super::chat::{MIN_SECRET, Secret};
use super::{ChatSettings, Span};
use crate::notify::{Backoff, Kind, Template};

/// Bytes of a sink's name at most.
const MAX_NAME: usize = 64;

/// Webhooks and mails at most: each event is held against all of them.
const MAX_SINKS: usize = 32;

/// The settings of notifications are wrong.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NotifyError {
    #[error("{place}: {field} is {value}; give {allowed}")]
    Range {
        place: String,
        field: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error("{table} {name:?}: a name has 1 to {MAX_NAME} letters, digits, \"-\" and \"_\"")]
    Name { table: &'static str, name: String },
    #[error("{0} is there twice")]
    Twice(String),
    #[error("{0} [[webhook]] and [[mail]]; at most {MAX_SINKS} are possible")]
    TooMany(usize),
    #[error("{0}: events is empty; say what is to be told, such as [\"mention\"]")]
    NoEvents(String),
    #[error("{place}: namespaces has {name:?}, which is no [[namespace]]")]
    NoNamespace { place: String, name: String },
    #[error(
        "{0}: url is no address of a receiver; write such as \"https://example.org/hook\", without \
         a user or password in it"
    )]
    Url(String),
    #[error(
        "{place}: secret has {size} bytes; give at least {MIN_SECRET}, such as the output of: \
         openssl rand -hex 32"
    )]
    WeakSecret { place: String, size: usize },
    #[error(
        "{0}: to is no address; write such as \"{{user}}@example.org\", \"{{user}}\", or one \
         address"
    )]
    To(String),
    #[error("{0}: {1} is empty")]
    Empty(String, &'static str),
    #[error("{0} takes a mail server; set smtp.host and smtp.from")]
    NoServer(String),
    #[error("smtp.from is no address ({0}); write such as \"Chat <chat@example.org>\"")]
    From(String),
    #[error("smtp.user and smtp.password go together; set both or none")]
    Credentials,
    #[error(
        "smtp.password would be sent in the clear; set smtp.tls to \"starttls\" or \"tls\", or \
         speak to a server on this machine"
    )]
    InTheClear,
}

/// What is told, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifySettings {
    /// From the end of the connections to the end of what waits.
    pub(crate) flush: Duration,
    /// Of a publication, names users.
    pub(crate) mention_field: String,
    /// Of a publication, what is said in mails.
    pub(crate) text_field: String,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) mails: Vec<Mail>,
    /// There is one if there are mails.
    pub(crate) smtp: Option<Smtp>,
}

/// What webhooks and mails have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkSettings {
    pub(crate) name: String,
    pub(crate) events: Vec<Kind>,
    /// By their place in the settings of the chat; empty: all.
    pub(crate) namespaces: Vec<usize>,
    pub(crate) workers: usize,
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) backoff: Backoff,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    pub(crate) sink: SinkSettings,
    pub(crate) url: Url,
    pub(crate) secret: Secret,
    pub(crate) batch_max: usize,
    pub(crate) batch_wait: Duration,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) sink: SinkSettings,
    pub(crate) to: Template,
    pub(crate) subject: Template,
    pub(crate) text: Template,
    pub(crate) interval: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Smtp {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: SmtpTls,
    /// The user and the password.
    pub(crate) credentials: Option<(String, Secret)>,
    pub(crate) from: Mailbox,
    pub(crate) timeout: Duration,
}

/// How the mail server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SmtpTls {
    None,
    #[default]
    Starttls,
    Tls,
}

impl SmtpTls {
    fn port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::Starttls => 587,
            Self::Tls => 465,
        }
    }
}

/// `[notify]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NotifyTable {
    flush: Span,
    mention_field: String,
    text_field: String,
}

impl Default for NotifyTable {
    fn default() -> Self {
        Self {
            flush: Span(Duration::from_secs(5)),
            mention_field: "mentions".into(),
            text_field: "text".into(),
        }
    }
}

/// `[[webhook]]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebhookTable {
    name: String,
    url: String,
    secret: Secret,
    events: Vec<Kind>,
    namespaces: Vec<String>,
    batch_max: usize,
    batch_wait: Span,
    timeout: Span,
    retries: u32,
    backoff_min: Span,
    backoff_max: Span,
    workers: usize,
    queue: usize,
    queue_bytes: usize,
}

impl Default for WebhookTable {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            secret: Secret::default(),
            events: Vec::new(),
            namespaces: Vec::new(),
            batch_max: 100,
            batch_wait: Span(Duration::from_millis(200)),
            timeout: Span(Duration::from_secs(5)),
            retries: 8,
            backoff_min: Span(Duration::from_millis(500)),
            backoff_max: Span(Duration::from_secs(30)),
            workers: 1,
            queue: 10_000,
            queue_bytes: 16 << 20,
        }
    }
}

/// `[[mail]]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MailTable {
    name: String,
    to: Template,
    subject: Template,
    text: Template,
    events: Vec<Kind>,
    namespaces: Vec<String>,
    interval: Span,
    retries: u32,
    backoff_min: Span,
    backoff_max: Span,
    workers: usize,
    queue: usize,
    queue_bytes: usize,
}

impl Default for MailTable {
    fn default() -> Self {
        let template =
            |text: &str| Template::try_from(text.to_owned()).expect("places that there are");
        Self {
            name: String::new(),
            to: template(""),
            subject: template("{from} mentions you in {channel}"),
            text: template("{from} wrote in {channel}:\n\n{text}"),
            events: Vec::new(),
            namespaces: Vec::new(),
            interval: Span(Duration::from_secs(600)),
            retries: 8,
            backoff_min: Span(Duration::from_secs(1)),
            backoff_max: Span(Duration::from_secs(60)),
            workers: 1,
            queue: 1000,
            queue_bytes: 4 << 20,
        }
    }
}

/// `[smtp]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SmtpTable {
    host: String,
    port: u16,
    tls: SmtpTls,
    user: String,
    password: Secret,
    from: String,
    timeout: Span,
}

impl Default for SmtpTable {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            tls: SmtpTls::default(),
            user: String::new(),
            password: Secret::default(),
            from: String::new(),
            timeout: Span(Duration::from_secs(10)),
        }
    }
}

impl NotifySettings {
    pub(super) fn new(
        tables: (&NotifyTable, &[WebhookTable], &SmtpTable, &[MailTable]),
        chat: &ChatSettings,
    ) -> Result<Self, NotifyError> {
        let (notify, webhooks, smtp, mails) = tables;
        let count = webhooks.len() + mails.len();
        if count > MAX_SINKS {
            return Err(NotifyError::TooMany(count));
        }
        for (field, text) in [
            ("mention_field", &notify.mention_field),
            ("text_field", &notify.text_field),
        ] {
            if text.is_empty() {
                return Err(NotifyError::Empty("[notify]".into(), field));
            }
        }
        let webhooks: Result<Vec<_>, _> = webhooks.iter().map(|one| one.settings(chat)).collect();
        let mails: Result<Vec<_>, _> = mails.iter().map(|one| one.settings(chat)).collect();
        let (webhooks, mails) = (webhooks?, mails?);
        unique("[[webhook]]", webhooks.iter().map(|one| &*one.sink.name))?;
        unique("[[mail]]", mails.iter().map(|one| &*one.sink.name))?;
        let smtp = smtp.settings()?;
        if let (None, Some(first)) = (&smtp, mails.first()) {
            let place = place("[[mail]]", &first.sink.name);
            return Err(NotifyError::NoServer(place));
        }
        Ok(Self {
            flush: notify.flush.0,
            mention_field: notify.mention_field.clone(),
            text_field: notify.text_field.clone(),
            smtp: smtp.filter(|_| !mails.is_empty()),
            webhooks,
            mails,
        })
    }

    /// Whether anybody is told anything.
    pub(crate) fn is_on(&self) -> bool {
        !self.webhooks.is_empty() || !self.mails.is_empty()
    }
}

impl WebhookTable {
    fn settings(&self, chat: &ChatSettings) -> Result<Webhook, NotifyError> {
        let sink = Common {
            table: "[[webhook]]",
            name: &self.name,
            events: &self.events,
            namespaces: &self.namespaces,
            workers: self.workers,
            queue: self.queue,
            queue_bytes: self.queue_bytes,
            retries: self.retries,
            backoff: (self.backoff_min, self.backoff_max),
        };
        let sink = sink.settings(chat)?;
        let place = place("[[webhook]]", &self.name);
        let url = Url::parse(&self.url).ok().filter(|url| {
            let is_http = matches!(url.scheme(), "http" | "https");
            is_http && url.has_host() && url.username().is_empty() && url.password().is_none()
        });
        let url = url.ok_or_else(|| NotifyError::Url(place.clone()))?;
        if let Some(secret) = self.secret.bytes()
            && secret.len() < MIN_SECRET
        {
            let size = secret.len();
            return Err(NotifyError::WeakSecret { place, size });
        }
        number(&place, "batch_max", self.batch_max, 1..=1000, "1 to 1000")?;
        if self.batch_wait.0 > Duration::from_secs(60) {
            return Err(range(&place, "batch_wait", self.batch_wait, "at most 1min"));
        }
        if self.timeout.0.is_zero() {
            return Err(range(&place, "timeout", self.timeout, "such as 5s"));
        }
        Ok(Webhook {
            sink,
            url,
            secret: self.secret.clone(),
            batch_max: self.batch_max,
            batch_wait: self.batch_wait.0,
            timeout: self.timeout.0,
        })
    }
}

impl MailTable {
    fn settings(&self, chat: &ChatSettings) -> Result<Mail, NotifyError> {
        let sink = Common {
            table: "[[mail]]",
            name: &self.name,
            events: &self.events,
            namespaces: &self.namespaces,
            workers: self.workers,
            queue: self.queue,
            queue_bytes: self.queue_bytes,
            retries: self.retries,
            backoff: (self.backoff_min, self.backoff_max),
        };
        let sink = sink.settings(chat)?;
        let place = place("[[mail]]", &self.name);
        if !self.to.is_address() {
            return Err(NotifyError::To(place));
        }
        for (field, template) in [("subject", &self.subject), ("text", &self.text)] {
            if template.is_empty() {
                return Err(NotifyError::Empty(place, field));
            }
        }
        Ok(Mail {
            sink,
            to: self.to.clone(),
            subject: self.subject.clone(),
            text: self.text.clone(),
            interval: self.interval.0,
        })
    }
}

impl SmtpTable {
    fn settings(&self) -> Result<Option<Smtp>, NotifyError> {
        if self.user.is_empty() != self.password.bytes().is_none() {
            return Err(NotifyError::Credentials);
        }
        if self.host.is_empty() {
            return Ok(None);
        }
        let from = self.from.parse::<Mailbox>();
        let from = from.map_err(|error| NotifyError::From(error.to_string()))?;
        if self.timeout.0.is_zero() {
            return Err(range("[smtp]", "timeout", self.timeout, "such as 10s"));
        }
        let is_here = self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if self.tls == SmtpTls::None && !self.user.is_empty() && !is_here {
            return Err(NotifyError::InTheClear);
        }
        let credentials = (self.user.clone(), self.password.clone());
        Ok(Some(Smtp {
            host: self.host.clone(),
            port: if self.port == 0 {
                self.tls.port()
            } else {
                self.port
            },
            tls: self.tls,
            credentials: Some(credentials).filter(|(user, _)| !user.is_empty()),
            from,
            timeout: self.timeout.0,
        }))
    }
}

/// The fields that both tables have.
struct Common<'a> {
    table: &'static str,
    name: &'a str,
    events: &'a [Kind],
    namespaces: &'a [String],
    workers: usize,
    queue: usize,
    queue_bytes: usize,
    retries: u32,
    backoff: (Span, Span),
}

impl Common<'_> {
    fn settings(&self, chat: &ChatSettings) -> Result<SinkSettings, NotifyError> {
        let (table, name) = (self.table, self.name);
        let is_sound = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(is_sound) {
            let name = name.to_owned();
            return Err(NotifyError::Name { table, name });
        }
        let place = place(table, name);
        if self.events.is_empty() {
            return Err(NotifyError::NoEvents(place));
        }
        let namespaces = self.namespaces.iter().map(|name| {
            let mut all = chat.namespaces.iter();
            let found = all.position(|one| one.name == *name);
            found.ok_or_else(|| NotifyError::NoNamespace {
                place: place.clone(),
                name: name.clone(),
            })
        });
        let namespaces: Result<Vec<_>, _> = namespaces.collect();
        number(&place, "workers", self.workers, 1..=64, "1 to 64")?;
        let (queue, allowed) = (1..=1_000_000, "1 to 1000000");
        number(&place, "queue", self.queue, queue, allowed)?;
        let (bytes, allowed) = (1024..=1 << 40, "at least 1024");
        number(&place, "queue_bytes", self.queue_bytes, bytes, allowed)?;
        let retries = usize::try_from(self.retries).unwrap_or(usize::MAX);
        number(&place, "retries", retries, 0..=100, "at most 100")?;
        let (least, most) = self.backoff;
        if least.0.is_zero() {
            return Err(range(&place, "backoff_min", least, "such as 500ms"));
        }
        if most.0 < least.0 {
            return Err(range(&place, "backoff_max", most, "at least backoff_min"));
        }
        Ok(SinkSettings {
            name: name.to_owned(),
            events: self.events.to_vec(),
            namespaces: namespaces?,
            workers: self.workers,
            queue: self.queue,
            queue_bytes: self.queue_bytes,
            backoff: Backoff {
                retries: self.retries,
                least: least.0,
                most: most.0,
            },
        })
    }
}

/// Where it is in the file.
fn place(table: &str, name: &str) -> String {
    format!("{table} {name:?}")
}

fn unique<'a>(table: &str, mut names: impl Iterator<Item = &'a str>) -> Result<(), NotifyError> {
    let mut seen = HashSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(name) => Err(NotifyError::Twice(place(table, name))),
        None => Ok(()),
    }
}

fn number(
    place: &str,
    field: &'static str,
    value: usize,
    range: std::ops::RangeInclusive<usize>,
    allowed: &'static str,
) -> Result<(), NotifyError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(NotifyError::Range {
        place: place.into(),
        field,
        value: value.to_string(),
        allowed,
    })
}

fn range(place: &str, field: &'static str, value: Span, allowed: &'static str) -> NotifyError {
    NotifyError::Range {
        place: place.into(),
        field,
        value: humantime::format_duration(value.0).to_string(),
        allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::chat;
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Tables {
        notify: NotifyTable,
        webhook: Vec<WebhookTable>,
        smtp: SmtpTable,
        mail: Vec<MailTable>,
    }

    fn of(file: &str) -> Result<NotifySettings, String> {
        let tables: Tables = toml::from_str(file).map_err(|error| error.message().to_owned())?;
        let chat = chat("[[namespace]]\nname = 'chat'");
        let Tables {
            notify,
            webhook,
            smtp,
            mail,
        } = &tables;
        let made = NotifySettings::new((notify, webhook, smtp, mail), &chat);
        made.map_err(|error| error.to_string())
    }

    const HOOK: &str = "[[webhook]]\nname = 'app'\nurl = 'https://a.example/hook'\n\
                        events = ['mention']\n";
    const MAIL: &str = "[smtp]\nhost = 'mail.example'\nfrom = 'chat@a.example'\n[[mail]]\n\
                        name = 'm'\nevents = ['mention']\nto = '{user}@a.example'\n";

    #[test]
    fn nothing_is_told_unless_somebody_is_named() {
        assert!(!of("").unwrap().is_on());
        let smtp = of("smtp.host = 'mail.example'\nsmtp.from = 'a@b.example'").unwrap();
        assert!(!smtp.is_on());
        assert_eq!(smtp.smtp, None);
        assert!(of(HOOK).unwrap().is_on() && of(MAIL).unwrap().is_on());
    }

    #[test]
    fn namespaces_are_found_and_ports_follow_the_way_of_speaking() {
        let hook = of(&format!("{HOOK}namespaces = ['', 'chat']")).unwrap();
        assert_eq!(hook.webhooks[0].sink.namespaces, [0, 1]);
        for (more, port) in [
            ("", 587),
            ("tls = 'tls'\n", 465),
            ("tls = 'none'\n", 25),
            ("port = 2525\n", 2525),
        ] {
            let file = MAIL.replace("[[mail]]", &format!("{more}[[mail]]"));
            assert_eq!(of(&file).unwrap().smtp.unwrap().port, port, "{more}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let in_hook = |more: &str| format!("{HOOK}{more}");
        let in_mail = |more: &str| format!("{MAIL}{more}");
        let in_smtp = |more: &str| MAIL.replace("[[mail]]", &format!("{more}\n[[mail]]"));
        for (file, named) in [
            (
                HOOK.replace("app", "a b"),
                "[[webhook]] \"a b\": a name has",
            ),
            (HOOK.replace("'mention'", ""), "\"app\": events is empty"),
            (HOOK.replace("'mention'", "'mentoin'"), "`mention`"),
            (HOOK.replace("https", "ftp"), "\"app\": url is no address"),
            (HOOK.replace("//a", "//u:p@a"), "\"app\": url is no address"),
            (in_hook("namespaces = ['x']"), "\"x\", which is no"),
            (in_hook("secret = 'short'"), "\"app\": secret has 5 bytes"),
            (in_hook("batch_max = 0"), "\"app\": batch_max is 0"),
            (in_hook("batch_wait = '2min'"), "batch_wait is 2m"),
            (in_hook("timeout = '0s'"), "timeout is 0s"),
            (in_hook("workers = 65"), "workers is 65"),
            (in_hook("queue = 0"), "queue is 0"),
            (in_hook("queue_bytes = 9"), "queue_bytes is 9"),
            (in_hook("retries = 101"), "retries is 101"),
            (in_hook("backoff_min = '0s'"), "backoff_min is 0s"),
            (in_hook("backoff_max = '1ms'"), "backoff_max is 1ms"),
            (in_hook("to = 'x'"), "unknown field `to`"),
            (
                format!("{HOOK}{HOOK}"),
                "[[webhook]] \"app\" is there twice",
            ),
            (HOOK.repeat(33), "33 [[webhook]] and [[mail]]"),
            ("notify.mention_field = ''".into(), "mention_field is empty"),
            (MAIL.replace("{user}", "{from}"), "\"m\": to is no address"),
            (
                MAIL.replace("to = ", "subject = "),
                "\"m\": to is no address",
            ),
            (in_mail("text = ''"), "\"m\": text is empty"),
            (in_mail("subject = '{who}'"), "there are {user}"),
            (MAIL.replace("host", "user"), "go together"),
            (in_smtp("user = 'u'"), "go together"),
            (MAIL.replace("mail.example", ""), "set smtp.host"),
            (MAIL.replace("chat@", "chat"), "smtp.from is no address"),
            (in_smtp("timeout = '0s'"), "[smtp]: timeout is 0s"),
            (
                in_smtp("tls = 'none'\nuser = 'u'\npassword = 'p'"),
                "in the clear",
            ),
        ] {
            let error = of(&file).unwrap_err();
            assert!(error.contains(named), "{file}: {error}");
        }
        let here = in_smtp("tls = 'none'\nuser = 'u'\npassword = 'p'");
        assert!(of(&here.replace("mail.example", "127.0.0.1")).is_ok());
    }

    #[test]
    fn secrets_are_not_printed() {
        let mail = MAIL.replace("[[mail]]", "user = 'u'\npassword = 'nobody sees'\n[[mail]]");
        let settings = of(&format!("{mail}{HOOK}secret = 'a secret that nobody sees'"));
        let printed = format!("{:?}", settings.unwrap());
        assert!(!printed.contains("nobody sees"), "{printed}");
    }

    #[test]
    fn the_documented_example_states_the_defaults() {
        let example = include_str!("../../hioload-server.toml");
        let ours = |block: &&str| {
            ["# [[webhook]]", "# [[mail]]"]
                .iter()
                .any(|one| block.contains(one))
        };
        let blocks = example.split("\n\n").filter(ours);
        let mut documented = String::from("smtp.host = 'h'\nsmtp.from = 'a@b.example'\n");
        for block in blocks {
            let lines = block.lines().filter_map(|line| line.strip_prefix("# "));
            let lines = lines.skip_while(|line| !line.starts_with('['));
            lines.for_each(|line| documented.extend([line, "\n"]));
        }
        let least = "smtp.host = 'h'\nsmtp.from = 'a@b.example'\n\
                     [[webhook]]\nname = 'app'\nurl = 'https://example.org/hook'\n\
                     events = ['mention']\n\
                     [[mail]]\nname = 'mentions'\nto = '{user}@example.org'\n\
                     events = ['mention']\n";
        assert_eq!(of(&documented).unwrap(), of(least).unwrap());
        for field in ["batch_wait", "queue_bytes", "interval", "backoff_max"] {
            assert!(documented.contains(field), "{field}");
        }
    }
}
