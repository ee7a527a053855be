//! What the app had scheduled.

use super::context::{Owned, Owner};
use super::core::ShardCore;
use crate::app::{App, Turn};
use crate::timer::Due;

/// Timers of the app that fire in one turn; the rest makes the next turn start
/// at once.
const FIRED_PER_TURN: usize = 4096;

impl<A: App> ShardCore<A> {
    /// Drops what timers were about that were cancelled in this turn.
    pub(crate) fn settle(&mut self) {
        self.cx.agenda.settle();
    }

    /// Does what the app's timers are about.
    pub(super) fn fire_scheduled(&mut self) {
        // One that is set now and due at once waits for the next turn.
        let most = self.cx.agenda.len().min(FIRED_PER_TURN);
        for _ in 0..most {
            let Some(due) = self.cx.agenda.pop(self.cx.now) else {
                return;
            };
            match due {
                Due::Key(Owned { key, owner }) => {
                    self.cx.owner = owner;
                    let mut turn = Turn {
                        slab: &mut self.slab,
                        cx: &mut self.cx,
                    };
                    self.app.timer(&mut turn, key);
                    self.cx.owner = Owner::default();
                }
                Due::Task(task) => task.run(&mut self.slab, &mut self.cx),
                Due::Again(mut running) => {
                    running.job.run(&mut self.slab, &mut self.cx);
                    self.cx.agenda.put_back(running, self.cx.now);
                }
                Due::Work(id) => self.cx.work_timed_out(id, &mut self.slab),
            }
            self.deliver();
        }
    }
}
