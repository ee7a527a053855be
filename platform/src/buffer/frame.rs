//! Frames shared by reference.

use std::sync::Arc;

/// Encoded bytes that many connections send, on any shard: immutable while
/// more than one has them, and reference counted, so a clone costs one atomic
/// increment and no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Arc<Vec<u8>>);

impl Frame {
    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The memory, to write the next frame into; `None` while somebody else has
    /// the frame, a driver that sends it included.
    pub fn memory(&mut self) -> Option<&mut Vec<u8>> {
        Arc::get_mut(&mut self.0)
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_lent_to_the_only_holder() {
        let mut frame = Frame::from(vec![1, 2]);
        let other = frame.clone();
        assert!(frame.memory().is_none());
        drop(other);
        frame.memory().expect("nobody else has it").push(3);
        assert_eq!(frame.bytes(), [1, 2, 3]);
    }
}
