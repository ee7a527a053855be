//! Frames shared by reference.

use std::sync::Arc;

/// Encoded bytes that many connections send, on any shard: immutable while
/// more than one has them, and reference counted, so a clone costs one atomic
/// increment and no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    memory: Arc<Vec<u8>>,
    /// Bytes before its own.
    skipped: usize,
}

impl Frame {
    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(self.skipped..).unwrap_or_default()
    }

    /// The same memory without its first bytes, for who frames the same payload
    /// in another way; nothing, if there are no more.
    #[must_use]
    pub fn tail(&self, skipped: usize) -> Self {
        Self {
            memory: Arc::clone(&self.memory),
            skipped: self.skipped.saturating_add(skipped),
        }
    }

    /// The memory, to write the next frame into; `None` while somebody else has
    /// the frame, a driver that sends it included.
    pub fn memory(&mut self) -> Option<&mut Vec<u8>> {
        let memory = Arc::get_mut(&mut self.memory)?;
        self.skipped = 0;
        Some(memory)
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            memory: Arc::new(bytes),
            skipped: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_same_memory() {
        let frame = Frame::from(vec![1, 2, 3]);
        let tail = frame.tail(1);
        assert_eq!(tail.bytes(), [2, 3]);
        assert!(std::ptr::eq(tail.bytes(), &raw const frame.bytes()[1..]));
        assert_eq!(tail.tail(1).bytes(), [3]);
        assert_eq!(tail.tail(7).bytes(), []);
        assert_eq!(frame.tail(usize::MAX).tail(1).bytes(), []);
    }

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
