//! Why TLS ended a connection.

use rustls::Error;

/// Reasons, as counted in `hioload_tls_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The peer speaks HTTP without TLS.
    PlainHttp,
    /// No complete handshake before its deadline.
    Timeout,
    /// The peer ended in the handshake: health checks and scanners do.
    Eof,
    /// The peer ended with an alert: it does not trust the certificate, say.
    Alert,
    /// No common version, suite or group.
    Incompatible,
    /// The peer offers no application protocol of ours.
    Alpn,
    /// What came is not TLS, or against its rules.
    Protocol,
    /// A record does not authenticate: damaged or forged.
    Decrypt,
    /// Anything else.
    Other,
}

impl TlsFailure {
    pub(crate) const ALL: [Self; 9] = [
        Self::PlainHttp,
        Self::Timeout,
        Self::Eof,
        Self::Alert,
        Self::Incompatible,
        Self::Alpn,
        Self::Protocol,
        Self::Decrypt,
        Self::Other,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::Timeout => "timeout",
            Self::Eof => "eof",
            Self::Alert => "alert",
            Self::Incompatible => "incompatible",
            Self::Alpn => "alpn",
            Self::Protocol => "protocol",
            Self::Decrypt => "decrypt",
            Self::Other => "other",
        }
    }
}

impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> Self {
        match error {
            Error::AlertReceived(_) => Self::Alert,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::NoApplicationProtocol => Self::Alpn,
            Error::DecryptError => Self::Decrypt,
            Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerSentOversizedRecord => Self::Protocol,
            _ => Self::Other,
        }
    }
}
