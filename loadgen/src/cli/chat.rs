//! The options of `chat`.

use clap::{Args, ValueEnum};

use hioload_platform::Nanos;
use hioload_protocol::Kind;

use super::span::spread;
use super::{MAX_CONNECTIONS, Run, duration};
use crate::centrifugo::{Dialect, Login};
use crate::chat::{Talk, popularity};
use crate::heard::MAX_ROOMS;
use crate::payload::stamp_len;
use crate::settings::{Load, Settings};
use crate::size::Sizes;
use crate::spread::Spread;

/// The most pairs of users that hear each other, of which each costs some 64
/// bytes: 1 GiB.
const MAX_PAIRS: f64 = (16 << 20) as f64;

#[derive(Debug, Args)]
pub(super) struct Chat {
    /// The server's endpoint; with the protocol `broadcast`, `{topic}` becomes
    /// the room's name [default: ws://127.0.0.1:8000/broadcast/{topic}, or
    /// ws://127.0.0.1:8000/connection/websocket]
    #[arg(long)]
    url: Option<String>,
    /// What the server speaks.
    #[arg(long, value_enum, default_value_t)]
    protocol: Protocol,
    #[command(flatten)]
    client: Client,
    /// Users, each with one connection at a time.
    #[arg(long, short, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=i64::from(MAX_CONNECTIONS)))]
    users: u32,
    /// Rooms, of mixed sizes: the second is chosen half as often as the first,
    /// the third a third as often, and so on.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ROOMS)))]
    rooms: u32,
    /// Time between two messages of a user: any from the first to the second,
    /// or, for a single time, exponential with that mean. Planned from one
    /// message to the next, however long the server takes (an open loop);
    /// latency counts from the planned time to each receipt.
    #[arg(long, default_value = "1s..10s", value_name = "TIME[..TIME]", value_parser = spread)]
    think: Spread,
    /// How long a user stays in a room before it enters another, as --think.
    #[arg(long, default_value = "10s..60s", value_name = "TIME[..TIME]", value_parser = spread)]
    stay: Spread,
    /// Who must receive a message: the users that were in its room from this
    /// long before its planned time (the end of their handshake counts) until
    /// this long after (the begin of their close handshake). Nearer to a join or
    /// a leave, a receipt is verified but not demanded. A user that still misses
    /// messages when it is to leave stays until they have come, at most for the
    /// --drain-timeout: then they are lost. A server that goes on for longer than
    /// this after the handshake before it delivers to a connection is seen to lose
    /// messages.
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = duration)]
    grace: Nanos,
    /// Payload bytes of a message, or a range to choose from at random. At
    /// least 32, or 64 with --text: a receiver recognises room, user, sequence
    /// and planned time by them.
    #[arg(long, short, default_value = "64..512", value_name = "BYTES|MIN..MAX")]
    size: Sizes,
    #[command(flatten)]
    run: Run,
}

/// What a chat server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// Messages as they are go to all others with the same URL: entering a room
    /// opens a connection, leaving closes it.
    #[default]
    Broadcast,
    /// Centrifugo's client protocol in JSON: a room is a channel, and
    /// connections stay while users subscribe and unsubscribe. Messages are
    /// text, and come back to their publisher as well.
    Centrifugo,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "With --protocol centrifugo")]
struct Client {
    /// Sign a token (JWT, HS256) with this for each user. Without it and
    /// without --token users come without one, and are anonymous.
    #[arg(long, value_name = "SECRET", conflicts_with = "token")]
    token_secret: Option<String>,
    /// The token of all users.
    #[arg(long, value_name = "JWT")]
    token: Option<String>,
    /// Namespace of the channels: `chat` makes channels `chat:...`.
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    namespace: Option<String>,
    /// Have publications numbered by the server; each user checks that there is
    /// no gap.
    #[arg(long)]
    positioned: bool,
    /// Ask for subscriptions that can be recovered; they are numbered as well.
    #[arg(long)]
    recoverable: bool,
    /// Ask to be told who comes and goes.
    #[arg(long)]
    join_leave: bool,
    /// Have one in N joins and messages, chosen at random, followed by a
    /// question for the channel's history, which is verified.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    history_every: Option<u32>,
    /// Publications asked for with it, the latest ones [default: 50]
    #[arg(long, value_name = "N", requires = "history_every", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    history_limit: Option<u32>,
    /// Have one in N joins and messages, chosen at random, followed by a
    /// question for who is in the channel.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    presence_every: Option<u32>,
}

/// A namespace, of letters that channels and JSON take as they are.
fn namespace(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let fine = (1..=100).contains(&text.len()) && text.chars().all(is_plain);
    let wrong = "a namespace has 1 to 100 letters, digits, '-', '_' or '.'";
    fine.then(|| text.to_owned()).ok_or_else(|| wrong.into())
}

impl Client {
    /// What the clients do; an error names the first option that needs another
    /// protocol.
    fn dialect(self, protocol: Protocol) -> Result<Option<Dialect>, String> {
        let options = [
            ("--token-secret", self.token_secret.is_some()),
            ("--token", self.token.is_some()),
            ("--namespace", self.namespace.is_some()),
            ("--positioned", self.positioned),
            ("--recoverable", self.recoverable),
            ("--join-leave", self.join_leave),
            ("--history-every", self.history_every.is_some()),
            ("--presence-every", self.presence_every.is_some()),
        ];
        if protocol == Protocol::Broadcast {
            let given = options.iter().find(|(_, given)| *given);
            return given.map_or(Ok(None), |(name, _)| {
                Err(format!("{name} needs --protocol centrifugo"))
            });
        }
        let login = match (self.token_secret, self.token) {
            (Some(secret), _) => Login::Signed(secret.into()),
            (None, Some(token)) => Login::Token(token.into()),
            (None, None) => Login::Anonymous,
        };
        Ok(Some(Dialect {
            namespace: self.namespace,
            login,
            positioned: self.positioned,
            recoverable: self.recoverable,
            join_leave: self.join_leave,
            history_every: self.history_every,
            history_limit: self.history_limit.unwrap_or(50),
            presence_every: self.presence_every,
        }))
    }
}

