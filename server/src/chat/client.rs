//! What a shard knows of a connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hioload::Nanos;
use hioload::timer::Timer;
use hioload_centrifugo::{ClientInfo, Disconnect, Encoding, Recover, Subscribed, Until};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::MAX_FRAME;
use super::application::Line;
use super::chains::Known;
use super::rates::Rates;
use super::seats::Seat;
use crate::notify::Doer;
use crate::proxy::Headers;

/// Bytes of frames that a client may send before it is let in: those of one frame
/// of subscriptions, and of a few small ones.
const MAX_HELD: usize = MAX_FRAME + (8 << 10);

/// A connection and its subscriptions.
#[derive(Debug)]
pub(crate) struct Client {
    /// Names the connection to everybody.
    pub(super) id: Arc<str>,
    pub(super) encoding: Encoding,
    pub(super) stage: Stage,
    /// Empty: nobody in particular.
    pub(super) user: Arc<str>,
    /// From the token, told to others.
    pub(super) info: Option<Box<RawValue>>,
    /// By channel; bounded by `client.max_channels`.
    pub(super) subs: HashMap<Box<str>, Sub>,
    pub(super) ping: PingState,
    /// Counts it among its user's connections.
    pub(super) seat: Option<Seat>,
    pub(super) rates: Rates,
    /// Questions to homes that are not answered yet.
    pub(super) asks: u32,
    /// Publications that are not safe yet.
    pub(super) publishing: u32,
    /// What of its request the application is told, where it wants it.
    pub(super) headers: Option<Headers>,
    /// Events for the application that are not answered yet.
    pub(super) proxied: u32,
    /// The channels with publications among them.
    pub(super) lines: Vec<Line>,
    /// Subscriptions that the application decides about; bounded with those
    /// that there are.
    pub(super) wanted: Vec<Wanted>,
    /// Those that it ever decided about.
    pub(super) tickets: u64,
    /// Whether the application let it in, and not a token.
    pub(super) by_application: bool,
    /// When what the token granted ends, with the delay for a new one.
    pub(super) expires: Option<Nanos>,
    /// Of one that cannot upgrade.
    pub(super) stream: Option<Box<Streamed>>,
    /// The one timer, when it is due, and its key.
    pub(super) timer: Option<(Timer, Nanos)>,
    pub(super) key: u64,
}

/// What a client has that hears a stream, and posts what it says.
#[derive(Debug)]
pub(super) struct Streamed {
    /// As the application is told of it.
    pub(super) transport: &'static str,
    /// The secret that lets requests speak for it.
    pub(super) session: Box<str>,
    /// Its first frame, until that is read.
    pub(super) first: Box<[u8]>,
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// It has not asked to be let in; it must until then.
    New { until: Nanos },
    /// The application is asked whether to let it in.
    Asking(Box<Asking>),
    /// It is in, and waits for the beginnings of the server's subscriptions.
    Connecting(Box<Connecting>),
    /// It is in.
    In,
    /// It was refused, and may only leave; it must until then.
    Refused { until: Nanos },
}

/// A connect command that the application is asked about.
#[derive(Debug)]
pub(super) struct Asking {
    /// It must be answered until then.
    pub(super) until: Nanos,
    /// What the client went on to ask for, as SDKs do; bounded by [`Asking::hold`].
    pub(super) held: Vec<Held>,
    bytes: usize,
}

/// A frame of commands, of which the first ones are done.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) frame: Box<[u8]>,
    pub(super) done: usize,
}

impl Asking {
    pub(super) fn until(until: Nanos) -> Self {
        Self {
            until,
            held: Vec::new(),
            bytes: 0,
        }
    }

    /// Keeps a frame until the answer.
    pub(super) fn hold(&mut self, frame: &[u8], done: usize) -> Result<(), Disconnect> {
        self.bytes += frame.len() + size_of::<Held>();
        if self.bytes > MAX_HELD {
            return Err(Disconnect::TooManyRequests);
        }
        let frame = frame.into();
        self.held.push(Held { frame, done });
        Ok(())
    }
}

/// A connect command that is not answered yet.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) command: u32,
    pub(super) until: Until,
    /// What the application says with it.
    pub(super) data: Option<Box<RawValue>>,
    /// Subscriptions that have not begun.
    pub(super) left: usize,
    /// Those that have.
    pub(super) begun: BTreeMap<Box<str>, Subscribed>,
    /// Bytes of publications in them.
    pub(super) bytes: usize,
}

