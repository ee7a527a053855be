//! Foreign event sources: something that becomes readable.

use super::net::SimNet;
use super::op::{Completion, Payload, Tag};
use super::world::{DriverId, SourceId, World};

/// What the kernel knows of a source.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Things said and not read.
    unread: usize,
    /// Nobody can say anything any more.
    hung_up: bool,
    poll: Option<(DriverId, Tag)>,
}

/// A source to give to [`Driver::watch`](crate::Driver::watch).
#[derive(Debug)]
pub struct SimSource {
    net: SimNet,
    id: Option<SourceId>,
}

impl SimSource {
    pub(super) fn new(net: SimNet, id: SourceId) -> Self {
        Self { net, id: Some(id) }
    }

    /// The source, which the caller closes from here on.
    pub(super) fn release(mut self) -> Option<SourceId> {
        self.id.take()
    }
}

impl Drop for SimSource {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.net.with(|world| world.close_source(id));
        }
    }
}

/// The far side of a [`SimSource`]. Dropping it hangs up.
#[derive(Debug)]
pub struct SimSignal {
    net: SimNet,
    id: SourceId,
}

impl SimSignal {
    pub(super) fn new(net: SimNet, id: SourceId) -> Self {
        Self { net, id }
    }

    /// Makes the source readable.
    pub fn signal(&self) {
        self.net.with(|world| world.signal(self.id));
    }

    /// Reads one thing said, as the owner of the source would; false when
    /// there is none.
    pub fn take(&self) -> bool {
        self.net.with(|world| world.take_signal(self.id))
    }
}

impl Drop for SimSignal {
    fn drop(&mut self) {
        self.net.with(|world| world.hang_up(self.id));
    }
}

impl World {
    pub(super) fn add_source(&mut self) -> SourceId {
        let id = SourceId(self.id());
        self.sources.insert(id, State::default());
        id
    }

    pub(super) fn start_poll(&mut self, id: SourceId, driver: DriverId, tag: Tag) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.poll = Some((driver, tag));
            if source.unread > 0 || source.hung_up {
                self.report(id);
            }
        }
    }

    pub(super) fn stop_poll(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.poll = None;
        }
    }

    /// Edge triggered, as the multishot poll of io_uring is.
    fn report(&mut self, id: SourceId) {
        let poll = self.sources.get(&id).and_then(|source| source.poll);
        if let Some((driver, tag)) = poll {
            let completion = Completion {
                tag,
                outcome: Ok(1),
                more: true,
                payload: Payload::None,
            };
            self.complete(driver, completion);
        }
    }

    fn signal(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.unread += 1;
            self.report(id);
        }
    }

    fn take_signal(&mut self, id: SourceId) -> bool {
        self.sources.get_mut(&id).is_some_and(|source| {
            let any = source.unread > 0;
            source.unread = source.unread.saturating_sub(1);
            any
        })
    }

    fn hang_up(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.hung_up = true;
            self.report(id);
        }
    }

    pub(super) fn close_source(&mut self, id: SourceId) {
        self.sources.remove(&id);
    }
}
