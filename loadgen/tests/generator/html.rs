//! The report that is made to be passed on.

use std::path::PathBuf;
use std::process::Output;

use crate::centrifugo::{self, Small};
use crate::mixed::Scenario;
use crate::server::{Fault, Server, command, outcome};

/// A run's report, and what else it said.
struct Reported {
    html: String,
    output: Output,
}

fn run(name: &str, options: &str) -> Reported {
    let path = path(name);
    let short = "--warmup 50ms --duration 300ms --drain-timeout 500ms --quiet";
    let mut command = command(&format!("{options} {short}"));
    let output = command.arg("--html").arg(&path).output().unwrap();
    let html = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Reported { html, output }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("loadgen-{name}-{}.html", std::process::id()))
}

impl Reported {
    fn assert_says(&self, parts: &[&str]) {
        for part in parts {
            assert!(
                self.html.contains(part),
                "{part} is missing in {}",
                self.html
            );
        }
    }
}

#[test]
fn a_report_has_plots_and_tables_and_needs_nothing_else() {
    let server = Server::start(Fault::None);
    let url = server.echo_url();
    let ran = run(
        "whole",
        &format!("echo --url {url} --connections 3 --rate 500 --header X-Key:secret"),
    );
    ran.assert_says(&[
        "<!doctype html>",
        &url,
        "3 connections",
        "open loop 500 msg/s",
        "<h2>Results",
        "<h2>Latency by percentile",
        "<h2>Latency over time",
        "<h2>Throughput over time",
        "<h2>Errors</h2>\n<p>None.</p>",
        "<h2>Configuration and machine</h2>",
        "--header X-Key: ...",
        "default-src 'none'",
    ]);
    for absent in ["<script", "src=", "href=", "url(", "@import", "secret"] {
        assert!(!ran.html.contains(absent), "{absent} is in {}", ran.html);
    }
    let table = String::from_utf8_lossy(&ran.output.stdout);
    assert!(table.contains("all 175 messages verified"), "{table}");
}

#[test]
fn every_plot_has_words_and_numbers_for_those_who_can_not_see_it() {
    let server = Server::start(Fault::None);
    let ran = run(
        "words",
        &format!("echo --url {} --rate 500", server.echo_url()),
    );
    let plots = ran.html.matches("<svg class=\"plot").count();
    assert!(plots >= 6, "{plots}");
    assert_eq!(ran.html.matches("role=\"img\" aria-label=\"L").count(), 4);
    assert_eq!(ran.html.matches("<figure>").count() * 2, plots);
    assert_eq!(
        ran.html.matches("<figure>").count(),
        ran.html.matches("<details>").count()
    );
    assert_eq!(
        ran.html.matches("<svg").count(),
        ran.html.matches("</svg>").count()
    );
    for absent in ["NaN", "inf ", "inf\""] {
        assert!(!ran.html.contains(absent), "{}", ran.html);
    }
}

#[test]
fn a_void_run_says_so_and_why() {
    let server = Server::start(Fault::Lose(10));
    let ran = run(
        "void",
        &format!(
            "echo --url {} --connections 1 --rate 300",
            server.echo_url()
        ),
    );
    assert_eq!(ran.output.status.code(), Some(2));
    ran.assert_says(&[
        "<strong>Failed</strong>",
        "Throughput and latency are void",
        "10 messages were lost",
        "<h2>Latency by percentile <span class=\"tag\">void</span>",
        "lost: sent, but never came back",
    ]);
}

#[test]
fn a_report_shows_what_is_particular_to_a_load() {
    let server = Server::start(Fault::None);
    let (echo, broadcast) = (server.echo_url(), server.broadcast_url());
    let clients = Small::start(centrifugo::Fault::None).url();
    for (name, load, parts) in [
        (
            "steps",
            format!("echo --url {echo} --steps 100,200 --step-duration 100ms"),
            ["<h2>Steps</h2>", "<th scope=\"row\">2</th><td>200</td>"],
        ),
        (
            "connect",
            format!("connect --url {echo} --rate 100"),
            ["<h2>Connections</h2>", "<dt>Opened</dt><dd>35</dd>"],
        ),
        (
            "idle",
            format!("idle --url {echo} --connections 2 --ping-interval 50ms"),
            ["<h2>Pings</h2>", "<dt>Of them answered</dt><dd>14</dd>"],
        ),
        (
            "chat",
            format!("chat --url {broadcast} --users 4 --rooms 1"),
            ["<h2>Rooms</h2>", "<dt>Joins</dt><dd>4</dd>"],
        ),
        (
            "clients",
            format!("chat --protocol centrifugo --url {clients} --users 4 --rooms 1"),
            [
                "<h2>Clients</h2>",
                "<th scope=\"row\">connect</th><td>4</td>",
            ],
        ),
    ] {
        run(name, &load).assert_says(&parts);
    }
}

#[test]
fn searches_and_scenarios_have_a_report_too() {
    let server = Server::start(Fault::Lose(1));
    let url = server.broadcast_url();
    let search = "--subscribers 1 --rate 10 --find-max p50=60s --step-duration 100ms";
    let ran = run("search", &format!("broadcast --url {url} {search}"));
    ran.assert_says(&[
        "the highest rate</h1>",
        &url,
        "<strong>No rate</strong>",
        "<th scope=\"row\">2</th><td>10</td>",
        "<h2>Configuration and machine</h2>",
    ]);
    let server = Server::start(Fault::None);
    let group = |name: &str| {
        format!(
            "[[group]]\nname = \"{name}\"\npattern = \"echo\"\nurl = \"{}\"\nrate = 100\n\
             connections = 2\nduration = \"100ms\"\nwarmup = \"0s\"\n",
            server.echo_url()
        )
    };
    let scenario = Scenario::new("html", &[group("<one>"), group("two")].concat());
    let page = path("mixed");
    let line = format!("{} --html {}", scenario.line(), page.display());
    let ran = outcome(&command(&line).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:#?}");
    let html = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    for part in [
        "<h1>Group &lt;one&gt;</h1>",
        "<h1>Group two</h1>",
        "<th scope=\"row\">all</th>",
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert_eq!(html.matches("<h2>Latency by percentile").count(), 2);
}

#[test]
fn a_run_that_does_not_take_place_says_why() {
    let server = Server::start(Fault::Refuse("404 Not Found"));
    let ran = run("refused", &format!("echo --url {}", server.echo_url()));
    assert_eq!(ran.output.status.code(), Some(3));
    ran.assert_says(&[
        "The run did not take place",
        "404 Not Found",
        "<h2>Configuration",
    ]);
}

#[test]
fn a_report_that_can_not_be_written_is_refused_before_the_run() {
    for (file, code) in [("/nonexistent/x.html", 5), ("-", 64)] {
        let output = command(&format!("echo --duration 1h --html {file}"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}
