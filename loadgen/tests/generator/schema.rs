//! The JSON is what the README says it is.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;

use serde_json::Value;

use crate::centrifugo::{self, Small};
use crate::mixed::Scenario;
use crate::server::{Fault, Server, run};

const README: &str = include_str!("../../README.md");

/// The objects whose keys are data, not fields, or are documented elsewhere.
const OPEN: [&str; 14] = [
    "centrifugo.history_ns",
    "centrifugo.presence_ns",
    "centrifugo.publish_ns",
    "connections.failures",
    "errors.closes",
    "errors.protocol",
    "groups[].result",
    "reconnect.drops",
    "reconnect.failed_attempts",
    "rounds[].result",
    "total.errors",
    "total.latency_ns",
    "total.messages",
    "total.rates",
];

/// Objects that are null, or lists that are empty, in the runs of the test.
const ABSENT: [&str; 2] = ["reconnect.", "reconnect.outages[]."];

/// What a line of backticks quotes.
fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('`')?.split('`').next()
}

/// The fields of the tables in a section of the README. A heading of the third
/// level names the object that the next table describes.
fn documented(heading: &str) -> BTreeSet<String> {
    let (_, section) = README.split_once(&format!("\n## {heading}")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut object = String::new();
    let mut fields = BTreeSet::new();
    for line in section.lines() {
        if let Some(name) = line.strip_prefix("### ").and_then(quoted) {
            object = format!("{name}.");
        } else if let Some(field) = line.strip_prefix("| ").and_then(quoted) {
            assert!(
                fields.insert(format!("{object}{field}")),
                "{object}{field} is there twice"
            );
        }
    }
    fields
}

/// The fields of a result; elements of a list have the same name.
fn present(value: &Value, name: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !OPEN.contains(&name) => {
            for (key, member) in members {
                let dot = if name.is_empty() { "" } else { "." };
                let member_name = format!("{name}{dot}{key}");
                present(member, &member_name, fields);
                fields.insert(member_name);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                present(element, &format!("{name}[]"), fields);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_there() {
    let server = Server::start(Fault::None);
    let (echo, broadcast) = (server.echo_url(), server.broadcast_url());
    let chat = Small::start(centrifugo::Fault::None).url();
    let documented = documented("JSON (");
    let mut seen = BTreeSet::new();
    for load in [
        format!("echo --url {echo} --rate 200"),
        format!("echo --url {echo} --depth 2"),
        format!("echo --url {echo} --steps 100,200 --step-duration 100ms"),
        format!("broadcast --url {broadcast} --rate 50"),
        format!("connect --url {echo} --rate 50"),
        format!("idle --url {echo} --connections 4 --ping-interval 50ms"),
        format!("chat --url {broadcast} --users 6 --rooms 2"),
        format!("chat --protocol centrifugo --url {chat} --users 6 --rooms 2"),
    ] {
        let ran = run(&format!("{load} --server-pid {}", std::process::id()));
        let mut fields = BTreeSet::new();
        present(&ran.json, "", &mut fields);
        let unknown: Vec<_> = fields.difference(&documented).collect();
        assert!(
            unknown.is_empty(),
            "{load}: there, but not documented: {unknown:?}"
        );
        for field in documented.iter().filter(|field| !field.contains('.')) {
            assert!(fields.contains(field), "{load}: {field} is not there");
        }
        let (_, version) = ran.json["schema"]
            .as_str()
            .unwrap()
            .split_once('/')
            .unwrap();
        assert!(version.parse::<u32>().is_ok(), "{version}");
        assert!(README.contains(&format!("`hioload-loadgen/{version}`")));
        seen.extend(fields);
    }
    let absent = |field: &str| ABSENT.iter().any(|object| field.starts_with(object));
    let missing = documented.difference(&seen);
    let missing: Vec<_> = missing.filter(|field| !absent(field)).collect();
    assert!(missing.is_empty(), "documented, but not there: {missing:?}");
}

/// Compares one document with a section of the README.
fn compare(heading: &str, document: &Value) {
    let documented = documented(heading);
    let mut fields = BTreeSet::new();
    present(document, "", &mut fields);
    assert_eq!(fields, documented, "{heading}");
    let schema = document["schema"].as_str().unwrap();
    assert!(README.contains(&format!("`{schema}`")), "{schema}");
}

#[test]
fn the_results_of_searches_and_scenarios_are_documented() {
    let server = Server::start(Fault::Lose(1));
    let search = "--subscribers 1 --rate 10 --find-max p50=60s --step-duration 100ms";
    let url = server.broadcast_url();
    let found = run(&format!("broadcast --url {url} {search}"));
    compare("JSON of a search", &found.json);
    let server = Server::start(Fault::None);
    let group = format!(
        "[[group]]\nname = \"a\"\npattern = \"echo\"\nurl = \"{}\"\nwarmup = \"0s\"\n\
         duration = \"100ms\"\n",
        server.echo_url()
    );
    let mixed = Scenario::new("schema", &group).run();
    assert_eq!(mixed.json["failure"], Value::Null, "{mixed:#?}");
    compare("JSON of a scenario", &mixed.json);
}
