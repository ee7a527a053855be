//! The server process, as it is written.

use serde::Serialize;

use crate::labels::Labels;
use crate::server_process::{Reading, Seen};

/// CPU and memory of the server process.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) valid: bool,
    pub(crate) note: Option<String>,
    pub(crate) threads: u64,
    pub(crate) measured_seconds: f64,
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) user_ns: Option<u64>,
    pub(crate) system_ns: Option<u64>,
    pub(crate) cores: Option<f64>,
    pub(crate) per: Option<&'static str>,
    pub(crate) cpu_ns_per_message: Option<f64>,
    pub(crate) user_ns_per_message: Option<f64>,
    pub(crate) system_ns_per_message: Option<f64>,
    pub(crate) rss_before_bytes: Option<u64>,
    pub(crate) rss_open_bytes: Option<u64>,
    pub(crate) rss_end_bytes: Option<u64>,
    pub(crate) rss_closed_bytes: Option<u64>,
    pub(crate) rss_bytes_per_connection: Option<f64>,
    pub(crate) samples: Vec<Sample>,
}

/// What the server process used over time.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) at_ns: u64,
    pub(crate) cores: f64,
    pub(crate) rss_bytes: u64,
}

/// What the run tells about the work that the server did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// What is received.
    pub(crate) labels: Labels,
    /// Received per second of the measurement.
    pub(crate) per_second: f64,
    /// Connections that were open.
    pub(crate) connections: usize,
    /// Messages that never came back.
    pub(crate) lost: u64,
}

impl Server {
    /// What was seen, related to what it did.
    ///
    /// The CPU time per message is the share of a CPU over the messages per
    /// second, so that it does not matter that the process and the messages
    /// are counted from slightly different instants.
    pub(crate) fn new(seen: &Seen, work: Work) -> Self {
        let used = seen.used.filter(|used| used.length > 0);
        let seconds = used.map_or(0.0, |used| used.length as f64 / 1e9);
        let counted = work.labels.received.is_some() && work.per_second > 0.0;
        let per_message = |nanos: u64| nanos as f64 / seconds / work.per_second;
        let split = used.and_then(|used| used.split);
        let memory = seen.memory;
        let grown = memory
            .before
            .zip(memory.open)
            .filter(|_| work.connections > 0)
            .map(|(before, open)| (open as f64 - before as f64) / work.connections as f64);
        let idle = counted && used.is_some_and(|used| used.cpu == 0);
        let doubt = if work.lost > 0 {
            Some(
                "messages were lost: the server may not have done their work, so that its CPU \
                 time per message is not valid",
            )
        } else if idle {
            Some(
                "it used no CPU time while messages came back: is it the process that serves, and \
                 not its parent?",
            )
        } else {
            None
        };
        Self {
            pid: seen.pid,
            name: seen.name.clone(),
            valid: used.is_some() && doubt.is_none(),
            note: seen.note.clone().or(doubt.map(str::to_owned)),
            threads: seen.threads,
            measured_seconds: seconds,
            cpu_ns: used.map(|used| used.cpu),
            user_ns: split.map(|(user, _)| user),
            system_ns: split.map(|(_, system)| system),
            cores: used.map(|used| used.cpu as f64 / used.length as f64),
            per: work.labels.received,
            cpu_ns_per_message: used.filter(|_| counted).map(|used| per_message(used.cpu)),
            user_ns_per_message: split.filter(|_| counted).map(|split| per_message(split.0)),
            system_ns_per_message: split.filter(|_| counted).map(|split| per_message(split.1)),
            rss_before_bytes: memory.before,
            rss_open_bytes: memory.open,
            rss_end_bytes: memory.end,
            rss_closed_bytes: memory.closed,
            rss_bytes_per_connection: grown,
            samples: seen
                .samples
                .windows(2)
                .filter_map(|two| Sample::between(seen.from, two[0], two[1]))
                .collect(),
        }
    }
}

impl Sample {
    fn between(from: u64, earlier: Reading, later: Reading) -> Option<Self> {
        let length = later
            .at
            .checked_sub(earlier.at)
            .filter(|&length| length > 0)?;
        Some(Self {
            at_ns: later.at.saturating_sub(from),
            cores: later.cpu.saturating_sub(earlier.cpu) as f64 / length as f64,
            rss_bytes: later.resident,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_process::{Memory, Used};

    const SECOND: u64 = 1_000_000_000;

    fn seen() -> Seen {
        Seen {
            pid: 7,
            name: "server".into(),
            memory: Memory {
                before: Some(1_000_000),
                open: Some(1_500_000),
                ..Memory::default()
            },
            used: Some(Used {
                length: 2 * SECOND,
                cpu: SECOND,
                split: Some((SECOND / 4, SECOND / 4 * 3)),
            }),
            threads: 2,
            from: 0,
            samples: Vec::new(),
            note: None,
        }
    }

    fn work() -> Work {
        Work {
            labels: Labels {
                received: Some("delivery"),
                latency: None,
            },
            per_second: 1_000_000.0,
            connections: 100,
            lost: 0,
        }
    }

    #[test]
    fn cpu_is_per_message_and_memory_per_connection() {
        let server = Server::new(&seen(), work());
        assert!(server.valid);
        assert_eq!(server.cores, Some(0.5));
        assert_eq!(server.cpu_ns_per_message, Some(500.0));
        assert_eq!(server.user_ns_per_message, Some(125.0));
        assert_eq!(server.system_ns_per_message, Some(375.0));
        assert_eq!(server.rss_bytes_per_connection, Some(5_000.0));
    }

    #[test]
    fn without_messages_there_is_no_cpu_time_per_message() {
        let mut work = work();
        work.labels.received = None;
        let server = Server::new(&seen(), work);
        assert_eq!(server.cpu_ns, Some(SECOND));
        assert_eq!(server.cpu_ns_per_message, None);
    }

    #[test]
    fn a_process_that_does_nothing_is_doubted() {
        let mut idle = seen();
        idle.used = Some(Used {
            length: SECOND,
            cpu: 0,
            split: None,
        });
        let server = Server::new(&idle, work());
        assert!(!server.valid && server.note.is_some_and(|note| note.contains("parent")));
        let mut work = work();
        work.labels.received = None;
        assert!(Server::new(&idle, work).valid);
    }

    #[test]
    fn lost_messages_and_an_ended_process_void_it() {
        let lost = Server::new(&seen(), Work { lost: 1, ..work() });
        assert!(!lost.valid && lost.note.is_some());
        let mut ended = seen();
        ended.used = None;
        ended.note = Some("ended".into());
        let ended = Server::new(&ended, work());
        assert!(!ended.valid);
        assert_eq!((ended.cpu_ns, ended.cores), (None, None));
        assert_eq!(ended.note.as_deref(), Some("ended"));
    }
}
