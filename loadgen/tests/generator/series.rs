//! What a result tells about a run over time.

use crate::server::{Fault, Ran, Server, command, outcome};

/// Runs for two seconds and a half after a second of warm-up that is shorter
/// than a point.
fn run(fault: Fault, options: &str) -> Ran {
    let server = Server::start(fault);
    let line = format!(
        "echo --url {} {options} --warmup 100ms --duration 2500ms --quiet --json -",
        server.echo_url()
    );
    outcome(&command(&line).output().unwrap())
}

fn points(ran: &Ran) -> &Vec<serde_json::Value> {
    ran.json["series"]["points"].as_array().unwrap()
}

fn sum(ran: &Ran, pointer: &str) -> u64 {
    let values = points(ran).iter().map(|point| point.pointer(pointer));
    values.filter_map(|value| value?.as_u64()).sum()
}

#[test]
fn the_points_of_all_threads_add_up_to_the_measurement() {
    let ran = run(Fault::None, "--connections 4 --rate 400 --threads 2");
    ran.assert_clean();
    assert_eq!(ran.json["series"]["interval_ns"], 1_000_000_000);
    let starts: Vec<_> = points(&ran)
        .iter()
        .map(|point| point["at_ns"].as_u64())
        .collect();
    assert_eq!(starts, [Some(0), Some(1_000_000_000), Some(2_000_000_000)]);
    assert_eq!(sum(&ran, "/length_ns"), 2_500_000_000);
    for (pointer, total) in [
        ("/sent", "sent"),
        ("/received", "received"),
        ("/sent_bytes", "sent_bytes"),
        ("/received_bytes", "received_bytes"),
    ] {
        assert_eq!(sum(&ran, pointer), ran.json["messages"][total], "{ran:#?}");
    }
    // By the plan: 400, 400 and 200.
    let counts = points(&ran)
        .iter()
        .map(|point| &point["latency_ns"]["count"]);
    assert_eq!(counts.collect::<Vec<_>>(), [400, 400, 200], "{ran:#?}");
    assert!(
        points(&ran).iter().all(|point| point["open"] == 4),
        "{ran:#?}"
    );
    assert_eq!(sum(&ran, "/faults"), 0);
}

#[test]
fn faults_and_ended_connections_show_when_they_happened() {
    // Message 150 of 100 per second and connection, 10 of them in the warm-up.
    let ran = run(Fault::Hangup(150), "--connections 2 --rate 200");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(sum(&ran, "/faults"), 2, "{ran:#?}");
    let (first, last) = (&points(&ran)[0], points(&ran).last().unwrap());
    assert_eq!((&first["faults"], &first["open"]), (&0.into(), &2.into()));
    assert_eq!(last["open"], 0, "{ran:#?}");
}

#[test]
fn percentiles_reach_from_the_least_to_the_greatest_latency() {
    let ran = run(Fault::None, "--connections 2 --rate 200");
    let percentiles = ran.json["percentiles"].as_array().unwrap();
    let last = percentiles.last().unwrap();
    assert_eq!(last["percentile"], 100.0);
    assert_eq!(last["latency_ns"], ran.json["latency_ns"]["max"]);
    assert_eq!(last["lateness_ns"], ran.json["sends"]["lateness_ns"]["max"]);
    assert_eq!(percentiles[0]["latency_ns"], ran.json["latency_ns"]["min"]);
}
