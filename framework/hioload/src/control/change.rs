//! What differs between two configurations, and whether it can change while a
//! server runs.

use std::fmt;

use crate::config::Config;

/// A setting that a reload changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The setting: a field of [`Config`], or what the source calls it.
    pub field: &'static str,
    /// What it was, for people.
    pub from: String,
    /// What it is to be.
    pub to: String,
}

impl Change {
    /// A setting outside [`Config`]; see
    /// [`Fresh::change`](super::Fresh::change).
    pub(super) fn new(field: &'static str, from: impl Into<String>, to: impl Into<String>) -> Self {
        let (from, to) = (from.into(), to.into());
        Self { field, from, to }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.field, self.from, self.to)
    }
}

/// Changes as a list.
pub(super) struct List<'a>(pub(super) &'a [Change]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{change}")?;
        }
        Ok(())
    }
}

/// The differences, apart by whether a running server can follow them.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) live: Vec<Change>,
    pub(super) fixed: Vec<Change>,
}

/// Compares two configurations. All fields are listed and there is no `..`, so
/// that whoever adds one decides here whether it can change.
macro_rules! differences {
    ($old:expr, $new:expr, live: [$($live:ident),* $(,)?], fixed: [$($fixed:ident),* $(,)?],
     depends: $depends:ident) => {{
        let Config { $($live,)* $($fixed,)* $depends: _ } = $new;
        let live = [$(changed(stringify!($live), &$old.$live, $live)),*];
        let fixed = [$(changed(stringify!($fixed), &$old.$fixed, $fixed)),*];
        Difference {
            live: live.into_iter().flatten().collect(),
            fixed: fixed.into_iter().flatten().collect(),
        }
    }};
}

impl Difference {
    /// `capacity`: the connections the drivers were made for.
    pub(super) fn between(old: &Config, new: &Config, capacity: usize) -> Self {
        let mut difference = differences!(
            old,
            new,
            live: [
                max_connections_per_address,
                max_message,
                max_head,
                max_headers,
                max_body,
                body_timeout,
                max_subscriptions,
                handshake_timeout,
                close_timeout,
                idle_timeout,
                ping_interval,
                pong_timeout,
                send_timeout,
                max_lifetime,
                offload_timeout,
                drain_timeout,
                drain_waves,
                drain_spread,
                backpressure_limit,
                send_memory,
                backpressure,
                deflate,
                trace_sample,
            ],
            fixed: [
                shards,
                placement,
                cpus,
                pin,
                backend,
                listener,
                recv_buffers,
                recv_buffers_max,
                offload_workers,
                offload_queue,
                trusted_proxies,
                proxy_protocol,
            ],
            depends: max_connections
        );
        let (from, to) = (&old.max_connections, &new.max_connections);
        let follows = if new.connections() > capacity {
            &mut difference.fixed
        } else {
            &mut difference.live
        };
        follows.extend(changed("max_connections", from, to));
        difference
    }
}

fn changed<T: PartialEq + fmt::Debug>(field: &'static str, old: &T, new: &T) -> Option<Change> {
    (old != new).then(|| Change::new(field, format!("{old:?}"), format!("{new:?}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_differs_is_named_with_both_values() {
        let old = Config::default();
        let new = Config {
            shards: 3,
            max_message: 2000,
            idle_timeout: None,
            ..Config::default()
        };
        let difference = Difference::between(&old, &new, old.connections());
        assert_eq!(List(&difference.fixed).to_string(), "shards 0 -> 3");
        assert_eq!(
            List(&difference.live).to_string(),
            "max_message 1048576 -> 2000, idle_timeout Some(120s) -> None"
        );
    }

    #[test]
    fn connections_can_change_up_to_what_the_drivers_hold() {
        let fixed = |from, to| {
            let of = |max_connections| Config {
                max_connections,
                drain_timeout: Duration::from_secs(9),
                ..Config::default()
            };
            let (old, new) = (of(from), of(to));
            let difference = Difference::between(&old, &new, old.connections());
            assert_eq!(difference.live.len() + difference.fixed.len(), 1);
            !difference.fixed.is_empty()
        };
        assert!(!fixed(100, 50) && !fixed(0, 50));
        assert!(fixed(100, 101) && fixed(100, 0));
    }
}
