//! What is put off until there is enough of it.
//!
//! Among a million timers the one that is cancelled or re-armed is in no cache.
//! While a CPU waits for it, it looks some 200 instructions ahead, and no further
//! than to a branch that it takes the wrong way. So an operation does little more
//! than to say whether there is such a timer, and a CPU waits for a dozen of them
//! at a time. The rest is done for many together, when all are in a cache.

/// Items of a batch. Their timers, with up to two lines of a cache each, leave
/// room for more in the nearest one.
const ITEMS: usize = 64;

#[derive(Debug)]
pub(super) struct Batch<T> {
    items: [T; ITEMS],
    /// Those that are there, from the first place on.
    len: usize,
}

impl<T: Copy> Batch<T> {
    /// One without items; in their places are `filler`s.
    pub(super) const fn new(filler: T) -> Self {
        Self {
            items: [filler; ITEMS],
            len: 0,
        }
    }

    /// Adds an item; whether the batch is full, and to be emptied now.
    pub(super) fn push(&mut self, item: T) -> bool {
        self.items[self.len % ITEMS] = item;
        self.len += 1;
        self.len >= ITEMS
    }

    pub(super) fn len(&self) -> usize {
        self.items().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn items(&self) -> &[T] {
        &self.items[..self.len.min(ITEMS)]
    }

    /// Takes the last item out if it is such a one.
    pub(super) fn pop_if(&mut self, is_such: impl FnOnce(&T) -> bool) -> Option<T> {
        let last = *self.items().last()?;
        is_such(&last).then(|| {
            self.len -= 1;
            last
        })
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}
