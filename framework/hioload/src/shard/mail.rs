//! What other threads ask of a shard, done on it.

use hioload_platform::Token;

use super::core::ShardCore;
use super::dial::Dialling;
use super::inbox::{InboxEntry, Outbound};
use super::slab::Entry;
use crate::app::{App, SendFailed, SendOutcome, Turn};

/// What an app of type `A` is given from another thread.
pub(crate) type Task<A> = Box<dyn FnOnce(&mut A, &mut Turn<'_, <A as App>::State>) + Send>;

impl<A: App> ShardCore<A> {
    pub(super) fn take_in(&mut self, entry: InboxEntry) {
        match entry {
            InboxEntry::Publish(publication) => self.fan_out(&publication),
            InboxEntry::Home(request) => self.at_home(*request),
            InboxEntry::Joined(joined) => self.joined(&joined),
            InboxEntry::Dial(Dialling { dial, key }) => {
                if let Err(full) = self.cx.connect(&dial, key.key) {
                    self.report_dial(key, &full.into());
                }
            }
            InboxEntry::Send(messages) => messages.into_iter().for_each(|one| self.send_one(one)),
            InboxEntry::Close {
                token,
                code,
                reason,
            } => self.with_open(token, |link, cx| link.close(code, &reason, cx)),
            InboxEntry::Terminate(token) => self.with_open(token, |link, cx| link.abort(cx)),
            InboxEntry::TaskReady(id) => self.cx.tasks.local().make_ready(id),
            InboxEntry::Worked(completion) => self.cx.work_ended(completion, &mut self.slab),
            InboxEntry::SourceReady(id) => self.cx.sources.ready(id),
            InboxEntry::Post(task) => match task.downcast::<Task<A>>() {
                Ok(task) => self.run(*task),
                Err(_) => debug_assert!(false, "the type was compared when it was posted"),
            },
        }
    }

    /// Runs a task of the app's.
    pub(crate) fn run<R>(&mut self, task: impl FnOnce(&mut A, &mut Turn<'_, A::State>) -> R) -> R {
        let mut turn = Turn {
            slab: &mut self.slab,
            cx: &mut self.cx,
        };
        let result = task(&mut self.app, &mut turn);
        self.deliver();
        result
    }

    fn send_one(&mut self, outbound: Outbound) {
        let Outbound {
            token,
            encoded,
            completion,
        } = outbound;
        let open = self.slab.get(token).filter(|entry| entry.link.is_open());
        let Some(Entry { link, .. }) = open else {
            if let Some(completion) = completion {
                completion.resolve(Err(SendFailed::gone()));
            }
            return;
        };
        let outcome = link.send_encoded(&encoded, &mut self.cx);
        match completion {
            None => {}
            Some(completion) if outcome == SendOutcome::Dropped => {
                completion.resolve(Err(link.refusal()));
            }
            Some(completion) => link.track(completion),
        }
    }

    /// Does something to a connection whose WebSocket is open.
    pub(super) fn with_open(
        &mut self,
        token: Token,
        act: impl FnOnce(&mut super::Link, &mut super::Context),
    ) {
        if let Some(entry) = self.slab.get(token)
            && entry.link.is_open()
        {
            act(&mut entry.link, &mut self.cx);
        }
    }
}
