//! What timers are about, by type.
//!
//! A box for each closure would be freed when its timer is cancelled, and by
//! then it has long left the caches: at a million timers a cancel took twice as
//! long. Here closures of one type lie side by side.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use hioload_platform::memory::prefetch;

use super::batch::Batch;
use crate::shard::Deferred;

/// Closures up to this size lie in a store, larger ones in a box that lies in
/// one: the room of a store is that of its largest closure, for as long as it
/// has any.
const LARGEST: usize = 64;

/// Places that a store keeps when its last closure is gone.
const KEPT: usize = 1024;

/// Free places that are fetched before they are used.
const AHEAD: usize = 8;

/// Where a closure is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) store: u16,
    pub(super) place: u32,
}

/// Closures of every type that a program schedules.
///
/// To drop one is to wait for the memory it lies in, and for the call that knows
/// its type; to drop several of one type together is to wait about as long once.
/// So those of cancelled timers are dropped in batches, and by the end of the
/// turn. While a batch is filled, the one before comes from memory.
pub(super) struct Closures {
    stores: Vec<Box<dyn Store>>,
    /// Those to be dropped. One list for all: where the next is noted must not
    /// depend on what the timer says, which is still to come from memory.
    doomed: Batch<Stored>,
    fetched: Batch<Stored>,
    by_type: HashMap<TypeId, u16>,
    /// That of the closure before, as most are of the same type.
    last: Option<(TypeId, u16)>,
}

impl Closures {
    pub(super) fn new() -> Self {
        Self {
            stores: Vec::new(),
            doomed: Batch::new(Stored { store: 0, place: 0 }),
            fetched: Batch::new(Stored { store: 0, place: 0 }),
            by_type: HashMap::new(),
            last: None,
        }
    }

    pub(super) fn insert<F: Deferred + 'static>(&mut self, closure: F) -> Stored {
        if size_of::<F>() > LARGEST {
            let boxed: Box<dyn Deferred> = Box::new(closure);
            return self.place(boxed);
        }
        self.place(closure)
    }

    /// Takes a closure, to be run.
    pub(super) fn take(&mut self, stored: Stored) -> Option<Box<dyn Deferred>> {
        self.stores[usize::from(stored.store)].take(stored.place)
    }

    /// Drops a closure, together with others or by the next
    /// [`settle`](Self::settle).
    #[inline]
    pub(super) fn discard(&mut self, stored: Stored) {
        if self.doomed.push(stored) {
            self.turn_over();
        }
    }

    /// Drops what is to be dropped.
    #[inline]
    pub(super) fn settle(&mut self) {
        while !(self.doomed.is_empty() && self.fetched.is_empty()) {
            self.turn_over();
        }
    }

    /// Drops those that were fetched, and fetches the others.
    #[inline(never)]
    fn turn_over(&mut self) {
        std::mem::swap(&mut self.doomed, &mut self.fetched);
        let fetched = self.fetched.items();
        for run in fetched.chunk_by(|one, other| one.store == other.store) {
            self.stores[usize::from(run[0].store)].fetch(run);
        }
        while let Some(&Stored { store, .. }) = self.doomed.items().last() {
            self.stores[usize::from(store)].discard(&mut self.doomed, store);
        }
    }

    fn place<F: Deferred + 'static>(&mut self, closure: F) -> Stored {
        let of = TypeId::of::<F>();
        let store = match self.last {
            Some((last, store)) if last == of => store,
            _ => self.store::<F>(),
        };
        let places: &mut dyn Any = &mut *self.stores[usize::from(store)];
        let places = places.downcast_mut::<Places<F>>();
        let place = places.expect("the store of this type").insert(closure);
        Stored { store, place }
    }

    #[inline(never)]
    fn store<F: Deferred + 'static>(&mut self) -> u16 {
        let of = TypeId::of::<F>();
        let store = *self.by_type.entry(of).or_insert_with(|| {
            let store = u16::try_from(self.stores.len());
            self.stores.push(Box::new(Places::<F>::new()));
            store.expect("a program schedules fewer than 65,536 types of closures")
        });
        self.last = Some((of, store));
        store
    }
}

trait Store: Any {
    fn take(&mut self, place: u32) -> Option<Box<dyn Deferred>>;
    /// The closures at these places are dropped soon.
    fn fetch(&self, places: &[Stored]);
    /// Drops the closures at the last places, as far as they are of this store.
    fn discard(&mut self, places: &mut Batch<Stored>, store: u16);
}

impl<F: Deferred + 'static> Store for Places<F> {
    fn take(&mut self, place: u32) -> Option<Box<dyn Deferred>> {
        let closure = self.remove(place)?;
        Some(Box::new(closure))
    }

    fn fetch(&self, places: &[Stored]) {
        for stored in places {
            prefetch(&self.values[stored.place as usize]);
        }
    }

    /// Where they lie. To move one out first would write an empty one and read it
    /// back, which waits for all writes before.
    fn discard(&mut self, places: &mut Batch<Stored>, store: u16) {
        // One by one off the list: should one panic, it is not dropped again.
        while let Some(stored) = places.pop_if(|stored| stored.store == store) {
            self.free.push(stored.place);
            self.values[stored.place as usize] = None;
        }
        self.shrink();
    }
}

/// Values by place, without generations: who has the place has the value.
pub(super) struct Places<T> {
    values: Vec<Option<T>>,
    /// Places without a value; the last was freed last, and is likely still in
    /// cache.
    free: Vec<u32>,
}

impl<T> Places<T> {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        let Some(place) = self.free.pop() else {
            let place = u32::try_from(self.values.len());
            self.values.push(Some(value));
            return place.expect("fewer values than timers");
        };
        self.values[place as usize] = Some(value);
        if let Some(&next) = self.free.iter().nth_back(AHEAD - 1) {
            prefetch(&self.values[next as usize]);
        }
        place
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.values[place as usize].take();
        self.vacated(place);
        value
    }

    fn vacated(&mut self, place: u32) {
        self.free.push(place);
        self.shrink();
    }

    /// Lets go of the room when nothing is in it.
    fn shrink(&mut self) {
        if self.free.len() == self.values.len() && self.values.len() > KEPT {
            *self = Self::new();
        }
    }
}
