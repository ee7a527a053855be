//! A probe's report for programs. The fields are documented in `docs/probe.md`;
//! they are added to, and `schema` changes when one goes or changes its meaning.

use hioload::probe::{Feature, Report};
use hioload::topology::{Group, Quota, Topology};
use serde_json::{Map, Value, json};

/// The version of the fields.
const SCHEMA: u32 = 1;

pub(crate) fn json(report: &Report) -> String {
    let document = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": report.kernel,
        "backend": report.backend().map(hioload::backend::Backend::name),
        "io_uring": uring(report),
        "topology": topology(&report.topology),
        "placement": placement(report),
        "limits": {
            "nofile": report.limits.nofile.map(limit),
            "memlock": report.limits.memlock.map(limit),
        },
        "settings": settings(report),
        "connections": report.wanted.connections,
        "descriptors": report.wanted.descriptors,
        "advice": advice(report),
    });
    format!("{document:#}")
}

fn uring(report: &Report) -> Value {
    let cause = report.uring.as_ref().err();
    let features = report.uring.iter().flatten().map(feature);
    json!({
        "available": report.uring.is_ok(),
        "cause": cause.map(|cause| json!({ "kind": cause.kind.name(), "text": cause.line })),
        "features": features.collect::<Vec<_>>(),
    })
}

fn feature(feature: &Feature) -> Value {
    json!({
        "name": feature.name,
        "since": feature.since,
        "available": feature.available,
        "used": feature.used,
        "why": feature.why,
    })
}

fn topology(topology: &Topology) -> Value {
    let cpu = |cpu: &hioload::topology::Cpu| {
        json!({
            "cpu": cpu.id,
            "core": cpu.core,
            "l3": cpu.l3,
            "node": cpu.node,
            "package": cpu.package,
            "slow": cpu.slow,
        })
    };
    let groups = |groups: Vec<Group>| -> Vec<Value> {
        let group = |group: &Group| json!({ "id": group.id, "cpus": group.cpus });
        groups.iter().map(group).collect()
    };
    let quota = |Quota { quota, period }| json!({ "quota_us": quota, "period_us": period });
    json!({
        "provider": topology.provider().to_string(),
        "cpus": topology.cpus().iter().map(cpu).collect::<Vec<_>>(),
        "cores": groups(topology.cores()),
        "l3_groups": groups(topology.l3_groups()),
        "nodes": groups(topology.nodes()),
        "packages": groups(topology.packages()),
        "quota": topology.quota().map(quota),
    })
}

fn placement(report: &Report) -> Vec<Value> {
    let places = report.wanted.plan.places().iter().enumerate();
    let place = |(shard, place): (usize, &hioload::placement::Place)| json!({ "shard": shard, "cpu": place.cpu, "node": place.node });
    places.map(place).collect()
}

/// `null` is unlimited.
fn limit(limit: hioload::probe::Limit) -> Value {
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    json!({ "soft": finite(limit.soft), "hard": finite(limit.hard) })
}

fn settings(report: &Report) -> Map<String, Value> {
    let setting = |setting: &hioload::probe::Setting| match setting.values[..] {
        [value] => (setting.name.to_owned(), value.into()),
        ref values => (setting.name.to_owned(), values.into()),
    };
    report.settings.iter().map(setting).collect()
}

fn advice(report: &Report) -> Vec<Value> {
    let advice = report.advice();
    let lines = advice.iter();
    lines
        .map(|advice| json!({ "problem": advice.problem, "fix": advice.fix }))
        .collect()
}
