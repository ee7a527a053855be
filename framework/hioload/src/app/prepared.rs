//! A message encoded once for many connections.

use super::Message;
use crate::hub::Encoded;

/// A message in the forms connections take, each made once: as it is, and
/// compressed once somebody needs that. Cheap to clone; send it with
/// [`Conn::send_prepared`](super::Conn::send_prepared) or
/// [`ConnRef::send_prepared`](super::ConnRef::send_prepared).
#[derive(Clone, Debug)]
pub struct Prepared(pub(crate) Encoded);

impl Prepared {
    /// Encodes a message: one copy of it, however many are sent to.
    #[must_use]
    pub fn new<'m>(message: impl Into<Message<'m>>) -> Self {
        Self(Encoded::new(message.into()))
    }

    /// The message it was made from.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        self.0.message()
    }
}
