//! Scenarios: several groups at the same time.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use hioload_platform::signals::ask_to_stop;
use serde_json::Value;

use crate::server::{Fault, Ran, Server, command, outcome};

/// A scenario in a file that ends with the test.
pub(crate) struct Scenario(PathBuf);

impl Scenario {
    /// A scenario in a file with this name in it.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let file = format!("loadgen-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    /// The command line, with JSON on standard output.
    pub(crate) fn line(&self) -> String {
        format!("mixed {} --json -", self.0.display())
    }

    /// Runs it without a live view.
    pub(crate) fn run(&self) -> Ran {
        let line = format!("{} --quiet", self.line());
        outcome(&command(&line).output().unwrap())
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        // A file that is left in the folder for such does no harm.
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn origin(server: &Server) -> String {
    server.echo_url().replace("/echo", "")
}

#[test]
fn the_example_runs_and_every_group_does_what_it_says() {
    let example = command("mixed --example").output().unwrap();
    assert_eq!(example.status.code(), Some(0));
    let server = Server::start(Fault::None);
    let text = String::from_utf8(example.stdout).unwrap();
    let text = text
        .replace("ws://127.0.0.1:8000", &origin(&server))
        .replace("\"3s\"", "\"300ms\"")
        .replace("\"1s\"", "\"100ms\"");
    let ran = Scenario::new("example", &text).run();
    assert!([0, 4].contains(&ran.code), "{ran:#?}");
    assert_eq!(ran.json["schema"], "hioload-loadgen-mixed/1");
    let groups = ran.json["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|group| &group["name"]).collect();
    assert_eq!(names, ["requests", "prices", "rooms", "held", "burst"]);
    // 2,000 per second for 800 ms; 50 publishes per second to 50 members for
    // 800 ms; 400 pings per second for 800 ms; 500 and 2,000 per second for
    // 100 ms each.
    for (group, expected) in [(0, 1600), (1, 2000), (3, 320), (4, 250)] {
        let group = &groups[group];
        let messages = &group["result"]["messages"];
        assert_eq!(messages["expected_total"], expected, "{ran:#?}");
        assert_eq!(messages["arrived_total"], expected, "{ran:#?}");
        assert_eq!(group["result"]["errors"]["total"], 0, "{ran:#?}");
    }
    assert!(groups[2]["result"]["chat"]["joins"].as_u64() >= Some(40));
    let total = &ran.json["total"];
    assert_eq!(total["errors"]["total"], 0, "{ran:#?}");
    for path in ["/messages/arrived_total", "/latency_ns/count"] {
        let of = |value: &Value| value.pointer(path).unwrap().as_u64().unwrap();
        let sum: u64 = groups.iter().map(|group| of(&group["result"])).sum();
        assert_eq!(of(total), sum, "{ran:#?}");
    }
}

#[test]
fn faults_of_one_group_are_its_own_and_fail_the_run() {
    let (good, bad) = (Server::start(Fault::None), Server::start(Fault::Lose(10)));
    let group = |name: &str, server: &Server| {
        format!(
            "[[group]]\nname = \"{name}\"\npattern = \"echo\"\nurl = \"{}\"\n",
            server.echo_url()
        )
    };
    let common = "connections = 1\nrate = 1000\nwarmup = \"0s\"\nduration = \"100ms\"\n\
                  drain_timeout = \"300ms\"\n";
    let text = [common, &group("good", &good), &group("bad", &bad)].concat();
    let ran = Scenario::new("faults", &text).run();
    assert_eq!(ran.code, 2, "{ran:#?}");
    let lost = |group: usize| &ran.json["groups"][group]["result"]["errors"]["lost"];
    assert_eq!((lost(0), lost(1)), (&0.into(), &10.into()), "{ran:#?}");
    assert_eq!(ran.json["total"]["errors"]["lost"], 10, "{ran:#?}");
}

#[test]
fn a_group_that_can_not_connect_ends_the_others_before_they_begin() {
    let server = Server::start(Fault::None);
    let refusing = Server::start(Fault::Refuse("404 Not Found"));
    let group = |name: &str, server: &Server| {
        format!(
            "[[group]]\nname = \"{name}\"\npattern = \"echo\"\nurl = \"{}\"\n",
            server.echo_url()
        )
    };
    let text = [group("good", &server), group("refused", &refusing)].concat();
    let ran = Scenario::new("refused", &text).run();
    assert_eq!(ran.code, 3, "{ran:#?}");
    let failure = ran.json["failure"].as_str().unwrap();
    assert!(failure.starts_with("group refused: "), "{ran:#?}");
    let good = &ran.json["groups"][0]["result"];
    assert_eq!(good["messages"]["sent_total"], 0, "{ran:#?}");
}

#[test]
fn a_wrong_scenario_is_refused_with_file_line_and_field() {
    let text = "[[group]]\nname = \"a\"\npattern = \"echo\"\nconections = 5\n\
                url = \"ws://127.0.0.1:1/\"\n";
    let scenario = Scenario::new("wrong", text);
    let ran = scenario.run();
    assert_eq!(ran.code, 64, "{ran:#?}");
    let place = format!("{}:4: ", scenario.0.display());
    assert!(ran.stderr.contains(&place), "{ran:#?}");
    assert!(ran.stderr.contains("conections"), "{ran:#?}");
    let missing = outcome(&command("mixed /nonexistent/x.toml").output().unwrap());
    assert_eq!(missing.code, 64, "{missing:#?}");
    assert!(missing.stderr.contains("/nonexistent/x.toml"));
}

#[test]
fn an_interrupted_scenario_reports_every_group() {
    let server = Server::start(Fault::None);
    let group = |name: &str| format!("[[group]]\nname = \"{name}\"\npattern = \"echo\"\n");
    let text = format!(
        "target = \"{}\"\nwarmup = \"0s\"\nduration = \"1h\"\nrate = 100\n\
         {}path = \"/echo\"\n{}path = \"/echo\"\nstart = \"1h\"\n",
        origin(&server),
        group("now"),
        group("later")
    );
    let scenario = Scenario::new("interrupted", &text);
    let mut child = command(&scenario.line()).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    let measuring = |line: &String| line.starts_with("now: measuring ") && !line.contains(" 0/");
    assert!(progress.by_ref().flatten().any(|line| measuring(&line)));
    ask_to_stop(child.id()).unwrap();
    let ran = outcome(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    let sent = |group: usize| {
        let messages = &ran.json["groups"][group]["result"]["messages"];
        messages["sent_total"].as_u64().unwrap()
    };
    assert!(sent(0) >= 100, "{ran:#?}");
    assert_eq!(sent(1), 0, "{ran:#?}");
}
