//! Numbers that clients act upon: errors of replies, ends of subscriptions, ends
//! of connections.

use serde::Serialize;

/// Why a command failed; the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The server could not, this time.
    Internal,
    /// There is no token, and it takes one.
    Unauthorized,
    /// The channel's namespace does not exist.
    UnknownChannel,
    /// Not allowed to this client.
    PermissionDenied,
    /// There is no such method to call.
    MethodNotFound,
    /// The client is subscribed to the channel.
    AlreadySubscribed,
    /// Too many channels, or too many subscribed by this client.
    LimitExceeded,
    /// The command makes no sense.
    BadRequest,
    /// Switched off for the channel.
    NotAvailable,
    /// The token has expired: come again with a new one.
    TokenExpired,
    /// What the new token grants has expired.
    Expired,
    /// More commands than allowed.
    TooManyRequests,
    /// What was published since then is gone.
    UnrecoverablePosition,
}

impl Error {
    /// Its number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        self.parts().0
    }

    /// Its text on the wire.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.parts().1
    }

    /// Whether the same command may succeed later.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }

    fn parts(self) -> (u32, &'static str) {
        match self {
            Self::Internal => (100, "internal server error"),
            Self::Unauthorized => (101, "unauthorized"),
            Self::UnknownChannel => (102, "unknown channel"),
            Self::PermissionDenied => (103, "permission denied"),
            Self::MethodNotFound => (104, "method not found"),
            Self::AlreadySubscribed => (105, "already subscribed"),
            Self::LimitExceeded => (106, "limit exceeded"),
            Self::BadRequest => (107, "bad request"),
            Self::NotAvailable => (108, "not available"),
            Self::TokenExpired => (109, "token expired"),
            Self::Expired => (110, "expired"),
            Self::TooManyRequests => (111, "too many requests"),
            Self::UnrecoverablePosition => (112, "unrecoverable position"),
        }
    }
}

/// Why a command failed, as it is told: in the words of an [`Error`] or of the
/// application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failure<'a> {
    /// The application's are from 400 on, and none of the server's.
    pub code: u32,
    /// For people.
    pub message: &'a str,
    /// Whether the same command may succeed later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
}

impl From<Error> for Failure<'static> {
    fn from(error: Error) -> Self {
        let (code, message) = error.parts();
        Self {
            code,
            message,
            temporary: error.is_temporary(),
        }
    }
}

/// Why the server ends a connection. From 3500 on clients do not come back by
/// themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The server stops; another one, or its next run, takes the client back.
    Shutdown,
    /// The server could not go on.
    Internal,
    /// The token has expired and was not renewed.
    Expired,
    /// It read too slowly.
    Slow,
    /// Something was missed in a channel that only the server subscribes it to.
    InsufficientState,
    /// It did not answer a ping.
    NoPong,
    /// It went on although it was told that it asks too much.
    TooManyRequests,
    /// The token is not one of ours.
    InvalidToken,
    /// It does not speak the protocol.
    BadRequest,
    /// It did not connect in time.
    Stale,
    /// Somebody wants it so, and it may come again.
    ForceReconnect,
    /// Somebody wants it so.
    ForceNoReconnect,
    /// Its user has as many connections as are allowed.
    ConnectionLimit,
    /// The server would subscribe it to more channels than are allowed.
    ChannelLimit,
    /// It speaks another encoding.
    InappropriateProtocol,
    /// What it sent has nobody to go to.
    NotAvailable,
    /// Too much of what it asked for failed.
    TooManyErrors,
}

impl Disconnect {
    /// The code of the Close frame.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.parts().0
    }

    /// The reason in the Close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.parts().1
    }

    const fn parts(self) -> (u16, &'static str) {
        match self {
            Self::Shutdown => (3001, "shutdown"),
            Self::Internal => (3004, "internal server error"),
            Self::Expired => (3005, "connection expired"),
            Self::Slow => (3008, "slow"),
            Self::InsufficientState => (3010, "insufficient state"),
            Self::ForceReconnect => (3011, "force reconnect"),
            Self::NoPong => (3012, "no pong"),
            Self::TooManyRequests => (3013, "too many requests"),
            Self::InvalidToken => (3500, "invalid token"),
            Self::BadRequest => (3501, "bad request"),
            Self::Stale => (3502, "stale"),
            Self::ForceNoReconnect => (3503, "force disconnect"),
            Self::ConnectionLimit => (3504, "connection limit"),
            Self::ChannelLimit => (3505, "channel limit"),
            Self::InappropriateProtocol => (3506, "inappropriate protocol"),
            Self::NotAvailable => (3508, "not available"),
            Self::TooManyErrors => (3509, "too many errors"),
        }
    }
}

/// Why the server ended a subscription. From 2500 on clients subscribe again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// Somebody wants it so.
    Server,
    /// Something was missed: to be recovered by subscribing again.
    Insufficient,
    /// The subscription's token has expired and was not renewed.
    Expired,
}

impl Unsubscribed {
    /// Its number and text on the wire.
    #[must_use]
    pub fn parts(self) -> (u32, &'static str) {
        match self {
            Self::Server => (2000, "server unsubscribe"),
            Self::Insufficient => (2500, "insufficient state"),
            Self::Expired => (2501, "subscription expired"),
        }
    }
}
