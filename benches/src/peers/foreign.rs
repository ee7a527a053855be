//! What other processes took of the two CPUs.

use std::fs;
use std::time::Instant;

use super::process_time::Ticked;

/// A share of one CPU that disturbs a measurement.
pub(crate) const BUSY: f64 = 0.1;

/// Both CPUs, and of them the harness with its finished children, the server,
/// and the kernel's threads for what arrives, at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    at: Instant,
    busy: u64,
    own: u64,
}

impl Look {
    /// Now.
    ///
    /// # Errors
    /// When `/proc` does not say.
    pub(crate) fn now(cpus: [usize; 2], server: u32) -> Result<Self, String> {
        let text =
            fs::read_to_string("/proc/stat").map_err(|error| format!("/proc/stat: {error}"))?;
        Ok(Self {
            at: Instant::now(),
            busy: cpus.iter().map(|&cpu| busy(&text, cpu)).sum(),
            own: Ticked::of("self")?.total()
                + Ticked::of(&server.to_string())?.total()
                + arriving(cpus),
        })
    }

    /// CPUs that other processes had since an earlier look. Counted in ticks of
    /// 10 ms, so that a short time says little.
    pub(crate) fn since(self, earlier: Self) -> f64 {
        let elapsed = self.at.duration_since(earlier.at).as_nanos();
        let foreign = (self.busy - earlier.busy).saturating_sub(self.own - earlier.own);
        foreign as f64 / (elapsed as f64).max(1.0)
    }
}

/// CPU time of the kernel's threads that take what arrives over loopback, where
/// it does not happen within the server or the generator. Containers do not see
/// them.
fn arriving(cpus: [usize; 2]) -> u64 {
    let names = cpus.map(|cpu| format!("ksoftirqd/{cpu}"));
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = processes.filter(|process| {
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        names.iter().any(|wanted| wanted == name.trim_end())
    });
    threads
        .filter_map(|thread| Ticked::of(&thread.file_name().to_string_lossy()).ok())
        .map(Ticked::total)
        .sum()
}

/// Nanoseconds that anybody, other guests of the host too, had of a CPU: user,
/// nice, system, interrupts and steal.
fn busy(stat: &str, cpu: usize) -> u64 {
    let name = format!("cpu{cpu} ");
    let fields = stat
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .unwrap_or("");
    let fields: Vec<u64> = fields
        .split(' ')
        .map_while(|field| field.parse().ok())
        .collect();
    let ticks: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&at| fields.get(at))
        .sum();
    ticks * 10_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_waiting_counts() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 2 3 40 50 60 70 8 0 0\ncpu10 9 9 9 9\n";
        assert_eq!(busy(stat, 1), 144 * 10_000_000);
        assert_eq!(busy(stat, 10), 27 * 10_000_000);
        assert_eq!(busy(stat, 2), 0);
    }
}
