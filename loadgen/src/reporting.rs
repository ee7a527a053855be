//! Options about what is measured and written beside the load itself.

use std::path::PathBuf;

use clap::Args;

/// What is measured and written beside the load itself.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Reporting {
    /// Measure the CPU time and memory of the server, a process of this machine
    /// (Linux). CPU is user and system time of all its threads, not of its
    /// child processes, in nanoseconds per message that came back (echo) or per
    /// delivery (broadcast). Memory is its resident set before connecting, with
    /// all connections open, and at the end; bytes per connection is the
    /// difference of the first two. CPU per message holds even where the
    /// generator was the bottleneck.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(crate) server_pid: Option<u32>,
    /// Write a report to FILE: one HTML page with plots of latency by
    /// percentile and of latency, throughput and the server over time, to be
    /// passed on. It needs no other file and no network. It shows the URL and
    /// the command line, without the values of headers.
    #[arg(long, value_name = "FILE", value_parser = file)]
    pub(crate) html: Option<PathBuf>,
}

/// A file's name.
pub(crate) fn file(name: &str) -> Result<PathBuf, String> {
    match name {
        "-" => Err("the report needs a file; standard output is for --json -".into()),
        name => Ok(name.into()),
    }
}
