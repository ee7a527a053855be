//! rustls in either role.

use rustls::Error;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};

use crate::shard::outbox::{Outbox, OutboxPool};

/// Plaintext per record: four sealed ones fill the largest pooled chunk. The
/// most that TLS allows is 2^14.
const FRAGMENT: usize = (16 << 10) - 32;

/// What a record adds at most: header, explicit nonce and tag of TLS 1.2 with
/// AES-GCM. TLS 1.3 adds 22 bytes.
const OVERHEAD: usize = 5 + 8 + 16;

/// An alert inside a record.
const ALERT: usize = 2 + OVERHEAD;

/// Plaintext sealed for one send. The rest stays plaintext, where a broadcast
/// frame is still shared with the other connections.
const SEAL_LIMIT: usize = 4 * FRAGMENT;

/// The session can seal nothing more: it is broken, or its keys are used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CannotSeal;

/// Which side of the connection this is.
pub(super) enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What sealing works on.
pub(super) struct Sealing<'s> {
    /// Received and not opened yet: rustls looks at it first.
    pub(super) partial: &'s mut Vec<u8>,
    pub(super) plain: &'s mut Outbox,
    /// Bytes of the plaintext's first segment that are sealed already.
    pub(super) taken: &'s mut usize,
    /// Whether a close_notify follows the last plaintext.
    pub(super) finish: bool,
    pub(super) gather: &'s mut Vec<u8>,
    pub(super) wire: &'s mut Outbox,
    pub(super) pool: &'s mut OutboxPool,
}

impl Side {
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Server(rustls) => rustls.is_handshaking(),
            Self::Client(rustls) => rustls.is_handshaking(),
        }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    /// Lets rustls work through `input` until it needs more.
    pub(super) fn step(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Outbox,
        pool: &mut OutboxPool,
    ) -> Result<Step, Error> {
        match self {
            Self::Server(rustls) => step(rustls, input, plain, wire, pool),
            Self::Client(rustls) => step(rustls, input, plain, wire, pool),
        }
    }

    /// Seals once the handshake is complete. Returns whether a close_notify
    /// ended our sending direction.
    pub(super) fn seal(&mut self, sealing: &mut Sealing<'_>) -> Result<bool, CannotSeal> {
        match self {
            Self::Server(rustls) => seal(rustls, sealing),
            Self::Client(rustls) => seal(rustls, sealing),
        }
    }
}

/// What rustls has once per role, with the same meaning.
trait Rustls {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn wants_write(&self) -> bool;
}

impl Rustls for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn wants_write(&self) -> bool {
        (**self).wants_write()
    }
}

impl Rustls for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn wants_write(&self) -> bool {
        (**self).wants_write()
    }
}

fn seal<R: Rustls>(rustls: &mut R, sealing: &mut Sealing<'_>) -> Result<bool, CannotSeal> {
    loop {
        let UnbufferedStatus { discard, state } = rustls.process(sealing.partial);
        match state.map_err(|_| CannotSeal)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let mut sealer = Sealer {
                    traffic: &mut traffic,
                    wire: sealing.wire,
                    pool: sealing.pool,
                };
                sealer.seal_from(sealing.plain, sealing.taken, sealing.gather)?;
                let ends = sealing.finish && sealing.plain.is_empty();
                if ends {
                    sealer.close()?;
                }
                return Ok(ends);
            }
            ConnectionState::EncodeTlsData(data) => encode(data, sealing.wire, sealing.pool),
            ConnectionState::TransmitTlsData(data) => data.done(),
            // Everything received was dealt with when it came.
            _ => return Err(CannotSeal),
        }
        sealing.partial.drain(..discard);
    }
}

/// How far [`Side::step`] came.
pub(super) struct Step {
    pub(super) used: usize,
    pub(super) ended: bool,
}

