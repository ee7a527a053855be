//! What wakes a task, from its own shard's thread and from others.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::local::{Local, TaskId};
use crate::server::Handle;
use crate::shard::InboxEntry;

thread_local! {
    /// The tasks of the shard whose turn it is on this thread.
    static CURRENT: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// Runs `act` while wakes on this thread go straight to `local`.
pub(super) fn enter<T>(local: &Rc<Local>, act: impl FnOnce() -> T) -> T {
    let _left = Entered(CURRENT.replace(Some(Rc::clone(local))));
    act()
}

/// The tasks of the shard that polls, if one does.
pub(super) fn current() -> Option<Rc<Local>> {
    CURRENT.with_borrow(Option::clone)
}

/// Puts back what was current before, also after a panic.
struct Entered(Option<Rc<Local>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Wakes one task. Between two polls it does so once, whoever asks how often.
#[derive(Debug)]
pub(super) struct TaskWaker {
    home: Arc<Home>,
    id: TaskId,
    woken: AtomicBool,
}

/// Where tasks live.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) handle: Handle,
    pub(super) shard: usize,
    /// Which [`Local`] it is, among all there ever were.
    pub(super) key: u64,
}

impl TaskWaker {
    /// A task that is to be polled for the first time.
    pub(super) fn new(home: Arc<Home>, id: TaskId) -> Arc<Self> {
        Arc::new(Self {
            home,
            id,
            woken: AtomicBool::new(true),
        })
    }

    /// Whether nobody has woken it since its last poll began; now somebody has.
    pub(super) fn is_first(&self) -> bool {
        !self.woken.swap(true, Ordering::SeqCst)
    }

    /// It is about to be polled: what happens from now on wakes it again.
    pub(super) fn about_to_poll(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_first() {
            return;
        }
        let here = CURRENT.with_borrow(|current| match current {
            Some(local) if local.key() == self.home.key => {
                local.make_ready(self.id);
                true
            }
            _ => false,
        });
        if !here {
            // One entry per task at most, so it takes no place in the inbox.
            let entry = InboxEntry::TaskReady(self.id);
            self.home.handle.notify(self.home.shard, entry);
        }
    }
}
