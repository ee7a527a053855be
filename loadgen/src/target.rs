//! The server under load.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// A `ws://` URL, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    url: String,
    host: String,
    path: String,
    addr: SocketAddr,
}

impl Target {
    /// Reads and resolves a URL.
    pub(crate) fn resolve(url: &str) -> Result<Self, String> {
        let (host, path) = split(url)?;
        let with_port = if has_port(host) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let addr = with_port
            .to_socket_addrs()
            .map_err(|error| format!("cannot resolve '{host}' of {url}: {error}"))?
            .next()
            .ok_or_else(|| format!("'{host}' of {url} has no address"))?;
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            addr,
        })
    }

    /// What the `Host` header says.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The request target: path and query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where to connect to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn split(url: &str) -> Result<(&str, &str), String> {
    if url.starts_with("wss://") {
        return Err(format!("{url}: TLS is not supported; use ws://"));
    }
    let rest = url
        .strip_prefix("ws://")
        .ok_or_else(|| format!("{url}: a URL starts with ws://, as ws://127.0.0.1:8000/echo"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if host.is_empty() || host.contains(['@', '?', '#']) {
        return Err(format!(
            "{url}: it has no plain host; write ws://HOST:PORT/PATH"
        ));
    }
    if !path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(format!(
            "{url}: the path has characters that must be percent-encoded"
        ));
    }
    Ok((host, path))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(before, _)| !before.contains(':') || before.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_and_resolved() {
        let target = Target::resolve("ws://127.0.0.1:8000/echo?a=1").unwrap();
        assert_eq!(target.addr(), "127.0.0.1:8000".parse().unwrap());
        assert_eq!(
            (target.host(), target.path()),
            ("127.0.0.1:8000", "/echo?a=1")
        );
        let plain = Target::resolve("ws://127.0.0.1").unwrap();
        assert_eq!(plain.addr(), "127.0.0.1:80".parse().unwrap());
        assert_eq!((plain.host(), plain.path()), ("127.0.0.1", "/"));
        let six = Target::resolve("ws://[::1]/x").unwrap();
        assert_eq!(six.addr(), "[::1]:80".parse().unwrap());
    }

    #[test]
    fn what_is_not_a_plain_ws_url_is_refused() {
        for bad in [
            "",
            "http://h/",
            "wss://h/",
            "ws://",
            "ws:///x",
            "ws://h/a b",
            "ws://u@h/",
            "ws://127.0.0.1:99999/",
            "ws://127.0.0.1/\r\nX: y",
        ] {
            assert!(Target::resolve(bad).is_err(), "{bad} was accepted");
        }
    }
}
