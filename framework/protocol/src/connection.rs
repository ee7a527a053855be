//! One WebSocket connection after its handshake, in either role.
//!
//! This file holds the state and the sending half; `receive` holds the
//! receiving half.

mod assembly;
mod flags;
mod inflate;
mod kept;
mod place;
mod receive;
mod takeover;

use crate::close::{CloseCode, CloseReason};
use crate::deflate::{DeflateParams, DeflatePool, Side};
use crate::error::Closing;
use crate::frame::{MAX_CONTROL, MAX_HEADER, OpCode, encode_header, encode_short, mark_compressed};
use crate::mask_keys::MaskKeys;
use crate::message::Kind;
use crate::output::Output;
use crate::resources::Resources;

pub(crate) use assembly::Assembly;
use assembly::Control;
use flags::Flags;
pub(crate) use kept::Kept;
use place::Place;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepted the handshake: receives masked frames, sends unmasked ones.
    Server,
    /// Requested the handshake: sends masked frames, receives unmasked ones.
    Client,
}

/// The protocol state of one connection.
///
/// It owns no buffer while it is idle: 32 bytes and nothing on the heap. A
/// message cut by the end of the input is kept in a pooled buffer until it is
/// complete. Only where context takeover was agreed on does it keep, once it
/// has sent or received a compressed message, a compressor or an inflater.
///
/// # Order of calls
/// After each arrival of bytes, call [`receive`](Self::receive) until it
/// returns no event, then transmit the output. Sending is allowed at any time
/// until this endpoint has sent its Close frame.
///
/// # Not its business
/// Timeouts (see [`keepalive`](crate::keepalive)), also that of the close
/// handshake; how much output may pile up; closing the transport, which is due
/// when [`is_closed`](Self::is_closed) and the output is transmitted.
#[derive(Debug)]
pub struct Connection {
    /// What has arrived in part, and what compressed messages refer back to.
    kept: Option<Box<Kept>>,
    /// Where in a frame the next byte belongs.
    place: Place,
    phase: Phase,
    flags: Flags,
    /// How messages to the peer may be compressed.
    sends: Side,
    /// How messages from the peer may be compressed.
    receives: Side,
}

/// A million idle connections are a goal; their protocol state must stay small.
const _: () = assert!(size_of::<Connection>() <= 32);

/// How far the close handshake is (RFC 6455 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our Close frame is sent, the peer's has not come.
    CloseSent,
    /// Both Close frames are exchanged.
    Closed,
    /// The peer violated the protocol; our Close frame is sent.
    Failed,
}

impl Connection {
    /// A connection whose handshake has just completed.
    pub fn new(role: Role) -> Self {
        Self {
            kept: None,
            place: Place::START,
            phase: Phase::Open,
            flags: Flags::of(role),
            sends: Side::OFF,
            receives: Side::OFF,
        }
    }

    /// A connection whose handshake agreed on permessage-deflate.
    pub fn with_deflate(role: Role, agreed: DeflateParams) -> Self {
        let (sends, receives) = agreed.sides(role);
        Self {
            sends,
            receives,
            ..Self::new(role)
        }
    }

    /// Which end this is.
    #[inline]
    pub fn role(&self) -> Role {
        self.flags.role()
    }

    /// Whether permessage-deflate was agreed on.
    #[inline]
    pub fn has_deflate(&self) -> bool {
        self.receives.is_on()
    }

    /// Whether frames of
    /// [`encode_message_deflated`](crate::encode_message_deflated) may go to
    /// this peer: it is a client whose server does not take its context over,
    /// and its window holds that of the pool's. Every other peer gets messages
    /// by [`send`](Self::send), or uncompressed frames.
    #[inline]
    pub fn takes_shared_deflate(&self, pool: &DeflatePool) -> bool {
        self.role() == Role::Server
            && !self.sends.takeover()
            && self.sends.window_bits() >= pool.config().window_bits
    }

