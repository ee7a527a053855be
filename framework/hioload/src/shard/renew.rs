//! What is changed or asked while the shard runs.

use hioload_protocol::DeflatePool;

use super::chain::Stage;
use super::core::ShardCore;
use super::link::Flags;
use crate::app::App;
use crate::config::Rules;

/// Slots looked at per turn when the rules of silence and stalls have changed: some tens
/// of microseconds, so that a million connections do not stop the shard.
const SWEEP_PER_TURN: usize = 1024;

impl<A: App> ShardCore<A> {
    /// At the start of a turn: one load, unless something was changed.
    pub(super) fn look_at_notice(&mut self) {
        let notice = self.cx.handle.control().notice();
        if notice == self.cx.notice {
            return;
        }
        self.cx.notice = notice;
        if let Some((epoch, rules)) = self.cx.handle.control().rules_since(self.cx.epoch) {
            self.cx.epoch = epoch;
            self.renew(rules);
        }
        let question = self.cx.handle.control().questions().latest();
        if question != self.answered {
            self.answered = question;
            self.question = Some(question);
        }
    }

    fn renew(&mut self, rules: Rules) {
        let before = std::mem::replace(&mut self.cx.rules, rules);
        self.cx.resources.limits = rules.limits;
        let patience = (before.send_timeout, rules.send_timeout);
        if before.keepalive != rules.keepalive || patience.0 != patience.1 {
            self.sweep = Some(0);
        }
        // Without deflate for new connections the pool goes on for those that
        // have it. What is in use of the old one is given back to the new one.
        let pool = &mut self.cx.resources.deflate;
        if let Some(deflate) = rules.deflate
            && pool.config() != &deflate
        {
            *pool = DeflatePool::new(deflate);
        }
    }

    /// Lets the timers of some connections follow the rules.
    pub(super) fn sweep(&mut self) {
        let Some(first) = self.sweep else { return };
        for slot in first..first + SWEEP_PER_TURN {
            let Some(place) = self.slab.at(slot) else {
                self.sweep = None;
                return;
            };
            let Some(entry) = place else { continue };
            let link = &entry.link;
            let lives = matches!(
                link.stage,
                Stage::WebSocket(_) | Stage::Stream(_) | Stage::Messages(_)
            );
            if lives && !link.is(Flags::DEADLINE) {
                self.fire(link.token());
            }
        }
        self.sweep = Some(first + SWEEP_PER_TURN);
    }
}