/// Lets rustls work through `input` until it needs more.
fn step<R: Rustls>(
    rustls: &mut R,
    input: &mut [u8],
    plain: &mut Vec<u8>,
    wire: &mut Outbox,
    pool: &mut OutboxPool,
) -> Result<Step, Error> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state } = rustls.process(&mut input[used..]);
        let mut more = true;
        let mut ended = false;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    plain.extend_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, wire, pool),
            // It leaves with the next send, in order.
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => ended = true,
            Ok(_) => more = false,
            Err(error) => {
                let rest = &mut input[used + discard..];
                // The alert, after what was due before it. Without anything to
                // write, asking again would judge the same input again.
                while rustls.wants_write()
                    && let Ok(ConnectionState::EncodeTlsData(data)) = rustls.process(rest).state
                {
                    encode(data, wire, pool);
                }
                return Err(error);
            }
        }
        used += discard;
        if ended || !more {
            return Ok(Step { used, ended });
        }
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, wire: &mut Outbox, pool: &mut OutboxPool) {
    // The first call asks for the size.
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        data.encode(&mut [])
    {
        let written = wire.append_with(required_size, 0, pool, |space| data.encode(space));
        debug_assert!(written.is_ok(), "rustls asked for this size");
    }
}

/// Seals plaintext while rustls allows it.
struct Sealer<'s, 'c, Data> {
    traffic: &'s mut WriteTraffic<'c, Data>,
    wire: &'s mut Outbox,
    pool: &'s mut OutboxPool,
}

impl<Data> Sealer<'_, '_, Data> {
    /// Seals from the front of `plain` in as few records as possible: small
    /// segments are gathered, a large one is sealed from where it lies.
    fn seal_from(
        &mut self,
        plain: &mut Outbox,
        taken: &mut usize,
        gather: &mut Vec<u8>,
    ) -> Result<(), CannotSeal> {
        let mut budget = SEAL_LIMIT.min(plain.pending());
        while budget > 0 {
            let most = FRAGMENT.min(budget);
            // So that what is left of this send goes into one chunk.
            let records = budget.div_ceil(FRAGMENT);
            let room = budget + records * OVERHEAD + ALERT;
            let Some(queue) = plain.queue() else { break };
            let only = queue.len() == 1;
            let first = queue.front().map_or(&[][..], |segment| segment.bytes());
            let first = &first[*taken..];
            let sealed = if only || first.len() >= most {
                let fragment = &first[..first.len().min(most)];
                self.seal(fragment, room)?;
                fragment.len()
            } else {
                gather.clear();
                let mut skip = *taken;
                for segment in queue.iter() {
                    let bytes = &segment.bytes()[skip..];
                    skip = 0;
                    gather.extend_from_slice(&bytes[..bytes.len().min(most - gather.len())]);
                    if gather.len() == most {
                        break;
                    }
                }
                self.seal(gather, room)?;
                gather.len()
            };
            plain.consume(sealed, taken, self.pool);
            budget -= sealed;
        }
        Ok(())
    }

    fn seal(&mut self, fragment: &[u8], room: usize) -> Result<(), CannotSeal> {
        self.write(fragment.len() + OVERHEAD, room, |traffic, space| {
            traffic.encrypt(fragment, space)
        })
    }

    fn close(&mut self) -> Result<(), CannotSeal> {
        self.write(ALERT, 0, |traffic, space| traffic.queue_close_notify(space))
    }

    fn write(
        &mut self,
        mut size: usize,
        room: usize,
        mut write: impl FnMut(&mut WriteTraffic<'_, Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), CannotSeal> {
        loop {
            let traffic = &mut *self.traffic;
            let written = self
                .wire
                .append_with(size, room, self.pool, |space| write(traffic, space));
            match written {
                Ok(_) => return Ok(()),
                // A key update goes before it.
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                    if required_size > size =>
                {
                    size = required_size;
                }
                Err(_) => return Err(CannotSeal),
            }
        }
    }
}
