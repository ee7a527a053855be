//! `hioload-server probe` says what this machine offers, to people and to
//! programs: what Linux itself says in `/proc` and `/sys`.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::fs;

use serde_json::Value;
use support::run;

fn release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    release.trim().to_owned()
}

#[test]
fn the_probe_prints_the_kernel_and_its_features() {
    let ended = run(&["probe"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let text = ended.stdout.join("\n");
    assert!(text.contains(&release()), "{text}");
    for section in [
        "backend ",
        "io_uring is available",
        "  multishot receive ",
        "CPUs, as ",
        "  NUMA nodes ",
        "  L3 caches ",
        "  quota ",
        "placement: ",
        "limits of this process",
        "  open files ",
        "settings of the kernel",
        "  net.core.somaxconn ",
    ] {
        let found = ended.stdout.iter().any(|line| line.starts_with(section));
        assert!(found, "no {section:?} in {text}");
    }
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
}

fn json(args: &[&str]) -> Value {
    let ended = run(&[&["probe", "--json"], args].concat());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout.join("\n")).expect("JSON")
}

/// A file of `/proc` as numbers.
fn numbers(path: &str) -> Vec<u64> {
    let text = fs::read_to_string(path).expect(path);
    let numbers = text
        .split_whitespace()
        .map(|word| word.parse().expect(path));
    numbers.collect()
}

#[test]
fn the_json_says_what_the_kernel_says() {
    let report = json(&[]);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["kernel"], release());
    assert_eq!(report["backend"], "io_uring");
    assert_eq!(report["io_uring"]["available"], true);
    assert_eq!(report["io_uring"]["cause"], Value::Null);
    let features = report["io_uring"]["features"].as_array().expect("a list");
    assert!(features.iter().any(|feature| {
        feature["name"] == "multishot receive"
            && feature["used"] == true
            && feature["since"] == "6.0"
    }));
    let settings = report["settings"].as_object().expect("a table");
    assert!(settings.contains_key("fs.nr_open") && settings.contains_key("net.core.somaxconn"));
    for (name, value) in settings {
        let expected = match numbers(&format!("/proc/sys/{}", name.replace('.', "/")))[..] {
            [one] => Value::from(one),
            ref more => Value::from(more),
        };
        assert_eq!(value, &expected, "{name}");
    }
    let limits = fs::read_to_string("/proc/self/limits").expect("limits");
    let open = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut open = open.expect("a limit").split_whitespace();
    for kind in ["soft", "hard"] {
        let limit = open.next().and_then(|word| word.parse::<u64>().ok());
        assert_eq!(
            report["limits"]["nofile"][kind],
            Value::from(limit),
            "{kind}"
        );
    }
}

#[test]
fn the_json_knows_the_cpus_and_places_shards_on_them() {
    let report = json(&[]);
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let allowed = allowed.expect("CPUs").trim();
    let cpus = report["topology"]["cpus"].as_array().expect("a list");
    let all = |list: &str| -> Vec<u64> {
        let ranges = list.split(',').flat_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            first.parse::<u64>().expect("a CPU")..=last.parse().expect("a CPU")
        });
        ranges.collect()
    };
    let ids: Vec<_> = cpus
        .iter()
        .map(|cpu| cpu["cpu"].as_u64().expect("a number"))
        .collect();
    assert_eq!(ids, all(allowed));
    for cpu in cpus {
        let siblings = format!(
            "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list",
            cpu["cpu"]
        );
        if let Ok(siblings) = fs::read_to_string(siblings) {
            assert_eq!(cpu["core"], all(siblings.trim())[0]);
        }
    }
    let places = report["placement"].as_array().expect("a list");
    let cores = report["topology"]["cores"].as_array().expect("a list");
    assert_eq!(places.len(), cores.len().min(64), "a shard per core");
    for (shard, place) in places.iter().enumerate() {
        assert_eq!(place["shard"], shard);
        let cpu = cpus
            .iter()
            .find(|cpu| cpu["cpu"] == place["cpu"])
            .expect("an allowed CPU");
        assert_eq!(cpu["node"], place["node"]);
    }
}

#[test]
fn the_probe_plans_what_the_flags_ask_for() {
    let all = json(&[]);
    let last = all["topology"]["cpus"]
        .as_array()
        .and_then(|cpus| cpus.last());
    let last = last.expect("a CPU")["cpu"].clone();
    let one = json(&["--cpus", &last.to_string(), "--max-connections", "5"]);
    assert_eq!(one["placement"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["placement"][0]["cpu"], last);
    assert_eq!(
        (&one["connections"], &one["descriptors"]),
        (&5.into(), &261.into())
    );
    let problems = |report: &Value| report["advice"].to_string();
    assert!(
        !problems(&one).contains("connections need"),
        "{}",
        problems(&one)
    );
    let many = json(&["--max-connections", "4000000000"]);
    assert!(
        problems(&many).contains("LimitNOFILE=4000000256"),
        "{}",
        problems(&many)
    );
}
