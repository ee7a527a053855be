//! A scripted client: what it says, what it sees, how fast it reads.

mod stage;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use hioload_platform::Nanos;
use hioload_platform::backend::sim::SimPeer;
use hioload_platform::clock::nanos;
use hioload_protocol::{CloseCode, DeflateConfig, Kind, Limits, MaskKeys, Resources};

use stage::{Progress, Speech, Stage};

/// Bytes one read takes at most.
const READ: usize = 4096;

/// What a client sees, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// The server granted the WebSocket.
    Open,
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping; its pong is on the way.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A Close frame; its answer is on the way, if one is due.
    Closed(u16, String),
    /// The connection is over: the last thing seen.
    Ended(End),
}

/// How a connection ended for its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The server ended its sending direction.
    Eof,
    /// The connection failed: refused, reset, timed out.
    Failed(io::ErrorKind),
    /// The server answered something else than a WebSocket, or violated the
    /// protocol: this says how.
    Wrong(String),
    /// The client left by itself, in whatever way.
    Left,
    /// A fault of the network has silently taken the client away.
    Gone,
}

/// How a client reads.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Freely,
    Slowly { bytes: usize, every: Nanos },
    Not,
}

/// A client of a simulated server. What it is told to say leaves in order as
/// the network takes it, while the simulation runs.
#[derive(Debug)]
pub struct Client {
    /// Until the connection is over.
    peer: Option<SimPeer>,
    stage: Stage,
    resources: Resources,
    output: VecDeque<u8>,
    seen: VecDeque<Seen>,
    /// What was seen since the simulation last looked.
    fresh: Vec<Seen>,
    end: Option<End>,
    reading: Reading,
    next_read: Nanos,
    half_closing: bool,
    /// When it last looked at the network and found nothing to do.
    idle_at: Option<Nanos>,
}

impl Client {
    /// A client that has begun to connect.
    pub(super) fn new(
        peer: io::Result<SimPeer>,
        path: &str,
        deflate: Option<&DeflateConfig>,
        seed: u64,
    ) -> Self {
        let mut resources = Resources::new(
            Limits::default(),
            MaskKeys::from_seed(seed),
            deflate.copied().unwrap_or_default(),
        );
        let mut output = Vec::new();
        let stage = Stage::ask(path, deflate, &mut resources, &mut output);
        let mut client = Self {
            peer: None,
            stage,
            resources,
            output: output.into(),
            seen: VecDeque::new(),
            fresh: Vec::new(),
            end: None,
            reading: Reading::Freely,
            next_read: 0,
            half_closing: false,
            idle_at: None,
        };
        match peer {
            Ok(peer) => client.peer = Some(peer),
            Err(error) => client.over(End::Failed(error.kind())),
        }
        client
    }

    /// Sends a text message. Before the WebSocket is open it waits; after a
    /// Close frame it is dropped.
    pub fn text(&mut self, text: &str) {
        self.say(Speech::Message(Kind::Text, text.as_bytes().to_vec()));
    }

