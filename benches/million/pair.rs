//! A server and its client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::Sender;

use crate::Failure;
use crate::machine::Usage;
use crate::process::{Line, Process};

/// A server process and, once that is ready, a client process. They say lines
/// under the numbers `2 * number` and `2 * number + 1`.
pub(crate) struct Pair {
    number: usize,
    connections: u32,
    pub(crate) server: Process,
    pub(crate) client: Option<Process>,
    /// The server without connections.
    pub(crate) server_at_first: Usage,
}

impl Pair {
    pub(crate) fn start(
        number: usize,
        connections: u32,
        lines: Sender<Line>,
    ) -> Result<Self, Failure> {
        let arguments = ["serve", "--connections", &connections.to_string()];
        let arguments = arguments.map(str::to_owned);
        Ok(Self {
            number,
            connections,
            server: Process::start(2 * number, &arguments, lines)?,
            client: None,
            server_at_first: Usage::default(),
        })
    }

    /// The server listens: its client may dial.
    pub(crate) fn connect(&mut self, port: u16, lines: Sender<Line>) -> Result<(), Failure> {
        self.server_at_first = self.server.usage()?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let arguments = [
            "hold".to_owned(),
            "--connections".to_owned(),
            self.connections.to_string(),
            "--server".to_owned(),
            server.to_string(),
            "--source".to_owned(),
            source(self.number).to_string(),
        ];
        let client = Process::start(2 * self.number + 1, &arguments, lines)?;
        self.client = Some(client);
        Ok(())
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }

    pub(crate) fn order_client(&mut self, order: &str) -> Result<(), Failure> {
        let client = self.client.as_mut();
        client.ok_or("there is no client yet")?.order(order)
    }
}

/// An address for each client, in 127/8: one has ports for 28,000 connections.
fn source(number: usize) -> IpAddr {
    let number = u32::try_from(number).unwrap_or(u32::MAX) % (200 << 8);
    let [_, _, high, low] = number.to_be_bytes();
    IpAddr::from([127, 1 + high, low, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_addresses_of_their_own() {
        let addresses: std::collections::HashSet<_> = (0..1000).map(source).collect();
        assert_eq!(addresses.len(), 1000);
        assert!(addresses.iter().all(IpAddr::is_loopback));
    }
}
