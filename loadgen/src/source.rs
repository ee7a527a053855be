//! The local addresses to connect from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Connections per automatic source address. The default
/// `net.ipv4.ip_local_port_range` (32768 to 60999) has 28,232 ports, but for
/// `connect` the kernel tries those of one parity first and then searches the
/// rest one by one: 14,000 connections opened within a second, the next 5,800
/// took eleven.
const PER_ADDRESS: usize = 12_000;

/// Source addresses and how connections are spread over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// The kernel chooses.
    Any,
    /// `127.0.0.1`, `127.0.0.2`, ..., a new one every 12,000 connections.
    Loopback,
    /// These, in turn.
    List(Vec<IpAddr>),
}

impl Sources {
    /// The addresses for a target: the given ones, or the first `count` of
    /// loopback, or else automatic ones where the target is on loopback.
    pub(crate) fn choose(
        target: SocketAddr,
        list: &[IpAddr],
        count: Option<u16>,
    ) -> Result<Self, String> {
        if let Some(wrong) = list
            .iter()
            .find(|source| source.is_ipv4() != target.is_ipv4())
        {
            return Err(format!(
                "source {wrong} and target {target} are of different families"
            ));
        }
        if !list.is_empty() {
            return Ok(Self::List(list.to_vec()));
        }
        let loopback = matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        match count {
            Some(_) if !loopback => Err(format!(
                "--source-count works for targets in 127.0.0.0/8, not for {target}; \
                 name the addresses with --source"
            )),
            Some(count) => Ok(Self::List(
                (0..usize::from(count)).map(loopback_address).collect(),
            )),
            None if loopback => Ok(Self::Loopback),
            None => Ok(Self::Any),
        }
    }

    /// The address connection number `connection` comes from.
    pub(crate) fn of(&self, connection: usize) -> Option<SocketAddr> {
        let ip = match self {
            Self::Any => return None,
            Self::Loopback => loopback_address(connection / PER_ADDRESS),
            Self::List(list) => list[connection % list.len()],
        };
        Some(SocketAddr::new(ip, 0))
    }

    /// The address for the connection begun as number `begun`, where each lasts
    /// a moment and its port stays behind.
    pub(crate) fn in_turn(&self, begun: usize) -> Option<SocketAddr> {
        match self {
            Self::Loopback => Some(SocketAddr::new(loopback_address(begun % RENEWED), 0)),
            Self::Any | Self::List(_) => self.of(begun),
        }
    }
}

/// Loopback addresses that short connections use in turn: a port whose
/// connection the client closed first is held for a second, and 16 times 28,000
/// ports outlast that.
const RENEWED: usize = 16;

/// `127.0.0.1` and those after it.
fn loopback_address(index: usize) -> IpAddr {
    let host = u32::try_from(index + 1)
        .unwrap_or(u32::MAX)
        .min(0x00ff_fffe);
    IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0000 | host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(connection: usize, sources: &Sources) -> String {
        sources.of(connection).unwrap().ip().to_string()
    }

    #[test]
    fn loopback_gets_an_address_every_12000_connections() {
        let sources = Sources::choose("127.0.0.1:8000".parse().unwrap(), &[], None).unwrap();
        assert_eq!(ip(0, &sources), "127.0.0.1");
        assert_eq!(ip(11_999, &sources), "127.0.0.1");
        assert_eq!(ip(12_000, &sources), "127.0.0.2");
        assert_eq!(ip(1_000_000, &sources), "127.0.0.84");
        assert_eq!(ip(12_000 * 255, &sources), "127.0.1.0");
    }

    #[test]
    fn short_connections_on_loopback_take_addresses_in_turn() {
        let sources = Sources::choose("127.0.0.1:8000".parse().unwrap(), &[], None).unwrap();
        let of = |begun| sources.in_turn(begun).unwrap().ip().to_string();
        assert_eq!(
            [0, 1, 15, 16].map(of),
            ["127.0.0.1", "127.0.0.2", "127.0.0.16", "127.0.0.1"]
        );
    }

    #[test]
    fn given_addresses_are_used_in_turn() {
        let target = "127.0.0.1:8000".parse().unwrap();
        let list = ["127.0.0.9".parse().unwrap(), "127.0.0.7".parse().unwrap()];
        let sources = Sources::choose(target, &list, None).unwrap();
        assert_eq!(
            [0, 1, 2].map(|index| ip(index, &sources)),
            ["127.0.0.9", "127.0.0.7", "127.0.0.9"]
        );
        let counted = Sources::choose(target, &[], Some(3)).unwrap();
        assert_eq!(ip(5, &counted), "127.0.0.3");
    }

    #[test]
    fn the_kernel_chooses_for_other_targets() {
        let target = "192.0.2.1:80".parse().unwrap();
        assert_eq!(Sources::choose(target, &[], None), Ok(Sources::Any));
        assert!(Sources::choose(target, &[], Some(2)).is_err());
        assert!(Sources::choose(target, &["::1".parse().unwrap()], None).is_err());
    }
}
