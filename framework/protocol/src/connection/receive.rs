//! The receiving half of a connection.

use std::fmt::Write as _;

use crate::arch;
use crate::close::{CloseCode, CloseReason};
use crate::error::ProtocolError;
use crate::frame::{Decoded, Header, OpCode, Whole, decode_header, decode_short, decode_usual};
use crate::limits::Limits;
use crate::mask;
use crate::message::{Content, Event, Kind, MessagePool, Payload, Received};
use crate::output::Output;
use crate::resources::Resources;
use crate::utf8;

use super::assembly::wire_limit;
use super::{Connection, Control, Flags, Phase, Place, Role};

impl Connection {
    /// Reads bytes from the peer, up to and including those of one event.
    ///
    /// `input` is unmasked in place: afterwards its first `consumed` bytes are
    /// not what arrived. Give the rest, `input[consumed..]`, to the next call;
    /// without an event everything was consumed and more is needed.
    ///
    /// Answers that the protocol demands (a pong, the echo of a close, the
    /// Close frame after a violation) go to `out`. Every ping is answered; the
    /// caller bounds how much output may wait.
    ///
    /// After [`Event::Closed`] and [`Event::Failed`], later bytes are consumed
    /// and ignored.
    #[inline]
    pub fn receive(
        &mut self,
        input: &mut [u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Received {
        if self.is_closed() {
            return Received {
                consumed: input.len(),
                event: None,
            };
        }
        if let Some((content, consumed)) = self.receive_whole(input, &resources.limits) {
            let (kind, len) = match content {
                Content::Text(text) => (Kind::Text, text.len()),
                Content::Binary(bytes) => (Kind::Binary, bytes.len()),
            };
            let event = Event::Message {
                kind,
                payload: Payload::Input(consumed - len..consumed),
            };
            return Received {
                consumed,
                event: Some(event),
            };
        }
        match self.advance(input, resources, out) {
            Ok(received) => received,
            Err(error) => {
                let event = Some(self.fail(error, resources, out));
                Received {
                    consumed: input.len(),
                    event,
                }
            }
        }
    }

    /// Reads a message in one frame that lies whole at the start of `input`:
    /// unmasked, and how many bytes of the input it took.
    ///
    /// `None`, nothing having been touched, is anything else, which
    /// [`receive`](Self::receive) reads. It begins with this; to try it first
    /// saves the moves of a large [`Event`] for each of many small messages.
    #[inline]
    pub fn receive_whole<'i>(
        &mut self,
        input: &'i mut [u8],
        limits: &Limits,
    ) -> Option<(Content<'i>, usize)> {
        if !self.place.is_start() || self.is_closed() || self.has_message() {
            return None;
        }
        let masked = self.role() == Role::Server;
        let Some(Whole {
            kind,
            size,
            len,
            mask,
        }) = decode_short(input, masked).filter(|whole| whole.len < mask::VECTOR_FROM as u64)
        else {
            return self.receive_longer(input, limits);
        };
        let len = usize::try_from(len).ok()?;
        if len > limits.max_message {
            return None;
        }
        let payload = input.get_mut(size..size + len)?;
        let content = match kind {
            Kind::Text => match arch::masked_ascii(payload, mask) {
                Ok(text) => Content::Text(text),
                Err(payload) => return short_text(payload, mask, size + len),
            },
            Kind::Binary => {
                let _ascii = arch::apply_scalar(payload, mask);
                Content::Binary(payload)
            }
        };
        Some((content, size + len))
    }

    /// The same for a message that is too long to be unmasked in registers, at
    /// the start of a frame.
    #[inline(never)]
    fn receive_longer<'i>(
        &self,
        input: &'i mut [u8],
        limits: &Limits,
    ) -> Option<(Content<'i>, usize)> {
        let masked = self.role() == Role::Server;
        let Whole {
            kind,
            size,
            len,
            mask,
        } = decode_usual(input, masked).or_else(|| self.decode_whole(input))?;
        let len = usize::try_from(len).ok()?;
        if len > input.len() - size || len > limits.max_message {
            return None;
        }
        let payload = &mut input[size..size + len];
        if masked {
            mask::apply(payload, mask, 0);
        }
        let content = match kind {
            Kind::Binary => Content::Binary(payload),
            Kind::Text => match arch::text(payload) {
                Ok(text) => Content::Text(text),
                Err(payload) => {
                    if masked {
                        // As it was: whoever refuses it reads it again.
                        mask::apply(payload, mask, 0);
                    }
                    return None;
                }
            },
        };
        Some((content, size + len))
    }

