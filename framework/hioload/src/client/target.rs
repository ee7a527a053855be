//! Where to connect to.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use http::Uri;
use thiserror::Error;

/// A `ws://` or `wss://` URL (RFC 6455 section 3), resolved.
#[derive(Clone, Debug)]
pub struct Target {
    url: String,
    secure: bool,
    /// Without port and brackets.
    name: String,
    /// With the port unless it is the scheme's.
    host: String,
    path: String,
    addr: SocketAddr,
}

/// A URL that cannot be dialled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not a URL, or not one of a WebSocket.
    #[error("{url:?} is no WebSocket URL: {reason}; write ws://HOST:PORT/PATH or wss://HOST/PATH")]
    Malformed {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host has no address.
    #[error("cannot resolve {host:?} of {url}: {source}")]
    Unresolved {
        /// What was given.
        url: String,
        /// Its host.
        host: String,
        /// The cause.
        source: io::Error,
    },
}

impl Target {
    /// Parses a URL and resolves its host to the first address the system
    /// gives. Blocks while it asks the name service, so it does not belong in
    /// a callback.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong with the URL, or with its host.
    pub fn resolve(url: &str) -> Result<Self, TargetError> {
        let malformed = |reason: String| TargetError::Malformed {
            url: url.to_owned(),
            reason,
        };
        if url.contains('#') {
            return Err(malformed("it has a fragment".to_owned()));
        }
        let uri: Uri = url.parse().map_err(|error| malformed(format!("{error}")))?;
        let (secure, usual) = match uri.scheme_str() {
            Some("ws") => (false, 80),
            Some("wss") => (true, 443),
            _ => {
                return Err(malformed(
                    "it does not begin with ws:// or wss://".to_owned(),
                ));
            }
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(malformed(
                "it has a user name; send it in a header".to_owned(),
            ));
        }
        let name = uri.host().unwrap_or_default();
        if name.is_empty() {
            return Err(malformed("it has no host".to_owned()));
        }
        // `Uri::port` is silent about a port out of range.
        let port = match authority.strip_prefix(name).unwrap_or_default() {
            "" | ":" => usual,
            text => match text.trim_start_matches(':').parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(malformed(format!("port {} does not exist", &text[1..]))),
            },
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let unresolved = |source| TargetError::Unresolved {
            url: url.to_owned(),
            host: bare.to_owned(),
            source,
        };
        let addr = (bare, port)
            .to_socket_addrs()
            .map_err(unresolved)?
            .next()
            .ok_or_else(|| unresolved(io::Error::other("it has no address")))?;
        Ok(Self {
            url: url.to_owned(),
            secure,
            name: bare.to_owned(),
            host: if port == usual {
                name.to_owned()
            } else {
                format!("{name}:{port}")
            },
            path: uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str)
                .to_owned(),
            addr,
        })
    }

    /// Whether it is `wss://`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host without its port: what a certificate must name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the `Host` header says.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Target {
        Target::resolve(url).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_url_says_where_how_and_what() {
        let plain = resolve("ws://127.0.0.1:8000/chat?room=1");
        assert_eq!(plain.addr(), ([127, 0, 0, 1], 8000).into());
        assert_eq!(
            (plain.host(), plain.path()),
            ("127.0.0.1:8000", "/chat?room=1")
        );
        assert!(!plain.is_secure());
        let secure = resolve("wss://[::1]");
        assert_eq!(secure.addr().port(), 443);
        assert_eq!(
            (secure.name(), secure.host(), secure.path()),
            ("::1", "[::1]", "/")
        );
        assert!(secure.is_secure());
        assert_eq!(resolve("ws://127.0.0.1:80/").host(), "127.0.0.1");
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        for (url, reason) in [
            ("http://localhost/", "ws://"),
            ("localhost:80", "ws://"),
            ("ws://", "no websocket url"),
            ("ws://user@localhost/", "user name"),
            ("ws://127.0.0.1:0/", "port 0"),
            ("ws://127.0.0.1:70000/", "port 70000"),
            ("ws://127.0.0.1/#there", "fragment"),
            ("ws://127.0.0.1/a b", "invalid"),
            ("ws://127.0.0.1/\r\nHost: x", "invalid"),
            ("ws://name.invalid/", "cannot resolve"),
        ] {
            let error = Target::resolve(url).expect_err(url).to_string();
            assert!(
                error.to_lowercase().contains(&reason.to_lowercase()),
                "{url}: {error}"
            );
        }
    }
}
