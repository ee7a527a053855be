//! The options of `chat`.

use clap::Args;

use hioload_platform::Nanos;
use hioload_protocol::Kind;

use super::span::spread;
use super::{MAX_CONNECTIONS, Run, duration};
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
    /// The server's broadcast endpoint; `{topic}` becomes the room's name.
    #[arg(long, default_value = "ws://127.0.0.1:8000/broadcast/{topic}")]
    url: String,
    /// Users, each with one connection: entering a room opens it, leaving
    /// closes it.
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

impl Chat {
    /// Checks what the options mean together.
    pub(super) fn settings(self, run: u32) -> Result<Settings, String> {
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
        if self.rooms > 1 && !self.url.contains("{topic}") {
            return Err(format!(
                "{}: several rooms need '{{topic}}' in the URL",
                self.url
            ));
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
        self.run
            .settings(&self.url, self.size, Load::Chat(talk), run)
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
        ] {
            assert!(settings(bad).is_err(), "{bad} was accepted");
        }
        assert!(settings("chat --users 10000 --rooms 1000").is_ok());
    }
}