    /// The header of a message in one frame, of any length.
    fn decode_whole(&self, input: &[u8]) -> Option<Whole> {
        let Ok(Decoded::Header { header, size }) = self.decode(input) else {
            return None;
        };
        let kind = match (header.fin, header.compressed, header.opcode) {
            (true, false, OpCode::Text) => Kind::Text,
            (true, false, OpCode::Binary) => Kind::Binary,
            _ => return None,
        };
        Some(Whole {
            kind,
            size,
            len: header.len,
            mask: header.mask,
        })
    }

    /// Reads frames until one makes an event or the input ends.
    fn advance(
        &mut self,
        input: &mut [u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<Received, ProtocolError> {
        let mut at = 0;
        loop {
            let opcode = match self.place.frame() {
                Some(opcode) => opcode,
                None => {
                    let Some(header) = self.read_header(input, &mut at)? else {
                        return Ok(Received {
                            consumed: input.len(),
                            event: None,
                        });
                    };
                    self.begin(&header, &resources.limits)?;
                    header.opcode
                }
            };
            let event = if opcode.is_control() {
                self.read_control(opcode, input, &mut at, resources, out)?
            } else {
                self.read_data(opcode, input, &mut at, resources)?
            };
            if event.is_some() {
                return Ok(Received {
                    consumed: at,
                    event,
                });
            }
            if self.place.frame().is_some() {
                debug_assert_eq!(at, input.len(), "an unfinished frame takes all input");
                return Ok(Received {
                    consumed: at,
                    event: None,
                });
            }
        }
    }

    /// Reads a header from `input[*at..]`, or keeps what is there of it.
    #[inline]
    fn read_header(
        &mut self,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Header>, ProtocolError> {
        if !self.place.is_start() {
            return self.read_split_header(input, at);
        }
        match self.decode(&input[*at..])? {
            Decoded::Header { header, size } => {
                *at += size;
                Ok(Some(header))
            }
            Decoded::Partial { .. } if *at == input.len() => Ok(None),
            Decoded::Partial { .. } => self.read_split_header(input, at),
        }
    }

    /// Moves the bytes of a header that is cut by the end of the input, now or
    /// in an earlier call, to its place until it is complete.
    #[cold]
    fn read_split_header(
        &mut self,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Header>, ProtocolError> {
        let Place::Header {
            mut partial,
            mut len,
        } = self.place
        else {
            return Ok(None);
        };
        loop {
            let have = usize::from(len);
            match self.decode(&partial[..have])? {
                Decoded::Header { header, size } => {
                    debug_assert_eq!(size, have);
                    self.place = Place::START;
                    return Ok(Some(header));
                }
                Decoded::Partial { needed } => {
                    let take = (needed - have).min(input.len() - *at);
                    if take == 0 {
                        self.place = Place::Header { partial, len };
                        return Ok(None);
                    }
                    partial[have..have + take].copy_from_slice(&input[*at..*at + take]);
                    #[expect(clippy::cast_possible_truncation, reason = "at most 14")]
                    {
                        len += take as u8;
                    }
                    *at += take;
                }
            }
        }
    }

    #[inline]
    fn decode(&self, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        let masked = self.role() == Role::Server;
        decode_header(bytes, masked, self.receives.is_on())
    }

    /// Checks a frame against the message it belongs to and the limits, before
    /// any of its payload is looked at.
    #[inline]
    fn begin(&mut self, header: &Header, limits: &Limits) -> Result<(), ProtocolError> {
        match header.opcode {
            OpCode::Text | OpCode::Binary => {
                if self.has_message() {
                    return Err(ProtocolError::ExpectedContinuation);
                }
                let limit = limits.max_message;
                if header.len > wire_limit(limit, header.compressed) as u64 {
                    return Err(ProtocolError::FrameTooLarge {
                        len: header.len,
                        limit,
                    });
                }
                self.flags.set(Flags::COMPRESSED, header.compressed);
            }
            OpCode::Continuation => match self.kept.as_mut().and_then(|kept| kept.message.as_mut())
            {
                Some(message) => message.admit(header.len, limits)?,
                None => return Err(ProtocolError::UnexpectedContinuation),
            },
            OpCode::Close | OpCode::Ping | OpCode::Pong => {}
        }
        self.flags.set(Flags::FIN, header.fin);
        self.place = Place::behind(header);
        Ok(())
    }

    /// Takes and unmasks what `input[*at..]` has of the current frame's payload.
    #[inline]
    fn take_payload<'i>(&mut self, input: &'i mut [u8], at: &mut usize) -> &'i mut [u8] {
        let role = self.role();
        let Place::Payload(frame) = &mut self.place else {
            return &mut [];
        };
        let available = input.len() - *at;
        let take = usize::try_from(frame.remaining())
            .unwrap_or(usize::MAX)
            .min(available);
        let payload = &mut input[*at..*at + take];
        if role == Role::Server {
            mask::apply(payload, frame.mask, 0);
            frame.mask = mask::advance(frame.mask, take);
        }
        *at += take;
        frame.took(take);
        if frame.remaining() == 0 {
            self.place = Place::START;
        }
        payload
    }

    #[inline]
    fn read_data(
        &mut self,
        opcode: OpCode,
        input: &mut [u8],
        at: &mut usize,
        resources: &mut Resources,
    ) -> Result<Option<Event>, ProtocolError> {
        let start = *at;
        let kind = if opcode == OpCode::Text {
            Kind::Text
        } else {
            Kind::Binary
        };
        let payload = self.take_payload(input, at);
        if self.flags.has(Flags::COMPRESSED) {
            return self.inflate(kind, payload, resources);
        }
        if self.has_message() || self.place.remaining() != 0 || !self.flags.has(Flags::FIN) {
            return self.assemble(kind, payload, resources);
        }
        check_text(kind, payload)?;
        Ok(Some(Event::Message {
            kind,
            payload: Payload::Input(start..*at),
        }))
    }

    /// Adds `bytes` to the message in the making, which they begin (as one of
    /// `kind`) if there is none.
    fn assemble(
        &mut self,
        kind: Kind,
        bytes: &[u8],
        resources: &mut Resources,
    ) -> Result<Option<Event>, ProtocolError> {
        let remaining = self.place.remaining();
        if bytes.is_empty() && remaining != 0 {
            return Ok(None);
        }
        let message = self
            .kept
            .get_or_insert_with(|| resources.pool.kept())
            .message
            .get_or_insert_with(|| resources.pool.assembly(kind));
        let outstanding = if self.flags.has(Flags::FIN) {
            usize::try_from(remaining).unwrap_or(usize::MAX)
        } else {
            resources
                .limits
                .max_message
                .saturating_sub(message.len() + bytes.len())
        };
        message.append(bytes, outstanding)?;
        if remaining != 0 || !self.flags.has(Flags::FIN) {
            return Ok(None);
        }
        message.finish()?;
        Ok(self.complete(&mut resources.pool))
    }

    /// Hands the assembled message out.
    pub(super) fn complete(&mut self, pool: &mut MessagePool) -> Option<Event> {
        let message = self.take_message(pool)?;
        let kind = message.kind();
        let payload = Payload::Assembled(pool.disassemble(message));
        Some(Event::Message { kind, payload })
    }

    fn read_control(
        &mut self,
        opcode: OpCode,
        input: &mut [u8],
        at: &mut usize,
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<Option<Event>, ProtocolError> {
        let start = *at;
        let bytes = self.take_payload(input, at);
        let remaining = self.place.remaining();
        if remaining == 0 && !self.has_control() {
            let payload = Payload::Input(start..*at);
            return self
                .answer(opcode, bytes, payload, resources, out)
                .map(Some);
        }
        let control = self
            .kept
            .get_or_insert_with(|| resources.pool.kept())
            .control
            .get_or_insert_with(|| Box::new(Control::new()));
        control.append(bytes);
        if remaining != 0 {
            return Ok(None);
        }
        let Some(control) = self.take_control(&mut resources.pool) else {
            return Ok(None);
        };
        let bytes = control.bytes();
        let mut copy = resources.pool.take();
        copy.extend_from_slice(bytes);
        self.answer(opcode, bytes, Payload::Assembled(copy), resources, out)
            .map(Some)
    }

    /// Acts on a complete control frame; `payload` holds `bytes` for the caller.
    fn answer(
        &mut self,
        opcode: OpCode,
        bytes: &[u8],
        payload: Payload,
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<Event, ProtocolError> {
        match opcode {
            OpCode::Ping => {
                if self.phase == Phase::Open {
                    self.write(true, OpCode::Pong, false, bytes, &mut resources.masks, out);
                }
                Ok(Event::Ping(payload))
            }
            OpCode::Pong => Ok(Event::Pong(payload)),
            _ => {
                payload.recycle(&mut resources.pool);
                self.closed_by_peer(bytes, resources, out)
            }
        }
    }

    #[cold]
    fn closed_by_peer(
        &mut self,
        bytes: &[u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<Event, ProtocolError> {
        let (code, reason) = read_close(bytes)?;
        if self.phase == Phase::Open {
            self.write_close(code, &CloseReason::empty(), &mut resources.masks, out);
        }
        self.phase = Phase::Closed;
        let clean = !self.has_message();
        self.release(&mut resources.pool);
        Ok(Event::Closed {
            code,
            reason,
            clean,
        })
    }

    #[cold]
    fn fail(
        &mut self,
        error: ProtocolError,
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Event {
        if self.phase == Phase::Open {
            let mut reason = CloseReason::empty();
            // Fails where the text is cut at 123 bytes, which is what is wanted.
            let _cut = write!(reason, "{error}");
            self.write_close(error.close_code(), &reason, &mut resources.masks, out);
        }
        self.phase = Phase::Failed;
        self.release(&mut resources.pool);
        Event::Failed(error)
    }

    /// Returns what an unfinished message holds: nothing more will be read.
    fn release(&mut self, pool: &mut MessagePool) {
        let message = self.kept.take().and_then(|kept| kept.message);
        if let Some(message) = message {
            let buffer = pool.disassemble(message);
            pool.give_back(buffer);
        }
    }
}

/// The text that these unmasked bytes are, of a message that took so many bytes
/// of the input; else they are masked again, for whoever refuses them reads
/// them again.
#[inline(never)]
fn short_text(bytes: &mut [u8], mask: [u8; 4], size: usize) -> Option<(Content<'_>, usize)> {
    match arch::text(bytes) {
        Ok(text) => Some((Content::Text(text), size)),
        Err(bytes) => {
            mask::apply(bytes, mask, 0);
            None
        }
    }
}

/// Checks the payload of a message that is there whole.
#[inline]
fn check_text(kind: Kind, payload: &[u8]) -> Result<(), ProtocolError> {
    if kind == Kind::Binary || utf8::is_short_ascii(payload) {
        return Ok(());
    }
    match simdutf8::basic::from_utf8(payload) {
        Ok(_) => Ok(()),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

/// Reads the payload of a Close frame (RFC 6455 section 5.5.1).
fn read_close(payload: &[u8]) -> Result<(CloseCode, CloseReason), ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok((CloseCode::NO_STATUS, CloseReason::empty())),
            _ => Err(ProtocolError::BadClosePayload),
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(ProtocolError::BadCloseCode(code.0));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok((code, CloseReason::from(reason))),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}
