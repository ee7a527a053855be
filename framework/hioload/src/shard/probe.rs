//! What a shard says of itself when it is asked.

use std::collections::BTreeMap;

use hioload_platform::{DriverStats, Nanos};

use super::chain::Stage;
use super::core::ShardCore;
use super::link::{Flags, Link};
use crate::app::App;
use crate::control::debug::{
    ConnectionState, Connections, HubState, Queues, ShardState, TopicState, WheelState, largest,
};

impl<A: App> ShardCore<A> {
    /// At the end of a turn: answers what was asked in it. It looks at every
    /// connection and topic of the shard.
    pub(super) fn tell_state(&mut self, driver: &DriverStats) {
        let Some(question) = self.question.take() else {
            return;
        };
        let state = self.state(driver);
        let questions = self.cx.handle.control().questions();
        questions.answer(self.cx.shard, question, state);
    }

    fn state(&self, driver: &DriverStats) -> ShardState {
        let mut connections = Connections::default();
        let links = || self.slab.links();
        links().for_each(|link| count(&mut connections, link));
        let behind = links().filter(|link| link.pending() + link.held() > 0);
        let slowest = largest(behind, |link| link.pending());
        let metrics = self.cx.metrics();
        ShardState {
            turns: metrics.turns.get(),
            reloads: self.cx.epoch,
            stopping: self.stopping.is_stopping(),
            connections,
            queues: self.queues(),
            driver: counters(driver),
            pools: metrics.pools.read(self.cx.shard).collect(),
            connection_timers: wheel(
                self.cx.wheel.len(),
                self.cx.wheel.next_deadline(),
                self.cx.now,
            ),
            app_timers: wheel(
                self.cx.agenda.len(),
                self.cx.agenda.next_deadline(),
                self.cx.now,
            ),
            hub: self.hub(),
            slowest: slowest
                .into_iter()
                .map(|link| describe(link, self.cx.shard, self.cx.now))
                .collect(),
        }
    }

    fn queues(&self) -> Queues {
        let inbox = self.cx.outgoing.inbox();
        let (backlog, backlog_bytes) = self.cx.outgoing.backlogs().unzip();
        Queues {
            inbox: inbox.len(),
            inbox_bytes: inbox.bytes(),
            inbox_places: inbox.places(),
            backlog,
            backlog_bytes,
            congested: self.cx.congested(),
            send_bytes: self.cx.outboxes.pending(),
            held_bytes: self.cx.held,
            dials: self.cx.dials.len(),
        }
    }

    fn hub(&self) -> HubState {
        let topics = || self.cx.topics.sizes();
        let most = largest(topics(), |&(_, _, subscribers)| subscribers);
        HubState {
            topics: self.cx.topics.len(),
            subscriptions: topics().map(|(_, _, subscribers)| subscribers).sum(),
            largest: most
                .into_iter()
                .map(|(hub, topic, subscribers)| TopicState {
                    hub: self.cx.topics.hubs().get(hub).options.name.clone(),
                    topic: topic.to_owned(),
                    subscribers,
                })
                .collect(),
        }
    }
}

fn count(connections: &mut Connections, link: &Link) {
    connections.all += 1;
    *match &link.stage {
        Stage::Http(_) => &mut connections.http,
        Stage::Dialling(_) => &mut connections.dialling,
        Stage::WebSocket(_) => &mut connections.websocket,
        Stage::Stream(_) | Stage::Messages(_) => &mut connections.streams,
        Stage::Draining => &mut connections.draining,
    } += 1;
    connections.closing += usize::from(link.is(Flags::CLOSING));
    connections.paused += usize::from(link.is_paused());
}

fn describe(link: &Link, shard: usize, now: Nanos) -> ConnectionState {
    let reasons = [
        (Flags::PAUSED_BACKPRESSURE, "backpressure"),
        (Flags::PAUSED_CONGESTED, "congestion"),
        (Flags::PAUSED_BY_APP, "app"),
        (Flags::PAUSED_ANSWER, "answer"),
    ];
    let paused = reasons.into_iter().filter(|(flag, _)| link.is(*flag));
    ConnectionState {
        shard,
        slot: link.token().slot(),
        generation: link.token().generation(),
        peer: link.peer(),
        age_s: link.age_s(now),
        stage: match link.stage {
            Stage::Http(_) => "http",
            Stage::Dialling(_) => "dialling",
            Stage::WebSocket(_) => "websocket",
            Stage::Stream(_) | Stage::Messages(_) => "stream",
            Stage::Draining => "draining",
        },
        pending: link.pending(),
        held: link.held(),
        paused: paused.map(|(_, reason)| reason).collect(),
        closing: link.is(Flags::CLOSING),
    }
}

fn wheel(pending: usize, next: Option<Nanos>, now: Nanos) -> WheelState {
    WheelState {
        pending,
        next_in_ns: next.map(|next| next.saturating_sub(now)),
    }
}

fn counters(stats: &DriverStats) -> BTreeMap<&'static str, u64> {
    // No `..`: a new counter is shown too.
    let DriverStats {
        attached,
        in_flight,
        enters,
        completions,
        stale,
        pool_exhausted,
        lease_capped,
        short_sends,
        accept_paused,
        accept_errors,
        cq_overflows,
        leases_out,
        recv_buffers,
        recv_buffer_bytes,
        recv_in_use,
        recv_peak,
        recv_grown,
        recv_shrunk,
        zc_copied,
    } = *stats;
    BTreeMap::from([
        ("attached", attached),
        ("in_flight", in_flight),
        ("enters", enters),
        ("completions", completions),
        ("stale", stale),
        ("pool_exhausted", pool_exhausted),
        ("lease_capped", lease_capped),
        ("short_sends", short_sends),
        ("accept_paused", accept_paused),
        ("accept_errors", accept_errors),
        ("cq_overflows", cq_overflows),
        ("leases_out", leases_out),
        ("recv_buffers", recv_buffers),
        ("recv_buffer_bytes", recv_buffer_bytes),
        ("recv_in_use", recv_in_use),
        ("recv_peak", recv_peak),
        ("recv_grown", recv_grown),
        ("recv_shrunk", recv_shrunk),
        ("zc_copied", zc_copied),
    ])
}
