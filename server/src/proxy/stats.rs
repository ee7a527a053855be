//! What is asked and answered, in the Prometheus text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Proxy;
use super::breaker::Shown;
use super::endpoint::{Endpoint, OUTCOMES};
use super::failure::Failure;
use super::wire::Said;
use crate::config::Event;

/// How events end.
const ENDS: [&str; 5] = ["result", "error", "disconnect", "failure", "full"];

/// Events by kind and end.
#[derive(Debug, Default)]
pub(super) struct Stats([[AtomicU64; ENDS.len()]; Event::ALL.len()]);

impl Stats {
    pub(super) fn ended(&self, event: Event, said: &Result<Said, Failure>) {
        self.count(
            event,
            match said {
                Ok(Said::Result(_)) => 0,
                Ok(Said::Error(_)) => 1,
                Ok(Said::Disconnect(_)) => 2,
                Err(_) => 3,
            },
        );
    }

    pub(super) fn full(&self, event: Event) {
        self.count(event, 4);
    }

    fn count(&self, event: Event, end: usize) {
        let place = Event::ALL.iter().position(|one| *one == event);
        if let Some(place) = place {
            self.0[place][end].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a metric of an endpoint is called, what it is, and its value.
type OfEndpoint = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Endpoint) -> u64,
);

const OF_ENDPOINTS: [OfEndpoint; 4] = [
    (
        "hioload_application_requests_in_flight",
        "gauge",
        "Requests to an endpoint that are not answered.",
        |one| one.in_flight.load(Ordering::Relaxed),
    ),
    (
        "hioload_application_answer_microseconds_total",
        "counter",
        "Time that requests of the outcome answered took.",
        |one| one.micros.load(Ordering::Relaxed),
    ),
    (
        "hioload_application_breaker",
        "gauge",
        "Whether an endpoint is asked: 0 closed (it is), 1 half-open (one request tries), 2 open.",
        |one| match one.shown() {
            Shown::Closed => 0,
            Shown::HalfOpen => 1,
            Shown::Open => 2,
        },
    ),
    (
        "hioload_application_endpoint_up",
        "gauge",
        "Whether an endpoint was well when it was last looked at; 1 where nobody looks.",
        |one| u64::from(one.is_up()),
    ),
];

/// The same of an application's gauges.
type OfApplication = (&'static str, &'static str, fn(&Proxy) -> usize);

const OF_APPLICATIONS: [OfApplication; 2] = [
    (
        "hioload_application_events_open",
        "Events that are not answered, those that wait for their turn included.",
        |one| one.open.load(Ordering::Relaxed),
    ),
    (
        "hioload_application_calls_in_flight",
        "Calls whose turn it is, each an event or a batch.",
        |one| one.settings.max_in_flight - one.permits.available_permits(),
    ),
];

pub(super) fn render(all: &[Arc<Proxy>]) -> String {
    let mut out = String::new();
    if all.is_empty() {
        return out;
    }
    let name = "hioload_application_events_total";
    head(
        &mut out,
        name,
        "counter",
        "Events about which the application was asked, by their end.",
    );
    for proxy in all {
        for (event, ends) in Event::ALL.iter().zip(&proxy.stats.0) {
            for (end, count) in ENDS.iter().zip(ends) {
                let labels = format!(
                    "application=\"{}\",event=\"{}\",end=\"{end}\"",
                    proxy.settings.name,
                    event.name()
                );
                line(&mut out, name, &labels, count.load(Ordering::Relaxed));
            }
        }
    }
    for (name, help, value) in OF_APPLICATIONS {
        head(&mut out, name, "gauge", help);
        for proxy in all {
            let labels = format!("application=\"{}\"", proxy.settings.name);
            line(&mut out, name, &labels, value(proxy) as u64);
        }
    }
    endpoints(&mut out, all);
    out
}

fn endpoints(out: &mut String, all: &[Arc<Proxy>]) {
    let name = "hioload_application_requests_total";
    head(
        out,
        name,
        "counter",
        "Requests to an endpoint, by their outcome.",
    );
    for (labels, endpoint) in labelled(all) {
        for (index, outcome) in OUTCOMES.iter().enumerate() {
            let labels = format!("{labels},outcome=\"{outcome}\"");
            line(out, name, &labels, endpoint.ended(index));
        }
    }
    for (name, kind, help, value) in OF_ENDPOINTS {
        head(out, name, kind, help);
        for (labels, endpoint) in labelled(all) {
            line(out, name, &labels, value(endpoint));
        }
    }
}

fn labelled(all: &[Arc<Proxy>]) -> impl Iterator<Item = (String, &Endpoint)> {
    all.iter().flat_map(|proxy| {
        let name = &proxy.settings.name;
        let endpoints = proxy.caller.endpoints.iter().enumerate();
        endpoints.map(move |(index, endpoint)| {
            // Two may differ in what is not shown of them.
            let address = endpoint.name.replace(['\\', '"'], "");
            let labels = format!("application=\"{name}\",endpoint=\"{index} {address}\"");
            (labels, endpoint)
        })
    })
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _infallible = writeln!(out, "{name}{{{labels}}} {value}");
}
