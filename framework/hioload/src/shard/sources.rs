//! The app's event sources on a shard.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use hioload_platform::{DriverError, Token};

use super::context::Owner;
use super::core::ShardCore;
use crate::app::{App, Turn};
use crate::server::Handle;
use crate::source::{Descriptor, EventSource, Kind, RegisterError, SourceEvent, SourceId, Watched};

/// Sources a shard watches: more than a service has, and few enough to look at
/// all of them.
const MOST: usize = 4096;

/// The registered sources of a shard.
#[derive(Default)]
pub(crate) struct Sources {
    table: Vec<Slot>,
    free: Vec<u32>,
    by_token: HashMap<Token, SourceId>,
    /// Registered, and not with the driver yet.
    registering: Vec<(SourceId, Descriptor)>,
    /// To be closed by the driver.
    leaving: Vec<Token>,
    /// To be told of in this turn, each once.
    events: Vec<SourceEvent>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    state: State,
    /// In `events`.
    listed: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Free,
    Registering,
    Descriptor(Token),
    Queue(Arc<dyn Watched>),
}

impl Sources {
    pub(crate) fn register(
        &mut self,
        source: EventSource,
        owner: Owner,
        handle: &Handle,
        shard: usize,
    ) -> Result<SourceId, RegisterError> {
        if self.table.len() - self.free.len() >= MOST {
            return Err(RegisterError::TooMany);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.table.push(Slot::default());
            u32::try_from(self.table.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.table[index as usize];
        let id = SourceId {
            index,
            generation: slot.generation,
            owner,
        };
        match source.0 {
            Kind::Descriptor(descriptor) => {
                slot.state = State::Registering;
                self.registering.push((id, descriptor));
            }
            Kind::Queue(queue) => {
                if !queue.watch(handle.clone(), shard, id) {
                    self.free.push(index);
                    return Err(RegisterError::Registered);
                }
                // What was pushed before is told of now.
                let more = queue.has_more();
                slot.state = State::Queue(queue);
                if more {
                    self.ready(id);
                }
            }
        }
        Ok(id)
    }

    /// `false` when there is no such source any more.
    pub(crate) fn unregister(&mut self, id: SourceId) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        let state = std::mem::take(&mut slot.state);
        slot.generation = slot.generation.wrapping_add(1);
        slot.listed = false;
        match state {
            State::Descriptor(token) => {
                self.by_token.remove(&token);
                self.leaving.push(token);
            }
            State::Registering => self
                .registering
                .retain(|(known, _)| known.index != id.index),
            State::Queue(_) | State::Free => {}
        }
        self.free.push(id.index);
        true
    }

    fn slot(&mut self, id: SourceId) -> Option<&mut Slot> {
        let slot = self.table.get_mut(id.index as usize)?;
        let known = slot.generation == id.generation && !matches!(slot.state, State::Free);
        known.then_some(slot)
    }

    /// It has something.
    pub(super) fn ready(&mut self, id: SourceId) {
        if let Some(slot) = self.slot(id)
            && !slot.listed
        {
            slot.listed = true;
            self.events.push(SourceEvent::Ready(id));
        }
    }

    /// Those of a stopping shard whose connections are gone.
    fn unregister_all(&mut self) {
        for index in 0..self.table.len() {
            let generation = self.table[index].generation;
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            self.unregister(SourceId {
                index,
                generation,
                owner: Owner::default(),
            });
        }
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty() || !self.registering.is_empty() || !self.leaving.is_empty()
    }
}

impl<A: App> ShardCore<A> {
    /// A source the driver is to watch; say what came of it with
    /// [`watched`](Self::watched).
    pub(crate) fn next_source(&mut self) -> Option<(SourceId, Descriptor)> {
        self.cx.sources.registering.pop()
    }

    pub(crate) fn watched(&mut self, id: SourceId, outcome: Result<Token, DriverError>) {
        let sources = &mut self.cx.sources;
        match outcome {
            Ok(token) => match sources.slot(id) {
                Some(slot) => {
                    slot.state = State::Descriptor(token);
                    sources.by_token.insert(token, id);
                }
                None => sources.leaving.push(token),
            },
            Err(error) => {
                sources.unregister(id);
                let error = io::Error::other(error);
                sources.events.push(SourceEvent::Failed(id, error));
            }
        }
    }

    /// A source the driver is to close.
    pub(crate) fn next_leaving(&mut self) -> Option<Token> {
        if self.is_stopping() && self.slab.len() == 0 {
            self.cx.sources.unregister_all();
        }
        self.cx.sources.leaving.pop()
    }

    /// A watched descriptor has something.
    pub(crate) fn source_ready(&mut self, token: Token) {
        if let Some(&id) = self.cx.sources.by_token.get(&token) {
            self.cx.sources.ready(id);
        }
    }

    /// Tells the app of all that happened to sources, at once.
    pub(super) fn tell_of_sources(&mut self) {
        let sources = &mut self.cx.sources;
        if sources.events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut sources.events);
        events.retain(|event| match *event {
            SourceEvent::Failed(..) => true,
            SourceEvent::Ready(id) => match sources.slot(id) {
                Some(slot) => {
                    slot.listed = false;
                    if let State::Queue(queue) = &slot.state {
                        queue.look();
                    }
                    true
                }
                None => false,
            },
        });
        // Those of one owner together.
        events.sort_by_key(SourceEvent::owner);
        let mut turn = Turn {
            slab: &mut self.slab,
            cx: &mut self.cx,
        };
        self.app.events(&mut turn, &events);
        self.deliver();
        for event in events {
            if let SourceEvent::Ready(id) = event
                && let Some(slot) = self.cx.sources.slot(id)
                && matches!(&slot.state, State::Queue(queue) if queue.has_more())
            {
                self.cx.sources.ready(id);
            }
        }
    }
}
