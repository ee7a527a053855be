//! A report for people: sections, with their columns aligned.

use std::fmt;

use super::{Feature, Report};
use crate::affinity;
use crate::backend::Backend;
use crate::limits::Limit;
use crate::topology::{Group, Topology};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel     {}", self.kernel)?;
        let backend = self.backend().map_or("none", Backend::name);
        writeln!(f, "backend    {backend}")?;
        self.uring(f)?;
        topology(f, &self.topology)?;
        self.placement(f)?;
        self.limits(f)?;
        self.settings(f)?;
        self.advised(f)
    }
}

impl Report {
    fn uring(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.uring {
            Err(cause) => writeln!(f, "\nio_uring\n  {cause}"),
            Ok(features) => {
                writeln!(f, "\nio_uring is available")?;
                for feature in features {
                    let state = feature.state();
                    let Feature {
                        name, since, why, ..
                    } = feature;
                    writeln!(f, "  {name:<26}{since:<6}{state:<10}{why}")?;
                }
                Ok(())
            }
        }
    }

    fn placement(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.wanted.plan;
        writeln!(f, "\nplacement: {}", count(plan.shards(), "shard"))?;
        if plan.cpus().is_empty() {
            return writeln!(f, "  not pinned: the scheduler moves them");
        }
        writeln!(f, "  shard   CPU  core    L3  node")?;
        for (shard, place) in plan.places().iter().enumerate() {
            let cpu = self.topology.cpus().iter();
            let Some(cpu) = cpu.into_iter().find(|cpu| Some(cpu.id) == place.cpu) else {
                continue;
            };
            let [l3, node] = [cpu.l3, cpu.node]
                .map(|number| number.map_or_else(|| "-".into(), |number| number.to_string()));
            let (id, core) = (cpu.id, cpu.core);
            writeln!(f, "  {shard:>5} {id:>5} {core:>5} {l3:>5} {node:>5}")?;
        }
        Ok(())
    }

    fn limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nlimits of this process")?;
        let rows = [
            ("open files", self.limits.nofile),
            ("locked memory, bytes", self.limits.memlock),
        ];
        for (name, limit) in rows {
            let limit = match limit {
                None => "unknown".into(),
                Some(Limit { soft, hard }) if soft == hard && soft != u64::MAX => soft.to_string(),
                Some(limit) => limit.to_string(),
            };
            writeln!(f, "  {name:<36}{limit}")?;
        }
        Ok(())
    }

    fn settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.settings.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nsettings of the kernel")?;
        for setting in self.settings.iter() {
            let values: Vec<_> = setting.values.iter().map(u64::to_string).collect();
            let (name, values, bounds) = (setting.name, values.join(" "), setting.bounds);
            writeln!(f, "  {name:<36}{values:<24}{bounds}")?;
        }
        Ok(())
    }

    fn advised(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.wanted.connections;
        let advice = self.advice();
        if advice.is_empty() {
            return write!(f, "\nnothing holds back {connections} connections");
        }
        write!(f, "\nadvice, for {connections} connections")?;
        for line in advice {
            write!(f, "\n  - {line}")?;
        }
        Ok(())
    }
}

fn topology(f: &mut fmt::Formatter<'_>, topology: &Topology) -> fmt::Result {
    let provider = topology.provider();
    writeln!(f, "\nCPUs, as {provider} tells")?;
    let row =
        |f: &mut fmt::Formatter<'_>, name: &str, text: &str| writeln!(f, "  {name:<12}{text}");
    row(f, "allowed", &affinity::list(&topology.ids()))?;
    row(f, "cores", &cores(topology))?;
    row(f, "packages", &groups(&topology.packages()))?;
    row(f, "NUMA nodes", &groups(&topology.nodes()))?;
    row(f, "L3 caches", &groups(&topology.l3_groups()))?;
    let slow = topology.cpus().iter().filter(|cpu| cpu.slow);
    let slow: Vec<_> = slow.map(|cpu| cpu.id).collect();
    if !slow.is_empty() {
        row(f, "slow", &affinity::list(&slow))?;
    }
    let quota = topology.quota().map_or_else(
        || "none".into(),
        |quota| format!("the time of {quota} CPUs"),
    );
    row(f, "quota", &quota)
}

fn cores(topology: &Topology) -> String {
    let cores = topology.cores();
    let most = cores.iter().map(|core| core.cpus.len()).max();
    match most {
        Some(most) if most > 1 => format!("{} (up to {most} CPUs each: SMT)", cores.len()),
        _ => format!("{} (one CPU each)", cores.len()),
    }
}

/// `2: 0-3 | 4-7`.
fn groups(groups: &[Group]) -> String {
    if groups.is_empty() {
        return "unknown".into();
    }
    let lists: Vec<_> = groups
        .iter()
        .map(|group| affinity::list(&group.cpus))
        .collect();
    format!("{}: {}", groups.len(), lists.join(" | "))
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use crate::placement::{CpuList, Placement, Request, plan};
    use crate::topology::machines;

    #[test]
    fn a_large_machine_reads_well() {
        let mut report = example();
        report.topology = machines::two_nodes();
        let request = Request {
            shards: 3,
            placement: Placement::Spread,
            cpus: &CpuList::default(),
            pin: true,
            most: 64,
        };
        report.wanted.plan = plan(&report.topology, &request).expect("a plan");
        let text = report.to_string();
        for line in [
            "  cores       16 (up to 2 CPUs each: SMT)",
            "  NUMA nodes  2: 0-7,16-23 | 8-15,24-31",
            "  L3 caches   4: 0-3,16-19 | 4-7,20-23 | 8-11,24-27 | 12-15,28-31",
            "placement: 3 shards",
            "  shard   CPU  core    L3  node",
            "      1     8     8     8     1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn shards_without_cpus_are_said_to_be_free() {
        let mut report = example();
        let request = Request {
            shards: 1,
            placement: Placement::Spread,
            cpus: &CpuList::default(),
            pin: false,
            most: 64,
        };
        report.wanted.plan = plan(&report.topology, &request).expect("a plan");
        assert!(
            report
                .to_string()
                .contains("placement: 1 shard\n  not pinned")
        );
    }
}
