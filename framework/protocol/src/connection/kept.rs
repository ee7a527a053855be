//! What few connections have at a time.

use super::Connection;
use super::assembly::{Assembly, Control};
use super::takeover::Takeover;
use crate::message::MessagePool;

/// On the heap only while there is some of it: most connections, at most times,
/// wait for the first byte of a frame.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The data message of which some bytes or fragments have arrived.
    pub(super) message: Option<Box<Assembly>>,
    /// The control frame of which some bytes have arrived.
    pub(super) control: Option<Box<Control>>,
    /// What compressed messages refer back to, if they do.
    pub(super) takeover: Option<Box<Takeover>>,
}

impl Connection {
    /// Whether a message has begun and not ended.
    #[inline]
    pub(super) fn has_message(&self) -> bool {
        self.kept
            .as_ref()
            .is_some_and(|kept| kept.message.is_some())
    }

    #[inline]
    pub(super) fn has_control(&self) -> bool {
        self.kept
            .as_ref()
            .is_some_and(|kept| kept.control.is_some())
    }

    pub(super) fn take_message(&mut self, pool: &mut MessagePool) -> Option<Box<Assembly>> {
        let message = self.kept.as_mut()?.message.take();
        self.tidy(pool);
        message
    }

    pub(super) fn take_control(&mut self, pool: &mut MessagePool) -> Option<Box<Control>> {
        let control = self.kept.as_mut()?.control.take();
        self.tidy(pool);
        control
    }

    /// Gives back the room for what is not there.
    fn tidy(&mut self, pool: &mut MessagePool) {
        if let Some(Kept {
            message: None,
            control: None,
            takeover: None,
        }) = self.kept.as_deref()
            && let Some(kept) = self.kept.take()
        {
            pool.give_back_kept(kept);
        }
    }
}
