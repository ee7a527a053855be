//! Runs that several processes share.

use std::io::{BufRead as _, BufReader};

use hioload_platform::signals::ask_to_stop;

use crate::server::{Fault, Server, command, outcome, run};

#[test]
fn processes_share_the_connections_and_one_plan() {
    let server = Server::start(Fault::None);
    let line = format!("echo --url {} --connections 10", server.echo_url());
    let ran = run(&format!(
        "{line} --processes 3 --threads 4 --steps 500,1000 --step-duration 100ms"
    ));
    ran.assert_clean();
    // 50 ms of warm-up at the first rate, and 100 ms at each.
    assert_eq!(ran.json["messages"]["sent_total"], 175, "{ran:#?}");
    assert_eq!(ran.json["latency_ns"]["count"], 150, "{ran:#?}");
    let counts = [0, 1].map(|step| ran.json["steps"][step]["latency_ns"]["count"].as_u64());
    assert_eq!(counts, [Some(50), Some(100)], "{ran:#?}");
    let threads = ran.json["threads"].as_array().unwrap();
    let connections = threads.iter().map(|thread| &thread["connections"]);
    let sum: u64 = connections.map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((threads.len(), sum), (4, 10), "{ran:#?}");
    assert_eq!(ran.json["config"]["processes"], 3);
}

#[test]
fn topics_reach_across_processes() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "broadcast --url {} --publishers 4 --subscribers 6 --topics 2 --rate 200 --processes 2",
        server.broadcast_url()
    ));
    ran.assert_clean();
    // As in one process: 70 messages, each to four members.
    assert_eq!(ran.json["messages"]["sent_total"], 70, "{ran:#?}");
    assert_eq!(ran.json["messages"]["expected_total"], 280, "{ran:#?}");
}

#[test]
fn connections_and_the_series_of_all_processes_are_counted() {
    let server = Server::start(Fault::None);
    let url = server.echo_url();
    let processes = "--processes 2 --threads 2";
    let ran = run(&format!("connect --url {url} --rate 200 {processes}"));
    ran.assert_clean();
    // 350 ms.
    assert_eq!(ran.json["connections"]["opened"], 70, "{ran:#?}");
    assert_eq!(ran.json["connections"]["connect_ns"]["count"], 60);
    let points = ran.json["series"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 1, "{ran:#?}");
    assert_eq!(points[0]["latency_ns"]["count"], 60, "{ran:#?}");
    assert_eq!(points[0]["received"], ran.json["messages"]["received"]);
    let pings = "--connections 10 --ping-interval 50ms";
    let ran = run(&format!("idle --url {url} {pings} {processes}"));
    ran.assert_clean();
    assert_eq!(ran.json["idle"]["pings_sent"], 70, "{ran:#?}");
    assert_eq!(ran.json["idle"]["pongs"], 70, "{ran:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_server_of_several_processes_is_watched_once() {
    let server = Server::start(Fault::None);
    let ran = run(&format!(
        "echo --url {} --rate 500 --processes 2 --server-pid {}",
        server.echo_url(),
        std::process::id()
    ));
    ran.assert_clean();
    let process = &ran.json["server_process"];
    assert_eq!(process["pid"], std::process::id(), "{ran:#?}");
    for known in ["cpu_ns", "rss_open_bytes", "rss_end_bytes"] {
        assert!(process[known].as_u64().unwrap() > 0, "{known}: {ran:#?}");
    }
    assert!(process["measured_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn faults_in_any_process_are_counted() {
    let server = Server::start(Fault::Lose(10));
    let ran = run(&format!(
        "echo --url {} --connections 4 --rate 800 --processes 2",
        server.echo_url()
    ));
    assert_eq!(ran.code, 2, "{ran:#?}");
    // 70 messages on each connection.
    assert_eq!(ran.error("lost"), 28, "{ran:#?}");
}

#[test]
fn a_failure_of_one_process_ends_all() {
    let server = Server::start(Fault::Refuse("404 Not Found"));
    let ran = run(&format!("echo --url {} --processes 2", server.echo_url()));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("404 Not Found"), "{ran:#?}");
    let ran = run("echo --processes 2 --pin 60000");
    assert_eq!(ran.code, 5, "{ran:#?}");
    assert!(ran.stderr.contains("60000"), "{ran:#?}");
}

#[test]
fn a_search_runs_its_rounds_in_the_processes() {
    let server = Server::start(Fault::Corrupt(5));
    let ran = run(&format!(
        "echo --url {} --connections 2 --rate 400 --processes 2 --find-max p50=60s \
         --step-duration 100ms",
        server.echo_url()
    ));
    assert_eq!(ran.code, 2, "{ran:#?}");
    let rounds = ran.json["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 1, "{ran:#?}");
    // 150 ms at 400 per second on two connections.
    let corrupted = &rounds[0]["result"]["errors"]["corrupted"];
    assert_eq!(corrupted, 12, "{ran:#?}");
}

#[test]
fn an_interrupted_run_reports_what_all_processes_measured() {
    let server = Server::start(Fault::None);
    let line = format!(
        "echo --url {} --rate 1000 --warmup 0s --duration 1h --processes 2 --json -",
        server.echo_url()
    );
    let mut child = command(&line).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    let measuring = |line: &String| line.contains("measuring ") && !line.contains(" 0/");
    assert!(progress.by_ref().flatten().any(|line| measuring(&line)));
    ask_to_stop(child.id()).unwrap();
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert!(
        ran.json["latency_ns"]["count"].as_u64().unwrap() > 500,
        "{ran:#?}"
    );
    assert_eq!(ran.json["errors"]["total"], 0, "{ran:#?}");
}

#[test]
fn a_process_without_orders_says_so_and_ends() {
    let output = command("echo --part").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("for the generator's own use"), "{said}");
}
