//! Memory on its way in and out: receive leases, send chunks, shared frames.

mod chunk;
mod frame;
mod growth;
mod lease;
mod slabs;

pub use chunk::{Chunk, ChunkPool, ChunkStats};
pub use frame::Frame;
pub(crate) use growth::Growth;
pub use lease::{Lease, RecvPool, Returned};

/// One piece of a send: bytes of this connection, or a frame shared by many.
#[derive(Debug)]
pub enum Segment {
    /// Bytes encoded for one connection.
    Chunk(Chunk),
    /// Bytes encoded once for many connections, passed by reference.
    Frame(Frame),
}

impl Segment {
    /// The bytes to send.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Chunk(chunk) => chunk.bytes(),
            Self::Frame(frame) => frame.bytes(),
        }
    }
}
