//! The Prometheus text format (version 0.0.4).

use std::fmt::Write;

use super::counter::{Counter, Metrics, ShardMetrics};
use super::pools::Pool;

/// Name, type, help and source of a metric with one value per shard.
type Plain = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ShardMetrics) -> &Counter,
);

const PLAIN: &[Plain] = &[
    (
        "hioload_connections",
        "gauge",
        "Open WebSockets and streams of messages.",
        |s| &s.connections,
    ),
    (
        "hioload_sse_streams",
        "gauge",
        "Open streams of server-sent events.",
        |s| &s.event_streams,
    ),
    (
        "hioload_sockets",
        "gauge",
        "Accepted sockets that are not closed yet.",
        |s| &s.sockets,
    ),
    (
        "hioload_accepted_total",
        "counter",
        "Accepted sockets.",
        |s| &s.accepted,
    ),
    (
        "hioload_dialled_total",
        "counter",
        "Connections begun from here.",
        |s| &s.dialled,
    ),
    (
        "hioload_dials_failed_total",
        "counter",
        "Connections begun from here that did not open.",
        |s| &s.dials_failed,
    ),
    (
        "hioload_messages_received_total",
        "counter",
        "Complete messages received.",
        |s| &s.messages_received,
    ),
    (
        "hioload_messages_sent_total",
        "counter",
        "Messages queued for sending.",
        |s| &s.messages_sent,
    ),
    (
        "hioload_bytes_received_total",
        "counter",
        "Bytes read from sockets.",
        |s| &s.bytes_received,
    ),
    (
        "hioload_bytes_sent_total",
        "counter",
        "Bytes the kernel took for sending.",
        |s| &s.bytes_sent,
    ),
    (
        "hioload_http_requests_total",
        "counter",
        "Plain HTTP requests answered.",
        |s| &s.http_requests,
    ),
    (
        "hioload_tls_handshakes_total",
        "counter",
        "TLS handshakes completed.",
        |s| &s.tls_handshakes,
    ),
    (
        "hioload_publishes_total",
        "counter",
        "Messages published by connections.",
        |s| &s.publishes,
    ),
    (
        "hioload_panics_total",
        "counter",
        "Panics of callbacks that were caught.",
        |s| &s.panics,
    ),
    (
        "hioload_rate_limited_total",
        "counter",
        "Messages, requests and upgrades above a rate.",
        |s| &s.rate_limited,
    ),
    (
        "hioload_turns_total",
        "counter",
        "Turns of the shard's loop.",
        |s| &s.turns,
    ),
    (
        "hioload_send_bytes_pending",
        "gauge",
        "Bytes queued for sending.",
        |s| &s.send_bytes_pending,
    ),
    (
        "hioload_tasks",
        "gauge",
        "Asynchronous tasks that have not ended.",
        |s| &s.tasks,
    ),
    (
        "hioload_tasks_failed_total",
        "counter",
        "Connections whose task returned an error.",
        |s| &s.tasks_failed,
    ),
    (
        "hioload_tasks_panicked_total",
        "counter",
        "Tasks that panicked.",
        |s| &s.tasks_panicked,
    ),
    (
        "hioload_recv_leases",
        "gauge",
        "Receive buffers in use.",
        |s| &s.recv_leases,
    ),
    (
        "hioload_accept_paused_total",
        "counter",
        "Pauses for lack of descriptors.",
        |s| &s.accept_paused,
    ),
    (
        "hioload_send_stalls_total",
        "counter",
        "Connections ended because they took nothing for too long.",
        |s| &s.send_stalls,
    ),
];

