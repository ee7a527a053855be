//! How an app takes the body of a plain request.

use super::response::Response;

/// What an app wants of a body that is about to come; see
/// [`App::upload`](crate::App::upload).
#[derive(Debug)]
pub struct Upload(pub(crate) Taking);

#[derive(Debug)]
pub(crate) enum Taking {
    Collect,
    Stream(u64),
    Answer(Response),
}

impl Upload {
    /// The whole body first, up to [`Config::max_body`](crate::Config::max_body),
    /// then [`App::http`](crate::App::http) with it.
    #[must_use]
    pub fn collect() -> Self {
        Self(Taking::Collect)
    }

    /// The body in parts as they arrive, to [`App::body`](crate::App::body), of
    /// at most `limit` bytes together. A larger one is answered 413: at once
    /// when its length is known, else with [`BodyPart::Aborted`] when the
    /// limit is reached.
    #[must_use]
    pub fn stream(limit: u64) -> Self {
        Self(Taking::Stream(limit))
    }

    /// Nothing of it: the answer is sent at once, and ends the connection,
    /// since the body may follow all the same.
    #[must_use]
    pub fn answer(response: impl Into<Response>) -> Self {
        Self(Taking::Answer(response.into()))
    }
}

/// What happens to a body that an app [streams](Upload::stream).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPart<'b> {
    /// The next bytes: never none, at most a receive buffer's, cut anywhere.
    Bytes(&'b [u8]),
    /// It is whole: [`Conn::answer`](crate::Conn::answer) now, or within
    /// [`Config::body_timeout`](crate::Config::body_timeout).
    End,
    /// It will never be whole, or the answer came too late: nobody can be
    /// answered any more.
    Aborted,
}

impl<'b> BodyPart<'b> {
    /// The bytes of this part; none where it has ended.
    #[must_use]
    pub fn bytes(self) -> &'b [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::End | Self::Aborted => &[],
        }
    }
}
