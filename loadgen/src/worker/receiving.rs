//! What the server sends, and how connections end.

use std::io;

use hioload_platform::{Driver, RecvEnd, Token};
use hioload_protocol::Event;

use super::{END_OF_STREAM, Phase, Worker};
use crate::link::Stage;
use crate::load::Workload;

impl<D: Driver, W: Workload> Worker<D, W> {
    pub(super) fn received(&mut self, token: Token, bytes: &mut [u8]) {
        let Some(index) = self.links.find(token) else {
            return;
        };
        let mut plain = std::mem::take(&mut self.plain);
        let Some(received) = self.links.open_sealed(index, bytes, &mut plain) else {
            self.plain = plain;
            return self.opened(index, bytes);
        };
        self.links.touch(index);
        if !plain.is_empty() {
            self.opened(index, &mut plain);
        }
        plain.clear();
        self.plain = plain;
        if let Err(error) = received {
            if matches!(self.links.get_mut(index).stage, Stage::Shaking(_)) {
                let message = self.distrusted(&error);
                self.fail(message);
            }
            self.broken(index, error.to_string());
        }
    }

    /// Bytes as the server wrote them.
    fn opened(&mut self, index: usize, bytes: &mut [u8]) {
        match self.links.get_mut(index).stage {
            Stage::Shaking(_) => {
                if let Some(mut rest) = self.shake(index, bytes) {
                    self.frames(index, &mut rest);
                }
            }
            Stage::Open | Stage::Closing => self.frames(index, bytes),
            Stage::Idle | Stage::Connecting | Stage::Gone => {}
        }
    }

    fn frames(&mut self, index: usize, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let input = &mut bytes[at..];
            let (link, resources) = self.links.split(index);
            let received = link.ws.receive(input, resources, &mut link.outbox);
            at += received.consumed;
            match received.event {
                None => return,
                Some(Event::Message { kind, payload }) => {
                    self.load
                        .received(index, kind, payload.bytes(input), self.now);
                    payload.recycle(&mut self.links.resources.pool);
                }
                Some(Event::Ping(payload) | Event::Pong(payload)) => {
                    payload.recycle(&mut self.links.resources.pool);
                    self.links.touch(index);
                }
                Some(Event::Closed { code, reason, .. }) => {
                    let reason = reason.as_str();
                    let colon = if reason.is_empty() { "" } else { ": " };
                    self.ended(index, || {
                        format!("closed by the server, {code}{colon}{reason}")
                    });
                    self.links.leave(index, Stage::Closing);
                    self.links.touch(index);
                    self.ending.push_back((self.now + END_OF_STREAM, index));
                    return;
                }
                Some(Event::Failed(error)) => {
                    self.ended(index, || format!("the server broke the protocol: {error}"));
                    self.links.leave(index, Stage::Closing);
                    self.links.touch(index);
                    self.ending.push_back((self.now + END_OF_STREAM, index));
                    return;
                }
            }
        }
    }

    pub(super) fn stream_ended(&mut self, token: Token, end: &RecvEnd) {
        let Some(index) = self.links.find(token) else {
            return;
        };
        let what = match end {
            RecvEnd::Eof => "connection ended without a Close frame".to_owned(),
            RecvEnd::Failed(error) => format!("connection failed: {}", error.kind()),
        };
        self.broken(index, what);
    }

    pub(super) fn sent(&mut self, token: Token, outcome: io::Result<usize>) {
        let Some(index) = self.links.find(token) else {
            return;
        };
        match outcome {
            Ok(bytes) => {
                self.links.taken(index, bytes);
                if self.links.get_mut(index).has_more() {
                    self.links.touch(index);
                }
                self.load.unblocked(index);
            }
            Err(error) => self.broken(index, format!("connection failed: {}", error.kind())),
        }
    }

    /// The transport is gone: whether that was to be expected depends on how
    /// far the connection is.
    pub(super) fn broken(&mut self, index: usize, what: String) {
        let link = self.links.get_mut(index);
        match link.stage {
            Stage::Shaking(_) => {
                let server = &self.settings.target;
                let message = format!("{server}: {what} during the handshake");
                self.fail(message);
            }
            Stage::Open => self.ended(index, || what),
            Stage::Closing if !link.ws.is_closed() => {
                self.load.tally_mut().faults.unclean += 1;
            }
            Stage::Closing | Stage::Idle | Stage::Connecting | Stage::Gone => {}
        }
        self.discard(index);
    }

    /// An open connection ended before its time.
    fn ended(&mut self, index: usize, cause: impl FnOnce() -> String) {
        if self.links.is_open(index) {
            if self.phase == Phase::Opening {
                let message = format!("{}: {} at once", self.settings.target, cause());
                return self.fail(message);
            }
            self.load.tally_mut().faults.closed(cause());
            self.load.ended(index);
        }
    }

    /// Closes sockets whose server does not end the stream after the close
    /// handshake.
    pub(super) fn give_up_ended(&mut self) {
        while let Some(&(deadline, index)) = self.ending.front() {
            if deadline > self.now {
                break;
            }
            self.ending.pop_front();
            self.discard(index);
        }
    }
}
