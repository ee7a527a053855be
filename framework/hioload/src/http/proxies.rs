//! Whose word is taken for where a connection comes from.

use std::net::{IpAddr, SocketAddr};

use hioload_protocol::handshake;

use crate::config::{Config, Networks};

/// The proxies in front of a server.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    trusted: Networks,
    /// They send the PROXY header.
    protocol: bool,
}

impl Proxies {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            protocol: config.proxy_protocol,
        }
    }

    pub(crate) fn trust(&self, peer: Option<SocketAddr>) -> bool {
        self.trusted.contain(peer)
    }

    /// Whether a connection from there begins with a PROXY header.
    pub(crate) fn announce(&self, peer: Option<SocketAddr>) -> bool {
        self.protocol && self.trust(peer)
    }

    /// Where a request comes from, if the hop before has said so and is
    /// trusted: the last address in X-Forwarded-For that is not a trusted
    /// proxy's, since each proxy adds the address it was connected from at the
    /// end and the client may have written anything before it.
    pub(crate) fn client(
        &self,
        head: &handshake::Request<'_>,
        hop: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        if self.trusted.is_empty() || !self.trust(hop) {
            return hop;
        }
        let mut client = hop;
        let fields: Vec<&[u8]> = head.header_all("X-Forwarded-For").collect();
        let entries = fields
            .iter()
            .rev()
            .flat_map(|field| field.rsplit(|&byte| byte == b','));
        for entry in entries {
            // Before what no proxy would write nothing can be believed.
            let Some(addr) = address(entry.trim_ascii()) else {
                break;
            };
            client = Some(addr);
            if !self.trust(client) {
                break;
            }
        }
        client
    }
}

/// An address with or without a port, which is 0 then.
fn address(entry: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 0)),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use hioload_protocol::handshake::{HandshakeLimits, Parsed, parse_request};

    use super::*;

    /// What is found for fields that came from `hop`.
    fn client(hop: &str, fields: &[&str]) -> String {
        let proxies = Proxies {
            trusted: "10.0.0.0/8".parse().unwrap(),
            protocol: false,
        };
        let fields = fields
            .iter()
            .map(|field| format!("x-forwarded-for: {field}\r\n"));
        let fields: String = fields.collect();
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let parsed = parse_request(text.as_bytes(), &HandshakeLimits::default()).unwrap();
        let Parsed::Complete { value, .. } = parsed else {
            panic!("a whole head");
        };
        let hop = hop.parse().unwrap();
        proxies.client(&value, Some(hop)).unwrap().to_string()
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        let proxy = "10.0.0.1:5000";
        for (fields, expected) in [
            (&["192.0.2.7"][..], "192.0.2.7:0"),
            (&["6.6.6.6, 192.0.2.7"], "192.0.2.7:0"),
            (&["6.6.6.6, 192.0.2.7, 10.0.0.9,10.0.0.8"], "192.0.2.7:0"),
            (
                &["6.6.6.6", "192.0.2.7 ,10.0.0.9", "10.0.0.8"],
                "192.0.2.7:0",
            ),
            (&["192.0.2.7:1234"], "192.0.2.7:1234"),
            (&["[2001:db8::7]:1234"], "[2001:db8::7]:1234"),
            (&["[2001:db8::7]"], "[2001:db8::7]:0"),
            (&["2001:db8::7"], "[2001:db8::7]:0"),
            // A client inside, or a proxy of ours that asks for itself.
            (&["10.0.0.9, 10.0.0.8"], "10.0.0.9:0"),
            (&[], proxy),
            (&["unknown"], proxy),
            (&["6.6.6.6, unknown, 10.0.0.9"], "10.0.0.9:0"),
            (&["6.6.6.6,"], proxy),
        ] {
            assert_eq!(client(proxy, fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let stranger = "192.0.2.99:5000";
        assert_eq!(client(stranger, &["127.0.0.1"]), stranger);
        let mapped = "[::ffff:10.0.0.1]:5000";
        assert_eq!(client(mapped, &["192.0.2.7"]), "192.0.2.7:0");
    }
}
