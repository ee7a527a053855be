//! Memory of messages that were sent, for those that arrive.

use std::cell::{Cell, RefCell};

use super::message::Message;
use crate::app;

/// Payloads of either kind whose memory is kept: those of a full
/// [crowd](super::local::CROWD) and of the arrival that fills it.
const MOST: usize = 128;

/// The longest of them.
const LONGEST: usize = 16 << 10;

/// The most bytes kept.
const MOST_BYTES: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Payloads {
    texts: RefCell<Vec<String>>,
    binaries: RefCell<Vec<Vec<u8>>>,
    /// The sum of their capacities.
    bytes: Cell<usize>,
}

impl Payloads {
    /// The message, owned.
    #[inline]
    pub(super) fn copy(&self, message: app::Message<'_>) -> Message {
        match message.as_text() {
            Some(text) => {
                let mut copy = self.texts.borrow_mut().pop().unwrap_or_default();
                self.bytes.set(self.bytes.get() - copy.capacity());
                copy.push_str(text);
                Message::Text(copy)
            }
            None => {
                let mut copy = self.binaries.borrow_mut().pop().unwrap_or_default();
                self.bytes.set(self.bytes.get() - copy.capacity());
                copy.extend_from_slice(message.payload());
                Message::Binary(copy)
            }
        }
    }

    /// Takes the memory of a message back, or frees it.
    #[inline]
    pub(super) fn recycle(&self, message: Message) {
        match message {
            Message::Text(mut text) => {
                let mut texts = self.texts.borrow_mut();
                if self.admits(texts.len(), text.capacity()) {
                    text.clear();
                    texts.push(text);
                }
            }
            Message::Binary(mut bytes) => {
                let mut binaries = self.binaries.borrow_mut();
                if self.admits(binaries.len(), bytes.capacity()) {
                    bytes.clear();
                    binaries.push(bytes);
                }
            }
        }
    }

    fn admits(&self, kept: usize, capacity: usize) -> bool {
        let bytes = self.bytes.get() + capacity;
        let admits = kept < MOST && capacity <= LONGEST && bytes <= MOST_BYTES;
        if admits {
            self.bytes.set(bytes);
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let payloads = Payloads::default();
        for _ in 0..2 * MOST {
            payloads.recycle(Message::Binary(Vec::with_capacity(LONGEST)));
            payloads.recycle(Message::Text(String::with_capacity(1)));
            payloads.recycle(Message::Text(String::with_capacity(LONGEST + 1)));
        }
        let kept = payloads.binaries.borrow().len();
        assert_eq!(
            payloads.bytes.get(),
            kept * LONGEST + MOST.min(payloads.texts.borrow().len())
        );
        assert!(payloads.bytes.get() <= MOST_BYTES);
        for text in ["taken again", "and again"] {
            let copy = payloads.copy(app::Message::text(text));
            assert_eq!(copy.as_text(), Some(text));
            payloads.recycle(copy);
        }
        assert!(payloads.bytes.get() <= MOST_BYTES);
    }
}