impl Chat {
    /// Checks what the options mean together.
    pub(super) fn settings(mut self, run: u32) -> Result<Settings, String> {
        let centrifugo = self.client.dialect(self.protocol)?;
        self.run.text |= centrifugo.is_some();
        let url = self.url.unwrap_or_else(|| self.protocol.url().to_owned());
        let kind = if self.run.text {
            Kind::Text
        } else {
            Kind::Binary
        };
        if self.size.min() < stamp_len(kind) {
            return Err(format!(
                "chat messages need at least {} bytes, not {}: a receiver recognises room, user, \
                 sequence and planned time by them",
                stamp_len(kind),
                self.size.min(),
            ));
        }
        if centrifugo.is_none() && self.rooms > 1 && !url.contains("{topic}") {
            return Err(format!("{url}: several rooms need '{{topic}}' in the URL"));
        }
        if self.stay.longest() <= 2 * self.grace {
            return Err(format!(
                "nobody stays long enough to be demanded anything: raise --stay above twice the \
                 --grace of {} ms, or lower that",
                self.grace / 1_000_000
            ));
        }
        if self.think.longest() == 0 {
            return Err("--think must be longer than zero".into());
        }
        let talk = Talk {
            users: self.users as usize,
            rooms: self.rooms as usize,
            think: self.think,
            stay: self.stay,
            grace: self.grace,
        };
        let pairs = pairs(talk);
        if pairs > MAX_PAIRS {
            return Err(format!(
                "{pairs:.0} pairs of users would hear each other, more than {MAX_PAIRS:.0}; use \
                 fewer --users or more --rooms"
            ));
        }
        let settings = (self.run).settings(&url, self.size, Load::Chat(talk), run)?;
        Ok(Settings {
            centrifugo,
            ..settings
        })
    }
}

impl Protocol {
    fn url(self) -> &'static str {
        match self {
            Self::Broadcast => "ws://127.0.0.1:8000/broadcast/{topic}",
            Self::Centrifugo => "ws://127.0.0.1:8000/connection/websocket",
        }
    }
}

/// Pairs of users that hear each other, on average.
fn pairs(talk: Talk) -> f64 {
    let mut before = 0.0;
    let sizes = popularity(talk.rooms).into_vec().into_iter().map(|sum| {
        let share = sum - before;
        before = sum;
        share * talk.users as f64
    });
    sizes.map(|size| size * size).sum()
}

#[cfg(test)]
mod tests {
    use super::super::SECOND;
    use super::*;
    use crate::cli::tests::settings;

    #[test]
    fn one_time_is_exponential_and_two_are_uniform() {
        let chat = settings("chat --think 2s --stay 5s..10s --users 7").unwrap();
        let Load::Chat(talk) = chat.load else {
            panic!("not a chat")
        };
        assert_eq!(talk.think, Spread::Exponential { mean: 2 * SECOND });
        let stay = Spread::Uniform {
            from: 5 * SECOND,
            to: 10 * SECOND,
        };
        assert_eq!(talk.stay, stay);
        assert_eq!(chat.connections(), 7);
    }

    #[test]
    fn impossible_chats_are_refused() {
        for bad in [
            "chat --users 1",
            "chat --rooms 0",
            "chat --size 20",
            "chat --size 40 --text",
            "chat --think 0s",
            "chat --think 5s..1s",
            "chat --stay 500ms..1s",
            "chat --rooms 2 --url ws://127.0.0.1/x",
            "chat --users 100000 --rooms 1",
            "chat --positioned",
            "chat --history-every 5",
            "chat --protocol centrifugo --namespace a:b",
            "chat --protocol centrifugo --token x --token-secret y",
            "chat --protocol centrifugo --history-every 0",
            "chat --protocol centrifugo --history-limit 5",
            "chat --protocol centrifugo --size 40",
            "chat --protocol mqtt",
        ] {
            assert!(settings(bad).is_err(), "{bad} was accepted");
        }
        assert!(settings("chat --users 10000 --rooms 1000").is_ok());
    }

    #[test]
    fn clients_of_the_protocol_are_what_the_options_say() {
        let chat = settings("chat --protocol centrifugo").unwrap();
        let url = chat.target.to_string();
        assert!(url.ends_with("/connection/websocket"), "{url}");
        assert_eq!(chat.kind, Kind::Text);
        let plain = Dialect {
            history_limit: 50,
            ..Dialect::default()
        };
        assert_eq!(chat.centrifugo, Some(plain));
        let line = "chat --protocol centrifugo --token-secret s --namespace n --recoverable \
                    --history-every 5 --history-limit 9 --presence-every 7 --join-leave";
        let dialect = settings(line).unwrap().centrifugo.unwrap();
        assert_eq!(dialect.login, Login::Signed("s".to_owned().into()));
        assert_eq!(dialect.namespace.as_deref(), Some("n"));
        assert!(dialect.recoverable && dialect.join_leave && !dialect.positioned);
        let questions = (dialect.history_every, dialect.presence_every);
        assert_eq!(questions, (Some(5), Some(7)));
        assert_eq!(dialect.history_limit, 9);
        assert_eq!(settings("chat").unwrap().centrifugo, None);
    }
}
