//! Frames shared by reference.

use std::sync::Arc;

/// Encoded bytes that many connections send, on any shard: immutable and
/// reference counted, so a clone costs one atomic increment and no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Arc<[u8]>);

impl Frame {
    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}
