//! Watching foreign event sources.

use compio_driver::PushEntry;

use super::CompioDriver;
use super::finished::{Kind, Tag};
use super::system;
use super::table::Flags;
use crate::driver::{Event, Token};
use crate::socket::Socket;

impl CompioDriver {
    pub(super) fn arm_watch(&mut self, token: Token) {
        let Some(entry) = self.table.open_mut(token) else {
            return;
        };
        let Some(fd) = entry.fd.clone() else { return };
        match self.submit(system::ready_op(fd), Tag::new(Kind::Ready, token)) {
            PushEntry::Pending(key) => {
                if let Some(entry) = self.table.get_mut(token) {
                    entry.ready = Some(key);
                }
            }
            PushEntry::Ready(over) => {
                let again = over.0.is_ok();
                // An error counts as readable: whoever reads the source learns
                // it. It is not watched again, which would fail for ever.
                self.backlog.push_back(Event::Ready { token });
                if again && let Some(entry) = self.table.get_mut(token) {
                    entry.flags.set(Flags::WATCH_AGAIN);
                }
            }
        }
    }

    pub(super) fn source_ready(&mut self, token: Token, again: bool) -> Option<Event<Socket>> {
        self.table.open_mut(token)?;
        if again {
            self.watch_again(token);
        }
        Some(Event::Ready { token })
    }

    /// At the next turn, when whoever hears of it has read the source.
    pub(super) fn watch_again(&mut self, token: Token) {
        let entry = self.table.slot_mut(token.slot());
        if entry.flags.raise(Flags::LISTED_WATCH) {
            self.watches.push(token.slot());
        }
    }

    /// Watches again what was ready and has not ended: that stays readable.
    pub(super) fn rearm_watches(&mut self) {
        for slot in std::mem::take(&mut self.watches) {
            self.table.slot_mut(slot).flags.clear(Flags::LISTED_WATCH);
            let Some(token) = self.table.occupant(slot) else {
                continue;
            };
            let entry = self.table.slot_mut(slot);
            if entry.fd.as_ref().is_some_and(|fd| !system::ended(fd)) {
                self.arm_watch(token);
            }
        }
    }
}
