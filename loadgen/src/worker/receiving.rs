//! What the server sends, and how connections end.

use std::io;

use hioload_platform::{Driver, RecvEnd, Token};
use hioload_protocol::Event;

use super::{END_OF_STREAM, Worker};
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
                let trouble = self.distrusted(&error);
                self.fail(index, trouble);
            }
            self.broken(index, &error.to_string());
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
            let received = link.receive(input, resources);
            at += received.consumed;
            match received.event {
                None => return,
                Some(Event::Message { kind, payload }) => {
                    let bytes = payload.bytes(input);
                    self.load
                        .received(&mut self.links, index, kind, bytes, self.now);
                    payload.recycle(&mut self.links.resources.pool);
                }
                Some(Event::Ping(payload)) => {
                    payload.recycle(&mut self.links.resources.pool);
                    self.load.pinged(index, self.now);
                    self.links.touch(index);
                }
                Some(Event::Pong(payload)) => {
                    self.load.ponged(index, payload.bytes(input), self.now);
                    payload.recycle(&mut self.links.resources.pool);
                }
                Some(Event::Closed { code, reason, .. }) => {
                    let reason = reason.as_str();
                    let colon = if reason.is_empty() { "" } else { ": " };
                    self.ended(
                        index,
                        &format!("closed by the server, {code}{colon}{reason}"),
                    );
                    return self.await_end(index);
                }
                Some(Event::Failed(error)) => {
                    self.ended(index, &format!("the server broke the protocol: {error}"));
                    return self.await_end(index);
                }
            }
        }
    }

    /// Nothing more is to come on a connection but the end of the stream.
    fn await_end(&mut self, index: usize) {
        self.links.leave(index, Stage::Closing);
        self.links.touch(index);
        let deadline = self.now + END_OF_STREAM;
        let token = self.links.get_mut(index).token;
        self.ending.extend(token.map(|token| (deadline, token)));
    }

    pub(super) fn stream_ended(&mut self, token: Token, end: &RecvEnd) {
        let Some(index) = self.links.find(token) else {
            return;
        };
        let what = match end {
            RecvEnd::Eof => "connection ended without a Close frame".to_owned(),
            RecvEnd::Failed(error) => format!("connection failed: {}", error.kind()),
        };
        self.broken(index, &what);
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
            Err(error) => self.broken(index, &format!("connection failed: {}", error.kind())),
        }
    }
}