/// Name, type, help and source of a metric with one value per pool.
type OfPool = (&'static str, &'static str, &'static str, fn(&Pool) -> u64);

const POOL: [OfPool; 7] = [
    (
        "hioload_pool_buffers",
        "gauge",
        "Buffers allocated, in use or not.",
        |p| p.buffers,
    ),
    (
        "hioload_pool_bytes",
        "gauge",
        "Bytes of the buffers allocated.",
        |p| p.bytes,
    ),
    ("hioload_pool_in_use", "gauge", "Buffers in use.", |p| {
        p.in_use
    }),
    (
        "hioload_pool_in_use_peak",
        "gauge",
        "The most buffers in use at once since the start.",
        |p| p.peak,
    ),
    (
        "hioload_pool_exhausted_total",
        "counter",
        "Times no buffer was free.",
        |p| p.exhausted,
    ),
    (
        "hioload_pool_grown_total",
        "counter",
        "Times the pool grew.",
        |p| p.grown,
    ),
    (
        "hioload_pool_shrunk_total",
        "counter",
        "Times the pool shrank.",
        |p| p.shrunk,
    ),
];

impl Metrics {
    /// All counters in the Prometheus text format, one line per shard.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        for &(name, kind, help, read) in PLAIN {
            describe(&mut out, name, kind, help);
            for (index, shard) in self.0.iter().enumerate() {
                let value = read(shard).get();
                let _infallible = writeln!(out, "{name}{{shard=\"{index}\"}} {value}");
            }
        }
        self.labelled(
            &mut out,
            "hioload_closes_total",
            "WebSockets closed.",
            "code",
            |s| s.closes().collect(),
        );
        self.labelled(
            &mut out,
            "hioload_handshake_refusals_total",
            "Requests refused.",
            "reason",
            |s| s.refusals().collect(),
        );
        self.labelled(
            &mut out,
            "hioload_backpressure_total",
            "Backpressure events.",
            "action",
            |s| s.backpressures().collect(),
        );
        self.labelled(
            &mut out,
            "hioload_tls_failures_total",
            "Connections that TLS ended.",
            "reason",
            |s| s.tls_failures().collect(),
        );
        self.labelled(
            &mut out,
            "hioload_proxy_failures_total",
            "Connections of trusted proxies closed for their PROXY header.",
            "reason",
            |s| s.proxy_failures().collect(),
        );
        self.render_pools(&mut out);
        self.offload().render(&mut out);
        self.render_routes(&mut out);
        out
    }

    /// One line per shard and size class, with the NUMA node of its memory.
    fn render_pools(&self, out: &mut String) {
        let pools = self.pools();
        for (name, kind, help, read) in POOL {
            describe(out, name, kind, help);
            for pool in &pools {
                let node = pool.node.map_or_else(String::new, |node| node.to_string());
                let size = match pool.size {
                    0 => "larger".to_owned(),
                    size => size.to_string(),
                };
                let (shard, what, value) = (pool.shard, pool.kind.label(), read(pool));
                let _infallible = writeln!(
                    out,
                    "{name}{{shard=\"{shard}\",node=\"{node}\",pool=\"{what}\",size=\"{size}\"}} {value}"
                );
            }
        }
    }

    /// A metric with a second label. Series that never counted are left out,
    /// except on the first shard, so that each series exists.
    fn labelled(
        &self,
        out: &mut String,
        name: &str,
        help: &str,
        label: &str,
        read: impl Fn(&ShardMetrics) -> Vec<(String, u64)>,
    ) {
        describe(out, name, "counter", help);
        for (index, shard) in self.0.iter().enumerate() {
            for (key, value) in read(shard) {
                if value > 0 || index == 0 {
                    let _infallible =
                        writeln!(out, "{name}{{shard=\"{index}\",{label}=\"{key}\"}} {value}");
                }
            }
        }
    }
}

pub(super) fn describe(out: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use hioload_protocol::CloseCode;

    use super::*;

    #[test]
    fn every_shard_and_code_is_rendered() {
        let metrics = Metrics::new(2);
        metrics.shard(1).connections.add(3);
        metrics.shard(1).closed(CloseCode(1001));
        metrics.shard(1).closed(CloseCode(4321));
        let text = metrics.render();
        assert!(
            text.contains("hioload_connections{shard=\"0\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("hioload_connections{shard=\"1\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("hioload_closes_total{shard=\"1\",code=\"1001\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("hioload_closes_total{shard=\"1\",code=\"4xxx\"} 1\n"),
            "{text}"
        );
        assert_eq!(metrics.closes()["1001"], 1);
        let described = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .count();
        assert_eq!(described, PLAIN.len() + 5 + POOL.len() + 6);
    }
}
