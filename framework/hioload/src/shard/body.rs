//! Bodies of plain requests: collected for the app, or handed on in parts.

use hioload_platform::Token;
use hioload_protocol::body::{BodyDecoder, BodyLength};
use hioload_protocol::handshake::{self, Parsed, Refusal};

use super::chain::Stage;
use super::context::Context;
use super::core::ShardCore;
use super::http::Next;
use super::link::{Flags, Link};
use super::slab::Entry;
use crate::app::{App, Conn};
use crate::http::{BodyPart, Request, Response, Taking};

/// RFC 9110 section 15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Body {
    decoder: BodyDecoder,
    keep_alive: bool,
    head_only: bool,
    taken: Taken,
}

/// What becomes of it.
#[derive(Debug)]
enum Taken {
    /// It is kept, and the head it belongs to: together at most `max_head` and
    /// `max_body`, counted in [`Context::held`].
    Collected { head: Vec<u8>, body: Vec<u8> },
    /// The app has it. `ended`: it knows that it was all.
    Streamed { ended: bool },
}

/// What to do after some bytes of a body.
enum Step {
    Wait,
    Part(std::ops::Range<usize>),
    Collected,
    Refuse(Refusal),
}

impl<A: App> ShardCore<A> {
    /// A head that announces a body: asks the app how to take it. `bytes` are
    /// those of the head.
    pub(super) fn begin_body(
        &mut self,
        token: Token,
        request: &Request<'_>,
        head: &handshake::Request<'_>,
        (length, bytes): (BodyLength, &[u8]),
    ) -> Next<A::State> {
        let mut state = A::State::default();
        let taking = self.app.upload(request, &mut state).0;
        let keep_alive = head.keep_alive() && !self.stopping.is_stopping();
        let (limit, taken) = match taking {
            Taking::Answer(answer) => {
                let mut response = Vec::new();
                answer.write(head.method() == "HEAD", false, &mut response);
                return Next::Plain {
                    response,
                    keep_alive: false,
                };
            }
            Taking::Collect if length == BodyLength::Counted(0) => {
                return self.plain(request, head);
            }
            Taking::Collect => (
                self.cx.rules.max_body as u64,
                Taken::Collected {
                    head: bytes.to_vec(),
                    body: Vec::new(),
                },
            ),
            Taking::Stream(limit) => (limit, Taken::Streamed { ended: false }),
        };
        let decoder = match BodyDecoder::new(length, limit) {
            Ok(decoder) => decoder,
            Err(refusal) => return Next::Refused(refusal),
        };
        let continues = head.expects_continue() && !decoder.is_done();
        let Some(entry) = self.slab.get(token) else {
            return Next::Body;
        };
        let (link, cx) = (&mut entry.link, &mut self.cx);
        if let Taken::Streamed { .. } = taken {
            entry.state = state;
            link.set(Flags::UPLOAD);
        }
        let body = Body {
            decoder,
            keep_alive,
            head_only: head.method() == "HEAD",
            taken,
        };
        link.begin_body(body, cx);
        if continues {
            link.outbox.append(CONTINUE, &mut cx.outboxes);
            link.touch(cx);
        }
        Next::Body
    }

