//! What holds a machine back, and the exact command against it.

use std::fmt;

use super::{CauseKind, Report};

/// One thing that holds back, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What is too low, for what.
    pub problem: String,
    /// The command or the setting; `None` when the problem says it already.
    pub fix: Option<String>,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.fix {
            Some(fix) => write!(f, ": {fix}"),
            None => Ok(()),
        }
    }
}

/// Ports that suffice for one client machine in a load test.
const MANY_PORTS: u64 = 50_000;

/// The backlog of our listeners.
const BACKLOG: u64 = 4096;

pub(super) fn of(report: &Report) -> Vec<Advice> {
    let advice = [
        forbidden(report),
        open_files(report),
        quota(report),
        setting_below(report, "fs.file-max", report.wanted.descriptors),
        setting_below(report, "net.core.somaxconn", BACKLOG),
        half_open(report),
        ports(report),
    ];
    advice.into_iter().flatten().collect()
}

fn forbidden(report: &Report) -> Option<Advice> {
    let cause = report.uring.as_ref().err()?;
    if cause.kind == CauseKind::NotLinux {
        return None;
    }
    let fix = match cause.kind {
        CauseKind::Sysctl => Some("sysctl -w kernel.io_uring_disabled=0".into()),
        _ => None,
    };
    Some(Advice {
        problem: cause.line.clone(),
        fix,
    })
}

fn open_files(report: &Report) -> Option<Advice> {
    let hard = report.limits.nofile?.hard;
    let needed = report.wanted.descriptors;
    if hard >= needed {
        return None;
    }
    // No limit can go beyond this one.
    let raise = match report.settings.value("fs.nr_open") {
        Some(most) if most < needed => format!("sysctl -w fs.nr_open={needed}, then "),
        _ => String::new(),
    };
    let connections = report.wanted.connections;
    Some(Advice {
        problem: format!("{hard} open files are allowed, {connections} connections need {needed}"),
        fix: Some(format!(
            "{raise}LimitNOFILE={needed} in the systemd unit, --ulimit nofile={needed} of docker, \
             or ulimit -Hn {needed} as root"
        )),
    })
}

fn quota(report: &Report) -> Option<Advice> {
    let quota = report.topology.quota()?;
    let cpus = report.topology.cpus().len();
    let whole = quota.whole_cpus();
    if whole >= cpus {
        return None;
    }
    Some(Advice {
        problem: format!(
            "the control group allows the time of {quota} CPUs on {cpus} CPUs, and all shards \
             stall when it is used up"
        ),
        fix: Some(format!("start with --shards {whole}, or raise cpu.max")),
    })
}

fn setting_below(report: &Report, name: &'static str, wanted: u64) -> Option<Advice> {
    let value = report
        .settings
        .value(name)
        .filter(|&value| value < wanted)?;
    let setting = report.settings.iter().find(|known| known.name == name)?;
    Some(Advice {
        problem: format!("{name} is {value} ({})", setting.bounds),
        fix: Some(format!("sysctl -w {name}={wanted}")),
    })
}

/// Counts only where there are no cookies: with them the kernel answers every
/// SYN as long as the accept queue has room (`tcp_conn_request`).
fn half_open(report: &Report) -> Option<Advice> {
    let cookies = report.settings.value("net.ipv4.tcp_syncookies");
    (cookies == Some(0))
        .then(|| setting_below(report, "net.ipv4.tcp_max_syn_backlog", BACKLOG))
        .flatten()
}

fn ports(report: &Report) -> Option<Advice> {
    let name = "net.ipv4.ip_local_port_range";
    let &[first, last] = report.settings.values(name) else {
        return None;
    };
    let ports = last.saturating_sub(first) + 1;
    (ports < MANY_PORTS).then(|| Advice {
        problem: format!(
            "{ports} ports are open to clients on this machine for each pair of addresses, which \
             a load test may use up"
        ),
        fix: Some(format!("sysctl -w {name}=\"1024 65535\"")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;
    use crate::limits::{Limit, Limits};
    use crate::probe::Settings;
    use crate::topology::Quota;

    fn narrow() -> Report {
        let mut report = example();
        report.limits = Limits {
            nofile: Some(Limit {
                soft: 512,
                hard: 1024,
            }),
            ..Limits::default()
        };
        report.settings = Settings::of(&[
            ("fs.nr_open", &[1100]),
            ("fs.file-max", &[1200]),
            ("net.core.somaxconn", &[128]),
            ("net.ipv4.tcp_max_syn_backlog", &[512]),
            ("net.ipv4.tcp_syncookies", &[0]),
            ("net.ipv4.ip_local_port_range", &[32768, 60999]),
        ]);
        report
    }

    #[test]
    fn each_narrow_place_is_one_line_with_its_command() {
        let lines: Vec<_> = of(&narrow()).iter().map(Advice::to_string).collect();
        for command in [
            "sysctl -w fs.nr_open=1256, then LimitNOFILE=1256",
            "sysctl -w fs.file-max=1256",
            "sysctl -w net.core.somaxconn=4096",
            "sysctl -w net.ipv4.tcp_max_syn_backlog=4096",
            "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
        ] {
            let found = lines.iter().filter(|line| line.contains(command));
            assert_eq!(found.count(), 1, "{command}: {lines:#?}");
        }
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
    }

    #[test]
    fn a_wide_machine_needs_no_advice() {
        let mut report = narrow();
        report.limits.nofile = Some(Limit {
            soft: 1024,
            hard: 1256,
        });
        report.settings = Settings::of(&[
            ("net.core.somaxconn", &[4096]),
            ("net.ipv4.tcp_max_syn_backlog", &[512]),
            ("net.ipv4.tcp_syncookies", &[1]),
        ]);
        report.uring = Ok(Vec::new());
        report.topology = report.topology.with_quota(None);
        assert_eq!(of(&report), []);
    }

    #[test]
    fn a_quota_below_the_number_of_cpus_says_how_many_shards_fit() {
        let mut report = narrow();
        let quota = Quota {
            quota: 60_000,
            period: 100_000,
        };
        report.topology = crate::topology::machines::two_nodes().with_quota(Some(quota));
        let lines: Vec<_> = of(&report).iter().map(Advice::to_string).collect();
        let words = ["0.60 CPUs on 32 CPUs", "--shards 1"];
        let said = |line: &&String| words.iter().all(|word| line.contains(word));
        assert_eq!(lines.iter().filter(said).count(), 1, "{lines:#?}");
    }
}
