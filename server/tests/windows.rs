//! What is different on Windows: what the probe says, and which CPUs there are.

#![forbid(unsafe_code)]
#![cfg(windows)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use serde_json::Value;
use support::{expect_refusal, run};

#[test]
fn the_probe_names_windows_and_its_backend() {
    let ended = run(&["probe"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    for line in [
        "kernel     Windows ",
        "backend    IOCP",
        "CPUs, as Windows tells",
    ] {
        let found = ended.stdout.iter().any(|found| found.starts_with(line));
        assert!(found, "no {line:?} in {ended:?}");
    }
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
}

#[test]
fn the_json_names_the_backend_and_where_shards_would_run() {
    let ended = run(&["probe", "--json"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout.join("\n")).expect("JSON");
    assert_eq!(report["backend"], "IOCP");
    assert_eq!(report["io_uring"]["available"], false);
    assert_eq!(report["io_uring"]["cause"]["kind"], "not-linux");
    assert!(!report["advice"].to_string().contains("io_uring"));
    let cpus = report["topology"]["cpus"].as_array().expect("a list");
    let places = report["placement"].as_array().expect("a list");
    assert!(!places.is_empty());
    for place in places {
        assert!(cpus.iter().any(|cpu| cpu["cpu"] == place["cpu"]));
    }
}

#[test]
fn a_wrong_list_of_cpus_is_named() {
    for (list, named) in [
        ("100000", "no CPU 100000"),
        ("1023", "CPU 1023 can not be used; this process may use"),
        ("a", "0-3,8"),
    ] {
        expect_refusal(&["--listen", "127.0.0.1:0", "--cpus", list], &[named]);
    }
}
