//! What came of it, for people and as JSON.

use std::fmt;

use serde::Serialize;

use crate::machine::{Memory, Usage};

/// Time that something took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) seconds: f64,
    pub(crate) server_user_ms: u64,
    pub(crate) server_system_ms: u64,
    pub(crate) client_user_ms: u64,
    pub(crate) client_system_ms: u64,
}

impl Step {
    /// Servers and clients, now and when it began.
    pub(crate) fn new(seconds: f64, now: [Usage; 2], before: [Usage; 2]) -> Self {
        let [server, client] = now;
        let [server_before, client_before] = before;
        Self {
            seconds,
            server_user_ms: server.user_ms.saturating_sub(server_before.user_ms),
            server_system_ms: server.system_ms.saturating_sub(server_before.system_ms),
            client_user_ms: client.user_ms.saturating_sub(client_before.user_ms),
            client_system_ms: client.system_ms.saturating_sub(client_before.system_ms),
        }
    }
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) connections: u64,
    pub(crate) wanted: u64,
    pub(crate) stopped_early: Option<String>,
    pub(crate) pairs: usize,
    pub(crate) before: Memory,
    pub(crate) connected: Memory,
    /// All servers, without connections.
    pub(crate) server_at_first: Usage,
    /// All servers, all connected.
    pub(crate) server: Usage,
    pub(crate) client: Usage,
    pub(crate) server_after_broadcast: Usage,
    pub(crate) connect: Step,
    pub(crate) idle: Step,
    pub(crate) ping: Step,
    pub(crate) broadcast: Step,
    pub(crate) close: Step,
}

impl Report {
    fn each(&self, bytes: u64) -> u64 {
        bytes / self.connections.max(1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            before, connected, ..
        } = self;
        writeln!(
            f,
            "\n{} connections, {} wanted, {} pairs of processes",
            self.connections, self.wanted, self.pairs
        )?;
        if let Some(reason) = &self.stopped_early {
            writeln!(f, "stopped early: {reason}")?;
        }
        let growth = |now: u64, then: u64| now.saturating_sub(then);
        let server = growth(self.server.resident, self.server_at_first.resident);
        let broadcast = growth(
            self.server_after_broadcast.resident,
            self.server_at_first.resident,
        );
        let slab = growth(connected.slab, before.slab);
        let buffers = growth(connected.tcp_buffers, before.tcp_buffers);
        let all = growth(before.available, connected.available);
        writeln!(
            f,
            "\nmemory                              MiB  bytes/connection"
        )?;
        for (name, bytes) in [
            ("servers, beyond their start", server),
            ("the same, after the broadcast", broadcast),
            ("servers, their start", self.server_at_first.resident),
            ("clients", self.client.resident),
            ("kernel objects, both ends", slab),
            ("socket buffers, both ends", buffers),
            ("the whole machine", all),
        ] {
            writeln!(f, "{name:31} {:7} {:17}", bytes >> 20, self.each(bytes))?;
        }
        writeln!(
            f,
            "\n                 seconds  server CPU ms (user + system)  client CPU ms"
        )?;
        for (name, step) in [
            ("connect", self.connect),
            ("idle", self.idle),
            ("ping", self.ping),
            ("broadcast", self.broadcast),
            ("close", self.close),
        ] {
            writeln!(
                f,
                "{name:14} {:9.3} {:14} + {:<14} {:6} + {}",
                step.seconds,
                step.server_user_ms,
                step.server_system_ms,
                step.client_user_ms,
                step.client_system_ms
            )?;
        }
        writeln!(f, "{} TCP sockets", connected.tcp_sockets)
    }
}