/// The server's pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PingState {
    /// None was sent that was not answered.
    Idle { next: Nanos },
    /// One is to be answered until then.
    Sent { until: Nanos },
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) namespace: usize,
    /// Until the client was told that it has begun.
    pub(super) pending: Option<Box<Pending>>,
    /// Of the last publication given.
    pub(super) offset: u64,
    /// Whether a gap ends it.
    pub(super) positioned: bool,
    /// Of the publication told last, if it is told deltas.
    pub(super) delta: Option<Known>,
    /// A written [`ClientInfo`], with what the subscription's token says.
    pub(super) info: Arc<str>,
    /// When what its token granted ends, with the delay for a new one.
    pub(super) expires: Option<Nanos>,
    /// Whether it is by a token, so that it may be refreshed.
    pub(super) by_token: bool,
    /// Whether the application granted it when it was asked, so that it is asked
    /// again at the end.
    pub(super) by_application: bool,
    /// Whether the server made it: the client does not subscribe again by itself.
    pub(super) by_server: bool,
    /// Whether its beginning was told, so that others know of it.
    pub(super) entered: bool,
    /// Whether others may see that it is there.
    pub(super) presence: bool,
    /// Whether others are told that it comes and goes.
    pub(super) tells: bool,
}

/// A subscription that the application decides about.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) channel: Box<str>,
    /// Whose reply it is.
    pub(super) command: u32,
    /// Tells it from another one of the same channel, before or after it.
    pub(super) ticket: u64,
}

/// A subscription whose beginning was not told yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) asked: Asked,
    /// Publications still to come before it begins.
    pub(super) replays: usize,
    /// The client knows all up to here.
    pub(super) known: u64,
    pub(super) recover: Option<Wish>,
    /// Whether it wants to hear who comes and goes.
    pub(super) hears: bool,
    pub(super) told: Subscribed,
}

/// Who asked for a subscription, and is to be told of its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The client, by a command with this id.
    Client(u32),
    /// The client's token: it is told with the connect command's answer.
    Token,
    /// The application.
    Backend,
}

/// From where a client wants to recover.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) epoch: Box<str>,
    pub(super) offset: u64,
}

impl Wish {
    pub(super) fn of(recover: &Recover<'_>) -> Option<Self> {
        recover.recover.then(|| Self {
            epoch: recover.epoch.as_ref().into(),
            offset: recover.offset,
        })
    }
}

impl Client {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self {
            id: Uuid::new_v4().to_string().into(),
            encoding,
            stage: Stage::New { until: Nanos::MAX },
            user: "".into(),
            info: None,
            subs: HashMap::new(),
            ping: PingState::Idle { next: Nanos::MAX },
            seat: None,
            rates: Rates::default(),
            asks: 0,
            publishing: 0,
            headers: None,
            proxied: 0,
            lines: Vec::new(),
            wanted: Vec::new(),
            tickets: 0,
            by_application: false,
            expires: None,
            stream: None,
            timer: None,
            key: 0,
        }
    }

    /// What it came by, as the application is told.
    pub(super) fn transport(&self) -> &'static str {
        let stream = self.stream.as_ref();
        stream.map_or("websocket", |stream| stream.transport)
    }

    /// Whether commands other than connect are heard.
    pub(super) fn is_in(&self) -> bool {
        matches!(self.stage, Stage::In | Stage::Connecting(_))
    }

    /// Whether it is subscribed and knows it.
    pub(super) fn is_subscribed(&self, channel: &str) -> bool {
        self.subs
            .get(channel)
            .is_some_and(|sub| sub.pending.is_none())
    }

    /// As others are told of it, in a channel whose token says `chan_info`.
    pub(super) fn describe(&self, chan_info: Option<&RawValue>) -> Arc<str> {
        let info = ClientInfo {
            user: &self.user,
            client: &self.id,
            conn_info: self.info.as_deref(),
            chan_info,
        };
        let written = serde_json::to_string(&info);
        written.expect("strings and written JSON").into()
    }

    /// As those are told of it who hear what it does in a channel.
    pub(super) fn doer(&self, channel: &str) -> Doer {
        Doer {
            channel: channel.into(),
            user: self.user.clone(),
            client: self.id.clone(),
        }
    }

    /// When something is to be done about it next.
    pub(super) fn deadline(&self) -> Nanos {
        let stage = match self.stage {
            Stage::New { until } | Stage::Refused { until } => until,
            Stage::Asking(ref asking) => asking.until,
            Stage::Connecting(_) | Stage::In => Nanos::MAX,
        };
        let ping = match self.ping {
            PingState::Idle { next } => next,
            PingState::Sent { until } => until,
        };
        let subs = self.subs.values().filter_map(|sub| sub.expires).min();
        [Some(stage), Some(ping), self.expires, subs]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Nanos::MAX)
    }
}
