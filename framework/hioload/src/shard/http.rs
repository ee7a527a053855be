//! The HTTP stage: request heads, upgrades, plain answers.

use hioload_platform::Token;
use hioload_protocol::handshake::{self, Parsed, Refusal, Version};
use hioload_protocol::{Connection, DeflateParams, Role};

use super::chain::{HttpStage, Stage};
use super::core::ShardCore;
use super::extras::Kept;
use super::link::Flags;
use super::messages::Opening;
use super::slab::Entry;
use crate::app::App;
use crate::app::upgrade::{Decision, Terms};
use crate::http::{EventStream, Following, Request};
use crate::tls::TlsFailure;

/// What a complete head led to.
pub(super) enum Next<S> {
    /// A WebSocket, after this response.
    WebSocket {
        response: Vec<u8>,
        state: S,
        terms: Terms,
        deflate: Option<DeflateParams>,
        span: Option<tracing::Span>,
    },
    /// A plain response, and whether another request may follow.
    Plain {
        response: Vec<u8>,
        keep_alive: bool,
    },
    /// A body that has begun.
    Body,
    /// An event stream, after this response.
    Stream {
        response: Vec<u8>,
        stream: Box<EventStream>,
    },
    /// A connection of the app that only sends.
    Messages(Box<Opening<S>>),
    Refused(Refusal),
}