    /// Consumes bytes of a body, up to the end of one part; returns how many.
    pub(super) fn body_bytes(&mut self, token: Token, bytes: &[u8]) -> usize {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return bytes.len();
        };
        let (consumed, step) = link.take_body(bytes, &mut self.cx);
        match step {
            Step::Wait => {}
            Step::Part(data) => self.tell_body(token, BodyPart::Bytes(&bytes[data])),
            Step::Collected => self.collected(token),
            Step::Refuse(refusal) => {
                self.upload_ended(token);
                self.refuse(token, &refusal);
                return bytes.len();
            }
        }
        self.end_body(token);
        consumed
    }

    /// A collected body is whole: answers its request.
    fn collected(&mut self, token: Token) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        let Stage::Http(http) = &mut link.stage else {
            return;
        };
        let direct = http.peer;
        let client = link.peer();
        let Some(Body {
            taken: Taken::Collected { head, body },
            ..
        }) = link.take_whole(&mut self.cx)
        else {
            return;
        };
        // The same bytes, under rules that may have become stricter meanwhile.
        let next = match handshake::parse_request(&head, &self.cx.rules.head) {
            Ok(Parsed::Complete { value, .. }) => {
                let request = Request::new(&value, client, direct, self.cx.now).with_body(&body);
                self.plain(&request, &value)
            }
            Ok(Parsed::Partial) => Next::Refused(Refusal::Internal),
            Err(refusal) => Next::Refused(refusal),
        };
        self.apply(token, next);
    }

    /// Tells the app of the end of a streamed body, once that is all and
    /// reading is not paused.
    pub(super) fn end_body(&mut self, token: Token) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        if !link.owes_body_end() || link.is_paused() {
            return;
        }
        if let Stage::Http(http) = &mut link.stage
            && let Some(body) = &mut http.body
        {
            body.taken = Taken::Streamed { ended: true };
        }
        // The next request waits for this one's answer.
        link.pause(Flags::PAUSED_ANSWER, &mut self.cx);
        link.arm_body(&mut self.cx);
        self.tell_body(token, BodyPart::End);
    }

    fn tell_body(&mut self, token: Token, part: BodyPart<'_>) {
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        if !link.is(Flags::UPLOAD) {
            return;
        }
        let cx = &mut self.cx;
        self.app.body(&mut Conn { link, cx }, state, part);
        self.deliver();
    }

    /// Reading was resumed, or an upload answered.
    pub(super) fn body_resumed(&mut self, token: Token) {
        self.end_body(token);
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        if link.is(Flags::ANSWERED) {
            link.unset(Flags::ANSWERED);
            // Another request may have come in the same bytes.
            if !link.is_reachable() {
                *state = A::State::default();
            }
            if self.stopping.is_stopping() && link.is_between_requests() {
                link.finish(&mut self.cx);
            }
        }
    }

    /// The connection ends, and what the app had of a body is all it gets.
    pub(super) fn upload_ended(&mut self, token: Token) {
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        if !link.is(Flags::UPLOAD) {
            return;
        }
        let cx = &mut self.cx;
        // What it does about the end is not given up with the rest.
        link.detach_all(cx);
        // Nor can it be answered.
        link.drop_body(cx);
        self.app
            .body(&mut Conn { link, cx }, state, BodyPart::Aborted);
        link.unset(Flags::UPLOAD);
        *state = A::State::default();
        self.deliver();
    }

    /// The timer has fired on a body that is not answered yet; whether there
    /// is one.
    pub(super) fn body_timeout(&mut self, token: Token) -> bool {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return false;
        };
        if !link.has_body() {
            return false;
        }
        let refusal = if link.is(Flags::PAUSED_ANSWER) {
            tracing::error!("the app has not answered an upload within the body timeout");
            Refusal::Internal
        } else if link.is(Flags::PAUSED_BY_APP | Flags::PAUSED_CONGESTED) {
            // Not read from, through no fault of the peer.
            link.arm_body(&mut self.cx);
            return true;
        } else {
            Refusal::Timeout
        };
        self.upload_ended(token);
        self.refuse(token, &refusal);
        true
    }
}

impl Link {
    fn begin_body(&mut self, body: Body, cx: &mut Context) {
        let Stage::Http(http) = &mut self.stage else {
            return;
        };
        if let Taken::Collected { head, .. } = &body.taken {
            cx.held += head.capacity();
        }
        http.body = Some(Box::new(body));
        self.arm_body(cx);
    }

    fn arm_body(&mut self, cx: &mut Context) {
        self.arm(cx.now.saturating_add(cx.rules.body_timeout), cx);
    }

    /// Whether a request's body is on its way, or waits for its answer.
    pub(super) fn has_body(&self) -> bool {
        matches!(&self.stage, Stage::Http(http) if http.body.is_some())
    }

    /// Whether it has had an answer, and its client knows that this server was
    /// there.
    pub(super) fn was_answered(&self) -> bool {
        matches!(&self.stage, Stage::Http(http) if http.answered)
    }

    pub(super) fn is_between_requests(&self) -> bool {
        matches!(&self.stage, Stage::Http(http) if http.partial.is_empty() && http.body.is_none())
    }

