//! What clients of Centrifugo's protocol did, beside messages.

use serde::Serialize;

use super::Distribution;
use crate::chat::Exchange;

/// The commands that were answered without an error, what was told unasked, and
/// how long answers took.
#[derive(Debug, Serialize)]
pub(crate) struct Centrifugo {
    pub(crate) connects: u64,
    pub(crate) subscribes: u64,
    pub(crate) unsubscribes: u64,
    pub(crate) publishes: u64,
    pub(crate) histories: u64,
    pub(crate) history_publications: u64,
    pub(crate) presences: u64,
    pub(crate) presence_clients: u64,
    pub(crate) joins: u64,
    pub(crate) leaves: u64,
    pub(crate) server_pings: u64,
    pub(crate) publish_ns: Distribution,
    pub(crate) history_ns: Distribution,
    pub(crate) presence_ns: Distribution,
}

impl Centrifugo {
    /// Of what all threads counted.
    pub(super) fn new(exchange: &Exchange) -> Self {
        Self {
            connects: exchange.connects,
            subscribes: exchange.subscribes,
            unsubscribes: exchange.unsubscribes,
            publishes: exchange.publishes,
            histories: exchange.histories,
            history_publications: exchange.history_publications,
            presences: exchange.presences,
            presence_clients: exchange.presence_clients,
            joins: exchange.joins,
            leaves: exchange.leaves,
            server_pings: exchange.pings,
            publish_ns: Distribution::of(&exchange.publish),
            history_ns: Distribution::of(&exchange.history),
            presence_ns: Distribution::of(&exchange.presence),
        }
    }
}