    /// Sends a whole message in one frame, compressed if that was agreed on
    /// and it is large enough. Text must be valid UTF-8, which the
    /// caller knows (it has a `str`) and which is not checked again.
    ///
    /// Not between the fragments of another message.
    ///
    /// # Errors
    /// [`Closing`] after the Close frame was sent.
    #[inline]
    pub fn send(
        &mut self,
        kind: Kind,
        payload: &[u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        debug_assert!(
            !self.flags.has(Flags::SENDING),
            "a fragmented message is not finished"
        );
        if self.phase == Phase::Open
            && self.role() == Role::Server
            && !self.sends.can_compress()
            && let Some(header) = encode_short(kind.into(), payload.len())
        {
            out.frame(&header, payload, None);
            return Ok(());
        }
        self.send_any(kind, payload, resources, out)
    }

    /// Sends a whole message of any length, in either role.
    #[inline(never)]
    fn send_any(
        &mut self,
        kind: Kind,
        payload: &[u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        if self.compresses(payload, resources) {
            return self.send_compressed(kind, payload, resources, out);
        }
        self.send_frame(true, kind.into(), payload, &mut resources.masks, out)
    }

    /// Sends one fragment of a message: `first` begins it, `fin` ends it. A
    /// code point of text may be cut between fragments. Pings, pongs and a
    /// close may come between fragments, other messages may not. The message
    /// is compressed if its first fragment is large enough to be.
    ///
    /// # Errors
    /// [`Closing`] after the Close frame was sent.
    pub fn send_fragment(
        &mut self,
        kind: Kind,
        payload: &[u8],
        first: bool,
        fin: bool,
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        debug_assert_eq!(
            self.flags.has(Flags::SENDING),
            !first,
            "fragments out of order"
        );
        let opcode = if first {
            kind.into()
        } else {
            OpCode::Continuation
        };
        if first {
            let compresses = self.compresses(payload, resources);
            self.flags.set(Flags::COMPRESSING, compresses);
        }
        if self.flags.has(Flags::COMPRESSING) {
            self.send_compressed_fragment(opcode, payload, fin, resources, out)?;
        } else {
            self.send_frame(fin, opcode, payload, &mut resources.masks, out)?;
        }
        self.flags.set(Flags::SENDING, !fin);
        Ok(())
    }

    /// Sends a ping. Of `payload` the first 125 bytes are sent: a control
    /// frame holds no more.
    ///
    /// # Errors
    /// [`Closing`] after the Close frame was sent.
    pub fn ping(
        &mut self,
        payload: &[u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        let payload = control_payload(payload);
        self.send_frame(true, OpCode::Ping, payload, &mut resources.masks, out)
    }

    /// Sends a pong that nobody asked for, as a one-way heartbeat; those that
    /// answer pings are sent by [`receive`](Self::receive). Of `payload` the
    /// first 125 bytes are sent.
    ///
    /// # Errors
    /// [`Closing`] after the Close frame was sent.
    pub fn pong(
        &mut self,
        payload: &[u8],
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        let payload = control_payload(payload);
        self.send_frame(true, OpCode::Pong, payload, &mut resources.masks, out)
    }

    /// Starts the close handshake: the Close frame is the last one sent, and
    /// messages keep arriving until the peer's comes. A second call does
    /// nothing and returns `false`, as does one after the peer's close was
    /// answered.
    ///
    /// A code that must not be on the wire ([`CloseCode::NO_STATUS`] and every
    /// other that is not [sendable](CloseCode::is_sendable)) sends an empty
    /// Close frame. The reason is cut at 123 bytes between characters.
    pub fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
        resources: &mut Resources,
        out: &mut impl Output,
    ) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        let reason = CloseReason::from(reason);
        self.write_close(code, &reason, &mut resources.masks, out);
        self.phase = Phase::CloseSent;
        true
    }

    /// Whether neither side has begun to close.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether our Close frame is sent; then nothing else can be.
    #[inline]
    pub fn close_sent(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether the peer's Close frame has come.
    #[inline]
    pub fn close_received(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether nothing more will be sent or read, because both sides closed or
    /// the peer violated the protocol: once the output is transmitted, the
    /// transport may be shut.
    #[inline]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Failed)
    }

    #[inline]
    fn send_frame(
        &mut self,
        fin: bool,
        opcode: OpCode,
        payload: &[u8],
        masks: &mut MaskKeys,
        out: &mut impl Output,
    ) -> Result<(), Closing> {
        if self.phase != Phase::Open {
            return Err(Closing);
        }
        self.write(fin, opcode, false, payload, masks, out);
        Ok(())
    }

    #[inline]
    fn compresses(&self, payload: &[u8], resources: &Resources) -> bool {
        self.sends.can_compress() && payload.len() >= resources.deflate.config().min_size
    }

    #[inline]
    fn write(
        &self,
        fin: bool,
        opcode: OpCode,
        compressed: bool,
        payload: &[u8],
        masks: &mut MaskKeys,
        out: &mut impl Output,
    ) {
        let mask = match self.role() {
            Role::Server => None,
            Role::Client => Some(masks.next()),
        };
        let mut header = [0; MAX_HEADER];
        let used = encode_header(&mut header, fin, opcode, payload.len() as u64, mask);
        if compressed {
            mark_compressed(&mut header);
        }
        out.frame(&header[..used], payload, mask);
    }

    fn write_close(
        &self,
        code: CloseCode,
        reason: &CloseReason,
        masks: &mut MaskKeys,
        out: &mut impl Output,
    ) {
        let mut payload = [0; MAX_CONTROL];
        let used = if code.is_sendable() {
            let reason = reason.as_str().as_bytes();
            payload[..2].copy_from_slice(&code.0.to_be_bytes());
            payload[2..2 + reason.len()].copy_from_slice(reason);
            2 + reason.len()
        } else {
            0
        };
        self.write(true, OpCode::Close, false, &payload[..used], masks, out);
    }
}

fn control_payload(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(MAX_CONTROL)]
}