impl<A: App> ShardCore<A> {
    /// Consumes up to one request head; returns how many bytes.
    pub(super) fn http_bytes(&mut self, token: Token, bytes: &[u8]) -> usize {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return bytes.len();
        };
        let source = link.source();
        let Stage::Http(http) = &mut link.stage else {
            return 0;
        };
        if http.body.is_some() {
            return self.body_bytes(token, bytes);
        }
        let HttpStage {
            mut partial,
            peer,
            answered,
            ..
        } = std::mem::take(&mut **http);
        let before = partial.len();
        // An empty line that is skipped and one byte more than the limit are
        // enough to refuse it.
        let room = (self.cx.rules.head.max_bytes + 3)
            .saturating_sub(before)
            .min(bytes.len());
        let head = if before == 0 {
            bytes
        } else {
            partial.extend_from_slice(&bytes[..room]);
            &partial
        };
        let (consumed, next) = match handshake::parse_request(head, &self.cx.rules.head) {
            Err(refusal) => (bytes.len(), Next::Refused(refusal)),
            Ok(Parsed::Partial) => {
                if before == 0 {
                    partial.extend_from_slice(bytes);
                }
                **http = HttpStage {
                    partial,
                    peer,
                    answered,
                    body: None,
                };
                return bytes.len();
            }
            Ok(Parsed::Complete { head_len, value }) => {
                **http = HttpStage {
                    partial: Vec::new(),
                    peer,
                    answered: true,
                    body: None,
                };
                let client = self.cx.proxies.client(&value, source);
                self.with(token, |link, _| link.set_client(client));
                let request = Request::new(&value, client, peer, self.cx.now);
                (
                    head_len.saturating_sub(before),
                    self.answer(token, &request, &value, &head[..head_len]),
                )
            }
        };
        self.apply(token, next);
        consumed
    }

    /// Decides on a complete head.
    fn answer(
        &mut self,
        token: Token,
        request: &Request<'_>,
        head: &handshake::Request<'_>,
        bytes: &[u8],
    ) -> Next<A::State> {
        if self.stopping.refuses() && head.wants_upgrade() {
            return Next::Refused(Refusal::Unavailable);
        }
        if head.wants_upgrade() {
            if head.has_body() {
                return Next::Refused(Refusal::PayloadTooLarge);
            }
            return self.upgrade(request, head);
        }
        match head.body_length() {
            None => self.plain(request, head),
            Some(length) => self.begin_body(token, request, head, (length, bytes)),
        }
    }

    /// Answers a plain request that is complete.
    pub(super) fn plain(
        &mut self,
        request: &Request<'_>,
        head: &handshake::Request<'_>,
    ) -> Next<A::State> {
        // The last answer of a server that stops.
        let mut keep_alive = head.keep_alive() && !self.stopping.is_stopping();
        let mut response = Vec::new();
        let mut state = A::State::default();
        let mut answer = self.app.answer(request, &mut state);
        let head_only = head.method() == "HEAD";
        let following = answer.take_stream(request, head_only);
        keep_alive &= following.is_none();
        let in_chunks = matches!(following.as_deref(), Some(Following::Messages(_)));
        let chunked = in_chunks && head.version() == Version::Http11;
        if chunked {
            answer = answer.header("Transfer-Encoding", "chunked");
        }
        answer.write(head_only, keep_alive, &mut response);
        match following.map(|following| *following) {
            None => Next::Plain {
                response,
                keep_alive,
            },
            Some(Following::Events(stream)) => Next::Stream {
                response,
                stream: Box::new(stream),
            },
            // As an upgrade would be.
            Some(Following::Messages(_)) if self.stopping.refuses() => {
                Next::Refused(Refusal::Unavailable)
            }
            Some(Following::Messages(stream)) => Next::Messages(Box::new(Opening {
                head: response,
                chunked,
                stream,
                state,
                span: self.cx.sample(request, None),
            })),
        }
    }

    fn upgrade(&mut self, request: &Request<'_>, head: &handshake::Request<'_>) -> Next<A::State> {
        let accepted = match handshake::accept(head) {
            Ok(accepted) => accepted,
            Err(refusal) => return Next::Refused(refusal),
        };
        let mut state = A::State::default();
        let terms = match self.app.upgrade(request, &mut state).0 {
            Decision::Accept(terms) => terms,
            Decision::Refuse(refusal) => return Next::Refused(refusal),
            Decision::Answer(answer) => {
                let mut response = Vec::new();
                answer.write(false, false, &mut response);
                return Next::Plain {
                    response,
                    keep_alive: false,
                };
            }
        };
        if let Some(chosen) = &terms.protocol
            && !head.protocols().any(|offered| offered == chosen)
        {
            tracing::error!(
                chosen,
                "the app chose a subprotocol the client did not offer"
            );
            return Next::Refused(Refusal::Internal);
        }
        let config = self.cx.rules.deflate.as_ref();
        let agreed = config.and_then(|config| handshake::negotiate_deflate(head, config));
        let extra: Vec<(&str, &str)> = terms
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut response = Vec::new();
        let protocol = terms.protocol.as_deref();
        let written =
            handshake::write_accept(&mut response, &accepted, protocol, agreed.as_ref(), &extra);
        match written {
            Ok(()) => Next::WebSocket {
                response,
                state,
                span: self.cx.sample(request, terms.protocol.as_deref()),
                terms,
                deflate: agreed.map(|agreed| agreed.params()),
            },
            Err(error) => {
                tracing::error!(%error, path = request.path(), "the app's upgrade response is invalid");
                Next::Refused(Refusal::Internal)
            }
        }
    }

    pub(super) fn apply(&mut self, token: Token, next: Next<A::State>) {
        match next {
            // It may be empty.
            Next::Body => self.end_body(token),
            Next::Refused(refusal) => self.refuse(token, &refusal),
            Next::Stream { response, stream } => self.open_stream(token, response, *stream),
            Next::Messages(opening) => self.open_messages(token, *opening),
            Next::Plain {
                response,
                keep_alive,
            } => {
                self.cx.metrics().http_requests.add(1);
                let deadline = self.cx.now.saturating_add(self.cx.rules.handshake_timeout);
                self.with(token, |link, cx| {
                    link.outbox.append(&response, &mut cx.outboxes);
                    link.touch(cx);
                    if keep_alive {
                        link.arm(deadline, cx);
                        link.note_pending(cx);
                    } else {
                        link.finish(cx);
                    }
                });
            }
            Next::WebSocket {
                response,
                state,
                terms,
                deflate,
                span,
            } => {
                let policy = terms.backpressure.unwrap_or(self.cx.rules.backpressure);
                let kept = Kept {
                    protocol: terms.protocol.map(Into::into),
                    params: terms.params.into(),
                };
                self.with(token, |link, cx| {
                    link.outbox.append(&response, &mut cx.outboxes);
                    link.touch(cx);
                    link.set_backpressure(policy);
                    link.keep(kept);
                    link.set_span(span);
                });
                let websocket = match deflate {
                    Some(agreed) => Connection::with_deflate(Role::Server, agreed),
                    None => Connection::new(Role::Server),
                };
                self.open_websocket(token, state, websocket);
            }
        }
    }

    /// Answers with a refusal and ends the connection.
    pub(super) fn refuse(&mut self, token: Token, refusal: &Refusal) {
        self.cx.metrics().refused(refusal);
        let mut response = Vec::new();
        refusal.write(&mut response);
        self.with(token, |link, cx| {
            link.outbox.append(&response, &mut cx.outboxes);
            link.finish(cx);
        });
    }

    /// No complete head in time: a started one is told so, silence is not.
    pub(super) fn http_timeout(&mut self, token: Token) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        if link.is_proxied() {
            self.proxy_timeout(token);
            return;
        }
        if link.fail_handshake(TlsFailure::Timeout, &self.cx) {
            return self.lost(token);
        }
        if self.body_timeout(token) {
            return;
        }
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        let started = matches!(&link.stage, Stage::Http(http) if !http.partial.is_empty());
        if started {
            self.refuse(token, &Refusal::Timeout);
        } else if link.pending() == 0 || link.is(Flags::EOF) {
            self.lost(token);
        } else {
            self.with(token, |link, cx| link.finish(cx));
        }
    }
}
