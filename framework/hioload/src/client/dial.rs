//! What to dial, and with which request.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hioload_platform::Connect;
use hioload_platform::clock::nanos;
use hioload_protocol::DeflateConfig;
use hioload_protocol::handshake::{ClientRequest, ExpectedAccept, InvalidField};
use thiserror::Error;

use super::{ClientTls, Target, TargetError};
use crate::shard::Owner;

/// A server and the request for a WebSocket on it. One `Dial` serves any
/// number of connections, from any shard; share it in an
/// [`Arc`](std::sync::Arc).
#[derive(Clone, Debug)]
pub struct Dial {
    target: Target,
    protocols: Vec<String>,
    headers: Vec<(String, String)>,
    origin: Option<String>,
    source: Option<IpAddr>,
    timeout: Duration,
    tls: Option<ClientTls>,
    deflate: bool,
}

impl Dial {
    /// A dial of `url`, which is resolved now: see [`Target::resolve`].
    ///
    /// # Errors
    /// As [`Target::resolve`].
    pub fn new(url: &str) -> Result<Self, TargetError> {
        Target::resolve(url).map(Self::to)
    }

    /// A dial of a resolved URL: within 10 seconds, offering
    /// permessage-deflate if [`Config::deflate`](crate::Config::deflate) has
    /// settings for it, trusting what the system trusts.
    #[must_use]
    pub fn to(target: Target) -> Self {
        Self {
            target,
            protocols: Vec::new(),
            headers: Vec::new(),
            origin: None,
            source: None,
            timeout: Duration::from_secs(10),
            tls: None,
            deflate: true,
        }
    }

    /// Offers one more subprotocol, less preferred than those before.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocols.push(name.into());
        self
    }

    /// Adds a header to the request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends an `Origin`, as browsers do.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Connects from this local address; the kernel chooses the port. One
    /// address reaches one server some 28,000 times at once (Linux's default
    /// `ip_local_port_range`).
    #[must_use]
    pub fn source(mut self, addr: IpAddr) -> Self {
        self.source = Some(addr);
        self
    }

    /// How long the whole handshake may take: TCP, TLS, upgrade.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whom a `wss://` target must be; without it [`ClientTls::system`].
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whether permessage-deflate is offered.
    #[must_use]
    pub fn deflate(mut self, offer: bool) -> Self {
        self.deflate = offer;
        self
    }

    /// The server.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the whole handshake may take, in nanoseconds.
    pub(crate) fn timeout_nanos(&self) -> u64 {
        nanos(self.timeout)
    }

    pub(crate) fn tls_config(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    pub(crate) fn connect(&self) -> Connect {
        Connect {
            addr: self.target.addr(),
            source: self.source.map(|addr| SocketAddr::new(addr, 0)),
            timeout: self.timeout_nanos(),
        }
    }

    /// Writes the request; `nonce` is fresh for each connection.
    pub(crate) fn request(
        &self,
        nonce: [u8; 16],
        deflate: Option<&DeflateConfig>,
        out: &mut Vec<u8>,
    ) -> Result<ExpectedAccept, InvalidField> {
        let protocols: Vec<&str> = self.protocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = ClientRequest {
            host: self.target.host(),
            target: self.target.path(),
            protocols: &protocols,
            headers: &headers,
            origin: self.origin.as_deref(),
            deflate: deflate.filter(|_| self.deflate),
        };
        request.validate()?;
        Ok(request.write(nonce, out))
    }
}

/// What a server has granted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    pub(crate) owner: Owner,
    pub(crate) key: u64,
    pub(crate) protocol: Option<&'a str>,
    pub(crate) deflate: bool,
}

impl<'a> Accepted<'a> {
    /// The key the connection was dialled with.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The subprotocol the server chose, one of those offered.
    #[must_use]
    pub fn protocol(&self) -> Option<&'a str> {
        self.protocol
    }

    /// Whether messages are compressed.
    #[must_use]
    pub fn is_deflate(&self) -> bool {
        self.deflate
    }
}

/// More dials wait on a shard than it keeps (65,536): dial again when some of
/// them have connected or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many dials wait to be started")]
pub struct DialsFull;
