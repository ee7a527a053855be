//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// A range of addresses in CIDR notation (RFC 4632): `10.0.0.0/8`,
/// `2001:db8::/32`; one address alone is a range of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// As an address of IPv6, IPv4 mapped into it.
    first: u128,
    /// Bits, counted in IPv6.
    prefix: u32,
}

/// Why a text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No address.
    #[error("{text:?} is no address; write one such as 192.0.2.1, or a range such as 10.0.0.0/8")]
    Address {
        /// What was given.
        text: String,
    },
    /// No prefix length, or one longer than the address.
    #[error("the prefix length of {text:?} is wrong; it is 0 to {most}")]
    Prefix {
        /// What was given.
        text: String,
        /// The bits of the address.
        most: u32,
    },
    /// An address inside the range instead of its first one: a typing error in
    /// either.
    #[error("{text:?} has bits beyond its prefix; the range is {network}")]
    Bits {
        /// What was given.
        text: String,
        /// The range that its address is in.
        network: Network,
    },
}

impl Network {
    /// Whether an address is in it. An IPv4 address that is mapped into IPv6 is
    /// the IPv4 address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        bits(ip) & mask(self.prefix) == self.first
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let text = || text.to_owned();
        let ip: IpAddr = address
            .parse()
            .map_err(|_| NetworkError::Address { text: text() })?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.map(str::parse) {
            None => most,
            Some(Ok(prefix)) if prefix <= most => prefix,
            Some(_) => return Err(NetworkError::Prefix { text: text(), most }),
        };
        let prefix = prefix + 128 - most;
        let first = bits(ip) & mask(prefix);
        let network = Self { first, prefix };
        if first == bits(ip) {
            Ok(network)
        } else {
            let text = text();
            Err(NetworkError::Bits { text, network })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = IpAddr::V6(self.first.into());
        match ip.to_canonical() {
            IpAddr::V4(ip) if self.prefix >= 96 => write!(f, "{ip}/{}", self.prefix - 96),
            _ => write!(f, "{ip}/{}", self.prefix),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ranges of addresses, parsed from a list with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }

    /// As [`contains`](Self::contains); an unknown address is in none.
    pub(crate) fn contain(&self, addr: Option<SocketAddr>) -> bool {
        addr.is_some_and(|addr| self.contains(addr.ip()))
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl FromStr for Networks {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(str::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        text.parse::<Network>().unwrap_err().to_string()
    }

    #[test]
    fn a_range_has_its_addresses_and_no_others() {
        let networks: Networks = "10.0.0.0/8, 192.0.2.1,2001:db8::/32,::1".parse().unwrap();
        for (ip, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.0", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(networks.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        assert!(!all.contains("2001:db8::1".parse().unwrap()));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!("".parse::<Networks>().unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(fault("localhost").contains("no address"));
        assert!(fault("10.0.0.0/33").contains("0 to 32"));
        assert!(fault("::/129").contains("0 to 128"));
        assert!(fault("10.0.0.0/").contains("prefix length"));
        assert!(fault("10.1.2.3/8").contains("the range is 10.0.0.0/8"));
        assert!(fault("2001:db8::1/32").contains("the range is 2001:db8::/32"));
    }
}