    /// Whether a streamed body is whole and its answer is to come.
    pub(super) fn is_answered_later(&self) -> bool {
        self.is(Flags::PAUSED_ANSWER) || self.owes_body_end()
    }

    /// Whether the app has yet to hear that a streamed body is whole.
    pub(super) fn owes_body_end(&self) -> bool {
        let Stage::Http(http) = &self.stage else {
            return false;
        };
        let streamed = |body: &Body| {
            matches!(body.taken, Taken::Streamed { ended: false }) && body.decoder.is_done()
        };
        http.body.as_deref().is_some_and(streamed)
    }

    /// Whether the app may hear of it and answer: an open WebSocket, or a
    /// request whose body it streams.
    pub(crate) fn is_reachable(&self) -> bool {
        self.is(Flags::APP_OPEN | Flags::UPLOAD)
    }

    fn take_body(&mut self, bytes: &[u8], cx: &mut Context) -> (usize, Step) {
        let Stage::Http(http) = &mut self.stage else {
            return (bytes.len(), Step::Wait);
        };
        let Some(body) = http.body.as_deref_mut() else {
            return (0, Step::Wait);
        };
        let decoded = match body.decoder.decode(bytes) {
            Ok(decoded) => decoded,
            Err(refusal) => return (bytes.len(), Step::Refuse(refusal)),
        };
        let left = body.decoder.left();
        let step = match &mut body.taken {
            Taken::Collected { body, .. } => {
                let data = &bytes[decoded.data];
                cx.held += keep(body, data, left);
                if cx.held > cx.rules.send_memory {
                    Step::Refuse(Refusal::Unavailable)
                } else if decoded.done {
                    Step::Collected
                } else {
                    Step::Wait
                }
            }
            Taken::Streamed { .. } => {
                self.arm_body(cx);
                if decoded.data.is_empty() {
                    Step::Wait
                } else {
                    Step::Part(decoded.data)
                }
            }
        };
        (decoded.consumed, step)
    }

    /// The body, which is not kept any longer.
    fn take_whole(&mut self, cx: &mut Context) -> Option<Body> {
        let Stage::Http(http) = &mut self.stage else {
            return None;
        };
        let body = *http.body.take()?;
        if let Taken::Collected { head, body } = &body.taken {
            cx.held -= head.capacity() + body.capacity();
        }
        Some(body)
    }

    /// Forgets a body that is not wanted any more.
    pub(super) fn drop_body(&mut self, cx: &mut Context) {
        drop(self.take_whole(cx));
    }

    /// Answers an upload; false if there is none (any more).
    pub(crate) fn answer_upload(&mut self, answer: &Response, cx: &mut Context) -> bool {
        if !self.is(Flags::UPLOAD) {
            return false;
        }
        let Some(body) = self.take_whole(cx) else {
            return false;
        };
        self.unset(Flags::UPLOAD);
        self.set(Flags::ANSWERED);
        self.detach_all(cx);
        // What is left of a body that was answered early is not understood.
        let keep_alive = body.keep_alive && body.decoder.is_done() && !answer.is_stream();
        let mut response = Vec::new();
        answer.write(body.head_only, keep_alive, &mut response);
        self.outbox.append(&response, &mut cx.outboxes);
        cx.metrics().http_requests.add(1);
        self.touch(cx);
        if keep_alive {
            self.arm(cx.now.saturating_add(cx.rules.handshake_timeout), cx);
            self.note_pending(cx);
        } else {
            self.finish(cx);
        }
        self.resume(Flags::PAUSED_ANSWER | Flags::PAUSED_BY_APP, cx);
        cx.resumed.push(self.token());
        true
    }
}

/// Keeps data of a body; returns by how much its memory has grown. It grows to
/// what is needed by doubling, but not beyond what may come.
fn keep(body: &mut Vec<u8>, data: &[u8], left: u64) -> usize {
    let before = body.capacity();
    let needed = body.len() + data.len();
    if needed > before {
        let most = needed.saturating_add(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = (2 * before).clamp(needed, most);
        body.reserve_exact(wanted - body.len());
    }
    body.extend_from_slice(data);
    body.capacity() - before
}
