//! What the numbers of a kind of load are about, in words. A report knows a
//! load by these alone.

use serde::Serialize;

use crate::settings::{Load, Pace, Settings};

/// The words for one kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Labels {
    /// What is received: the unit of the throughput and of the server's CPU
    /// time per message. None: nothing is, so there is no rate to show.
    pub(crate) received: Option<&'static str>,
    /// From when to when a latency counts. None: there is none.
    pub(crate) latency: Option<&'static str>,
}

impl Labels {
    /// For the load of a run.
    pub(crate) fn of(settings: &Settings) -> Self {
        let (received, latency) = match settings.load {
            Load::Echo {
                pace: Pace::Open { .. },
                ..
            } => (
                "message received",
                "from the planned send to the receipt of the echo",
            ),
            Load::Echo {
                pace: Pace::Closed { .. },
                ..
            } => (
                "message received",
                "from the send to the receipt of the echo",
            ),
            Load::Broadcast { .. } | Load::Chat(_) => {
                ("delivery", "from the planned publish to each receipt")
            }
            Load::Connect(_) => (
                "connection",
                "from the planned connect to the receipt of the first echo",
            ),
            Load::Reconnect { .. } => (
                "connection",
                "from the drop of a connection to the first echo of its successor",
            ),
            Load::Idle { .. } => ("pong", "from the planned ping to the receipt of the pong"),
        };
        Self {
            received: Some(received),
            latency: Some(latency),
        }
    }
}
