//! Where encoded frames go.

use crate::mask;

/// A destination for encoded frames, such as a connection's outbox.
pub trait Output {
    /// Appends `header` and then `payload`, masked with `mask` when given.
    ///
    /// The pieces of one frame are given in one call, so an implementation
    /// that must refuse a frame can refuse it whole.
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<[u8; 4]>);
}

impl Output for Vec<u8> {
    #[inline]
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<[u8; 4]>) {
        self.reserve(header.len() + payload.len());
        self.extend_from_slice(header);
        let start = self.len();
        self.extend_from_slice(payload);
        if let Some(key) = mask {
            mask::apply(&mut self[start..], key, 0);
        }
    }
}