    /// Sends a binary message.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.say(Speech::Message(Kind::Binary, bytes.to_vec()));
    }

    /// Sends a ping of at most 125 bytes.
    pub fn ping(&mut self, payload: &[u8]) {
        self.say(Speech::Ping(payload.to_vec()));
    }

    /// Starts the close handshake; the connection ends when the server ends
    /// it.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.say(Speech::Close(code, reason.to_owned()));
    }

    /// Sends bytes that need not be valid.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
        self.idle_at = None;
    }

    fn say(&mut self, what: Speech) {
        let mut bytes = Vec::new();
        self.stage.say(what, &mut self.resources, &mut bytes);
        self.raw(&bytes);
    }

    /// Ends the sending direction once everything said has left, and reads on.
    pub fn half_close(&mut self) {
        self.half_closing = true;
        self.idle_at = None;
    }

    /// Closes the connection without a Close frame.
    pub fn leave(&mut self) {
        self.over(End::Left);
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.reset();
        }
        self.over(End::Left);
    }

    /// Is silently gone, as a machine that lost its power.
    pub fn vanish(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.vanish();
        }
        self.over(End::Left);
    }

    /// From now on reads at most `bytes`, then nothing for a while.
    ///
    /// # Panics
    /// When `bytes` is 0; see [`read_nothing`](Self::read_nothing).
    pub fn read_slowly(&mut self, bytes: usize, every: Duration) {
        assert!(bytes > 0, "slow, not never");
        let every = nanos(every);
        self.reading = Reading::Slowly { bytes, every };
        self.idle_at = None;
    }

    /// From now on reads nothing, so that it answers nothing either.
    pub fn read_nothing(&mut self) {
        self.reading = Reading::Not;
    }

    /// From now on reads whatever comes.
    pub fn read_freely(&mut self) {
        self.reading = Reading::Freely;
        self.idle_at = None;
    }

    /// Takes the next thing it saw.
    #[expect(
        clippy::should_implement_trait,
        reason = "there may be more after a None"
    )]
    pub fn next(&mut self) -> Option<Seen> {
        self.seen.pop_front()
    }

    /// Whether messages may be exchanged: granted, and no Close frame yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.end.is_none() && self.stage.is_open()
    }

    /// How it ended, when it has.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Bytes said that the network has not taken.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Whether it may have something to do at `now`, or to tell. What concerns it on the
    /// network happens only when the clock moves.
    pub(super) fn is_ready(&self, now: Nanos) -> bool {
        let busy = self.peer.is_some() && self.idle_at != Some(now);
        busy || !self.fresh.is_empty()
    }

    /// When it has something to do whatever the network does.
    pub(super) fn next_time(&self, now: Nanos) -> Option<Nanos> {
        let waits = self.peer.is_some() && self.next_read > now;
        waits.then_some(self.next_read)
    }

    /// Writes and reads what the network takes and has.
    pub(super) fn act(&mut self, now: Nanos) {
        if let Err(end) = self.try_act(now) {
            self.over(end);
        }
    }

    /// What was seen since the last call; the owner sees it from now on.
    pub(super) fn take_fresh(&mut self) -> Vec<Seen> {
        let fresh = std::mem::take(&mut self.fresh);
        self.seen.extend(fresh.iter().cloned());
        fresh
    }

    fn try_act(&mut self, now: Nanos) -> Result<(), End> {
        let Some(peer) = &self.peer else {
            return Ok(());
        };
        if peer.is_gone() {
            return Err(End::Gone);
        }
        let mut progress = Progress::default();
        if progress.of(peer.try_connected())?.is_some() {
            // What arrived comes first: a server that refuses need not read.
            self.read(now, &mut progress)?;
            self.write(&mut progress)?;
        }
        self.idle_at = (!progress.made()).then_some(now);
        Ok(())
    }

    fn read(&mut self, now: Nanos, progress: &mut Progress) -> Result<(), End> {
        let (most, every) = match self.reading {
            Reading::Freely => (READ, 0),
            Reading::Slowly { bytes, every } => (bytes.min(READ), every),
            Reading::Not => return Ok(()),
        };
        let Some(peer) = self.peer.as_ref().filter(|_| self.next_read <= now) else {
            return Ok(());
        };
        let mut bytes = [0; READ];
        let Some(len) = progress.of(peer.try_read(&mut bytes[..most]))? else {
            return Ok(());
        };
        if len == 0 {
            return Err(End::Eof);
        }
        self.next_read = now + every;
        let mut answers = Vec::new();
        let heard = self.stage.hear(
            bytes[..len].to_vec(),
            &mut self.resources,
            &mut answers,
            &mut self.fresh,
        );
        self.output.extend(answers);
        heard
    }

    fn write(&mut self, progress: &mut Progress) -> Result<(), End> {
        let Some(peer) = &self.peer else {
            return Ok(());
        };
        while !self.output.is_empty() {
            let (front, _) = self.output.as_slices();
            match peer.try_write(front) {
                Ok(taken) => {
                    self.output.drain(..taken);
                    progress.note();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What the server sent before its end is still to be read.
                Err(_) => {
                    self.output.clear();
                    return Ok(());
                }
            }
        }
        if self.half_closing && !self.stage.has_unsaid() {
            self.half_closing = false;
            peer.shutdown();
        }
        Ok(())
    }

    fn over(&mut self, end: End) {
        self.peer = None;
        if self.end.is_none() {
            self.fresh.push(Seen::Ended(end.clone()));
            self.end = Some(end);
        }
    }
}
