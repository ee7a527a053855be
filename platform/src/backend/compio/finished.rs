//! Which operations are over: their wakers write it down.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use crate::driver::Token;

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Waits until a stream or a source is readable.
    Ready,
    Send,
    Accept,
    Connect,
}

/// Names an operation in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) token: Token,
    /// Which of several of the kind.
    pub(super) index: u8,
}

impl Tag {
    pub(super) fn new(kind: Kind, token: Token) -> Self {
        Self {
            kind,
            token,
            index: 0,
        }
    }
}

/// Operations that are over and not yet served. Bounded by those in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Finished(Arc<Mutex<Vec<Tag>>>);

impl Finished {
    /// A waker that adds `tag` to the list.
    pub(super) fn waker(&self, tag: Tag) -> Waker {
        Waker::from(Arc::new(Note {
            list: self.clone(),
            tag,
        }))
    }

    /// Moves the list to the end of `into`.
    pub(super) fn take(&self, into: &mut VecDeque<Tag>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend(list.drain(..));
    }
}

/// Wakers must be `Sync`, hence the lock. Only the driver's thread, polling,
/// ever wakes one, so nobody waits for it.
#[derive(Debug)]
struct Note {
    list: Finished,
    tag: Tag,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let list = &self.list.0;
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(self.tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_taken_in_the_order_they_ended() {
        let finished = Finished::default();
        let wakers: Vec<_> = (0..3)
            .map(|slot| finished.waker(Tag::new(Kind::Send, Token::new(slot, 0))))
            .collect();
        wakers[2].wake_by_ref();
        wakers[0].wake_by_ref();
        let mut taken = VecDeque::new();
        finished.take(&mut taken);
        let slots: Vec<_> = taken.drain(..).map(|tag| tag.token.slot()).collect();
        assert_eq!(slots, [2, 0]);
        finished.take(&mut taken);
        assert!(taken.is_empty());
    }
}
