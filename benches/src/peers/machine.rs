//! Where and with what a run was made.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use serde::Serialize;

use super::args::Args;
use super::build::BENCHES;

/// What a reader of the numbers has to know.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Day, UTC.
    pub(crate) date: String,
    /// Commit, with `-changed` when files differ from it.
    pub(crate) commit: String,
    cpu: String,
    cpus: usize,
    kernel: String,
    rustc: String,
    server_cpu: usize,
    load_cpu: usize,
    rounds: u32,
    seconds: f64,
    warmup_seconds: f64,
}

impl Machine {
    /// This one, now.
    ///
    /// # Errors
    /// When git does not name a commit.
    pub(crate) fn look(args: &Args) -> Result<Self, String> {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let commit = said("git", &["rev-parse", "--short", "HEAD"])?;
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Self {
            date: now[..10].to_owned(),
            commit: if changed {
                format!("{commit}-changed")
            } else {
                commit
            },
            cpu: model
                .unwrap_or("unknown CPU")
                .trim_start_matches([' ', '\t', ':'])
                .to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            rustc: said("rustc", &["--version"])?,
            server_cpu: args.server_cpu,
            load_cpu: args.load_cpu,
            rounds: args.rounds(),
            seconds: args.duration().as_secs_f64(),
            warmup_seconds: args.warmup().as_secs_f64(),
        })
    }

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "{}, commit {}, {} CPUs of type \"{}\", Linux {}, {}; server on CPU {}, load on CPU \
             {}, loopback; {} rounds of {} s after {} s of warm-up.",
            self.date,
            self.commit,
            self.cpus,
            self.cpu,
            self.kernel,
            self.rustc,
            self.server_cpu,
            self.load_cpu,
            self.rounds,
            self.seconds,
            self.warmup_seconds,
        )
    }
}

fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .current_dir(BENCHES)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} {}: {}", arguments.join(" "), why.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
