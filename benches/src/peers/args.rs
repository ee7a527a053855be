//! The command line.

use std::time::Duration;

use hioload_platform::affinity;

use super::catalog::{self, Peer};
use super::workload::{self, Workload};

/// Measures hioload-server beside other servers and the limit, a raw TCP echo.
///
/// Each server has one thread, pinned to one CPU; hioload-loadgen, pinned to
/// another, verifies every answer. Prints a table for each workload: rates, CPU
/// time of the server per message (user and system apart), latencies, memory;
/// medians over the rounds, with the lowest and highest, and ratios to hioload.
///
/// CPU time per message is what to compare: where the generator was the
/// bottleneck, the rate is a lower bound (the table says so), and the CPU time
/// holds. In a closed loop latencies are those of a full server; those of a
/// planned rate are in the rows "tail" and "broadcast".
///
/// Before and after each measurement a canary sends a cache line between the
/// two CPUs. Where that takes over 80 ns, or other processes used the CPUs, the
/// measurement is repeated, and marked if that does not help.
///
/// Builds what it needs with cargo and npm. Node.js 18 is needed for ws and Bun.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measure only these peers, by name, separated by commas; hioload always
    /// is, as the others are compared with it.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure only these workloads, by name, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    workload: Vec<String>,
    /// Names of peers and workloads, and what they are.
    #[arg(long)]
    pub(crate) list: bool,
    /// Rounds; medians are over them.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Length of a measurement.
    #[arg(long, default_value_t = 3.0, value_name = "S", value_parser = seconds)]
    seconds: f64,
    /// Load before it.
    #[arg(long, default_value_t = 0.5, value_name = "S", value_parser = seconds)]
    warmup: f64,
    /// The CPU of the server.
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    pub(crate) server_cpu: usize,
    /// The CPU of the load generator.
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    pub(crate) load_cpu: usize,
    /// Repeat a measurement with a bad canary so often.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10))]
    pub(crate) repeats: u32,
    /// Prove that everything works: a tenth of the connections where they are
    /// many, one round, the crates of others not optimised, which saves most of
    /// the time to build them. The numbers mean nothing.
    #[arg(long, conflicts_with = "record")]
    pub(crate) smoke: bool,
    /// Write benches/record/DATE-COMMIT.json and the tables in benches/README.md,
    /// in place of those that are there.
    #[arg(long)]
    pub(crate) record: bool,
}

impl Args {
    /// The peers to measure, hioload first.
    pub(crate) fn peers(&self) -> Result<Vec<Peer>, String> {
        let all = catalog::all();
        chosen(
            &self.only,
            all,
            |peer| peer.name,
            |peer| peer.name == catalog::OURS,
        )
    }

    /// The workloads to measure.
    pub(crate) fn workloads(&self) -> Result<Vec<Workload>, String> {
        let all = workload::all(self.smoke);
        chosen(&self.workload, all, |workload| workload.name, |_| false)
    }

    /// How long to measure.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How long to load before that.
    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup)
    }

    /// How many rounds to make.
    pub(crate) fn rounds(&self) -> u32 {
        if self.smoke { 1 } else { self.rounds }
    }

    /// Checks that server and generator get a CPU each.
    pub(crate) fn check_cpus(&self) -> Result<(), String> {
        let allowed = affinity::allowed().map_err(|error| error.to_string())?;
        for cpu in [self.server_cpu, self.load_cpu] {
            if !allowed.contains(&cpu) {
                return Err(format!(
                    "CPU {cpu} cannot be used; allowed are {allowed:?}, see --server-cpu and \
                     --load-cpu"
                ));
            }
        }
        if self.server_cpu == self.load_cpu {
            return Err("server and load generator need different CPUs".into());
        }
        Ok(())
    }
}

/// Those of `all` that are named, or all; and those that are always.
fn chosen<T>(
    names: &[String],
    all: Vec<T>,
    name: impl Fn(&T) -> &'static str,
    always: impl Fn(&T) -> bool,
) -> Result<Vec<T>, String> {
    if let Some(unknown) = names
        .iter()
        .find(|&wanted| !all.iter().any(|one| name(one) == wanted))
    {
        let known: Vec<&str> = all.iter().map(name).collect();
        return Err(format!(
            "there is no {unknown:?}; there are {}",
            known.join(", ")
        ));
    }
    let wanted = |one: &T| names.is_empty() || names.iter().any(|wanted| wanted == name(one));
    Ok(all
        .into_iter()
        .filter(|one| wanted(one) || always(one))
        .collect())
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.05..=3600.0).contains(seconds))
        .ok_or_else(|| format!("'{text}' is not a number of seconds from 0.05 to 3600"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        let words = std::iter::once("peers").chain(line.split_whitespace());
        <Cli as clap::Parser>::try_parse_from(words)
            .expect("the line is right")
            .args
    }

    #[test]
    fn ours_is_measured_beside_whatever_is_chosen() {
        let names = |args: Args| -> Vec<&str> {
            let peers = args.peers().expect("the names are right");
            peers.iter().map(|peer| peer.name).collect()
        };
        assert_eq!(names(args("--only ws")), ["hioload", "ws"]);
        assert_eq!(names(args("")).len(), catalog::all().len());
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_those_that_are() {
        let error = args("--workload echo-20").workloads().unwrap_err();
        assert!(
            error.contains("echo-20") && error.contains("echo-20x100"),
            "{error}"
        );
    }
}
