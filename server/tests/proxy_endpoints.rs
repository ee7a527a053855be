//! Several endpoints of an application: which is asked, when one fails, hangs or
//! comes back, and what happens when there is too much to ask.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use support::application::{Answer, Application, Gate, Nobody};
use support::peer::{Chat, Peer};
use support::wait::until_equal;
use support::{expect_refusal, run};

/// A server that asks these endpoints about calls.
fn start(name: &str, endpoints: &[String], settings: &str) -> Chat {
    Chat::start(
        &format!("endpoints-{name}"),
        &format!(
            "client.anonymous = true\n[[application]]\nname = 'app'\nendpoints = {endpoints:?}\n\
             events = ['rpc']\ntotal_timeout = '25s'\n{settings}\n"
        ),
    )
}

/// With time enough for a busy machine.
const PATIENT: &str = "timeout = '20s'\nretries = 0";

/// An application that says who it is.
fn saying(name: &'static str) -> Application {
    Application::start(move |_| Answer::result(&json!({ "data": name })))
}

fn rpc(id: u32) -> Value {
    json!({ "id": id, "rpc": { "method": "m", "data": id } })
}

/// Who answers the next call, or with which error.
fn said(peer: &mut Peer) -> Value {
    let reply = peer.ask(&rpc(9));
    match &reply["error"] {
        Value::Null => reply["rpc"]["data"].clone(),
        error => error["code"].clone(),
    }
}

/// A metric of the endpoint at this place.
fn of_endpoint(chat: &Chat, name: &str, place: usize, more: &str) -> u64 {
    let metrics = chat.serving.metrics();
    let of = format!("{name}{{application=\"app\",endpoint=\"{place} ");
    let found = metrics
        .iter()
        .find(|(key, _)| key.starts_with(&of) && key.contains(more));
    *found
        .unwrap_or_else(|| panic!("no {of} {more} in {metrics:?}"))
        .1
}

#[test]
fn the_next_endpoint_is_asked_when_the_first_is_down() {
    let (nobody, second) = (Nobody::new(), saying("second"));
    let endpoints = [nobody.endpoint(), second.endpoint()];
    let chat = start(
        "failover",
        &endpoints,
        &format!("{PATIENT}\nbreaker_failures = 3"),
    );
    let mut peer = chat.connected();
    for _ in 0..5 {
        assert_eq!(said(&mut peer), "second");
    }
    let requests = "hioload_application_requests_total";
    let failed = of_endpoint(&chat, requests, 0, "outcome=\"connection\"");
    assert_eq!(failed, 3, "left alone after three");
    assert_eq!(of_endpoint(&chat, requests, 1, "outcome=\"answered\""), 5);
    assert_eq!(of_endpoint(&chat, "hioload_application_breaker", 0, ""), 2);
    assert_eq!(of_endpoint(&chat, "hioload_application_breaker", 1, ""), 0);
    assert!(
        of_endpoint(
            &chat,
            "hioload_application_answer_microseconds_total",
            1,
            ""
        ) > 0
    );
}

#[test]
fn an_endpoint_that_comes_back_is_asked_again() {
    let is_ill = Arc::new(AtomicBool::new(true));
    let ill = is_ill.clone();
    let first = Application::start(move |_| {
        if ill.load(Ordering::SeqCst) {
            Answer::status(500)
        } else {
            Answer::result(&json!({ "data": "first" }))
        }
    });
    let second = saying("second");
    let endpoints = [first.endpoint(), second.endpoint()];
    let settings = format!("{PATIENT}\nbreaker_failures = 2\nbreaker_cooldown = '200ms'");
    let chat = start("recovers", &endpoints, &settings);
    let mut peer = chat.connected();
    for _ in 0..3 {
        assert_eq!(said(&mut peer), "second");
    }
    is_ill.store(false, Ordering::SeqCst);
    until_equal("who answers", &json!("first"), || said(&mut peer));
    assert_eq!(of_endpoint(&chat, "hioload_application_breaker", 0, ""), 0);
}

#[test]
fn the_fastest_endpoint_is_not_waited_for_the_others() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({ "data": "slow" }))
    });
    let (nobody, fast) = (Nobody::new(), saying("fast"));
    let endpoints = [slow.endpoint(), nobody.endpoint(), fast.endpoint()];
    let chat = start(
        "fastest",
        &endpoints,
        &format!("{PATIENT}\nmode = 'fastest'"),
    );
    let mut peer = chat.connected();
    for _ in 0..3 {
        assert_eq!(said(&mut peer), "fast");
    }
    let in_flight = || {
        chat.serving
            .metric("hioload_application_requests_in_flight")
    };
    until_equal("requests in flight", &0, in_flight);
    gate.open();
}

#[test]
fn all_endpoints_must_agree_and_the_first_has_the_word() {
    let is_against = Arc::new(AtomicBool::new(false));
    let against = is_against.clone();
    let first = saying("first");
    let second = Application::start(move |_| {
        if against.load(Ordering::SeqCst) {
            Answer::error(499)
        } else {
            Answer::result(&json!({ "data": "second" }))
        }
    });
    let endpoints = [first.endpoint(), second.endpoint()];
    let chat = start("all", &endpoints, &format!("{PATIENT}\nmode = 'all'"));
    let mut peer = chat.connected();
    assert_eq!(said(&mut peer), "first");
    is_against.store(true, Ordering::SeqCst);
    assert_eq!(said(&mut peer), 499);
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
    let nobody = Nobody::new();
    let endpoints = [first.endpoint(), nobody.endpoint()];
    let chat = start("not-all", &endpoints, &format!("{PATIENT}\nmode = 'all'"));
    assert_eq!(said(&mut chat.connected()), 100);
}

#[test]
fn what_fails_once_is_tried_again_under_the_same_name() {
    let tried = AtomicBool::new(false);
    let application = Application::start(move |_| {
        if tried.swap(true, Ordering::SeqCst) {
            Answer::result(&json!({ "data": "second try" }))
        } else {
            Answer::status(503)
        }
    });
    let settings = "timeout = '20s'\nretries = 1\nbackoff = '10ms'";
    let chat = start("retries", &[application.endpoint()], settings);
    assert_eq!(said(&mut chat.connected()), "second try");
    let seen = application.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0].headers["idempotency-key"],
        seen[1].headers["idempotency-key"]
    );
}

#[test]
fn what_takes_too_long_is_given_up_and_the_next_is_asked() {
    let gate = Gate::default();
    let held = gate.clone();
    let hanging = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({ "data": "late" }))
    });
    let settings = "timeout = '50ms'\nretries = 0\nbreaker_failures = 100";
    let chat = start("timeout", &[hanging.endpoint()], settings);
    let mut peer = chat.connected();
    assert_eq!(said(&mut peer), 100);
    let requests = "hioload_application_requests_total";
    assert_eq!(of_endpoint(&chat, requests, 0, "outcome=\"timeout\""), 1);
    gate.open();
}

#[test]
fn beyond_what_may_wait_calls_are_refused_at_once() {
    let gate = Gate::default();
    let held = gate.clone();
    let application = Application::start(move |_| {
        held.pass();
        Answer::result(&json!({ "data": "done" }))
    });
    let settings = format!("{PATIENT}\nmax_in_flight = 1\nmax_queued = 2");
    let chat = start("full", &[application.endpoint()], &settings);
    let mut peer = chat.connected();
    for id in 2..5 {
        peer.tell(&rpc(id));
    }
    let full = peer.ask(&rpc(5));
    assert_eq!(full["error"]["code"], 100);
    assert_eq!(full["error"]["temporary"], true);
    until_equal("requests", &1, || application.seen().len());
    assert_eq!(
        chat.serving.metric("hioload_application_calls_in_flight"),
        1
    );
    assert_eq!(chat.serving.metric("hioload_application_events_open"), 3);
    gate.open();
    for _ in 0..3 {
        assert_eq!(peer.next()["rpc"]["data"], "done");
    }
    assert_eq!(said(&mut peer), "done", "there is room again");
}

#[test]
fn events_of_one_kind_go_together_and_each_gets_its_own_answer() {
    let application = Application::start(|asked| {
        let batch = asked.body["batch"].as_array().expect("a batch");
        let answer = |one: &Value| match one["data"].as_i64() {
            Some(3) => json!({ "error": { "code": 433, "message": "three" } }),
            number => json!({ "result": { "data": number } }),
        };
        let answers: Vec<Value> = batch.iter().map(answer).collect();
        Answer::of(&json!({ "batch": answers }))
    });
    let settings = format!("{PATIENT}\nbatch_max = 4\nbatch_wait = '20s'");
    let chat = start("batch", &[application.endpoint()], &settings);
    let mut peer = chat.connected();
    for id in 2..6 {
        peer.tell(&rpc(id));
    }
    // The fourth makes it full: nobody waits.
    for id in 2..6_u32 {
        let reply = peer.reply(&json!(id));
        match id {
            3 => assert_eq!(reply["error"]["code"], 433),
            _ => assert_eq!(reply["rpc"]["data"], id),
        }
    }
    assert_eq!(application.seen().len(), 1);
    let settings = format!("{PATIENT}\nbatch_max = 4\nbatch_wait = '10ms'");
    let chat = start("late-batch", &[application.endpoint()], &settings);
    let mut peer = chat.connected();
    assert_eq!(peer.ask(&rpc(2))["rpc"]["data"], 2, "one alone goes too");
}

#[test]
fn an_answer_to_fewer_than_asked_is_none() {
    let application = Application::start(|_| Answer::of(&json!({ "batch": [{}] })));
    let settings = format!("{PATIENT}\nbatch_max = 2\nbatch_wait = '20s'");
    let chat = start("short-batch", &[application.endpoint()], &settings);
    let mut peer = chat.connected();
    for id in [2, 3] {
        peer.tell(&rpc(id));
    }
    for _ in 0..2 {
        assert_eq!(peer.next()["error"]["code"], 100);
    }
}

#[test]
fn an_endpoint_that_says_it_is_not_well_is_not_asked() {
    let is_ill = Arc::new(AtomicBool::new(false));
    let ill = is_ill.clone();
    let first = Application::start(move |asked| match asked.path.as_str() {
        "/health" if ill.load(Ordering::SeqCst) => Answer::status(503),
        "/health" => Answer::status(200),
        _ => Answer::result(&json!({ "data": "first" })),
    });
    let second = Application::start(|asked| match asked.path.as_str() {
        "/health" => Answer::status(204),
        _ => Answer::result(&json!({ "data": "second" })),
    });
    let endpoints = [first.endpoint(), second.endpoint()];
    let settings = format!("{PATIENT}\nhealth_path = '/health'\nhealth_interval = '20ms'");
    let chat = start("health", &endpoints, &settings);
    let mut peer = chat.connected();
    assert_eq!(said(&mut peer), "first");
    let is_up = || of_endpoint(&chat, "hioload_application_endpoint_up", 0, "");
    for (ill, up, expected) in [(true, 0, "second"), (false, 1, "first")] {
        is_ill.store(ill, Ordering::SeqCst);
        until_equal("whether it is up", &up, is_up);
        assert_eq!(said(&mut peer), expected);
    }
}

#[test]
fn over_tls_only_a_known_authority_is_believed() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a pair");
    let application = Application::start_tls(Arc::new(tls), |_| {
        Answer::result(&json!({ "data": "in secret" }))
    });
    let endpoint = [format!("https://localhost:{}/app", application.addr.port())];
    let file = std::env::temp_dir().join(format!("hioload-ca-{}.pem", std::process::id()));
    std::fs::write(&file, own.cert.pem()).expect("a file");
    let known = format!("{PATIENT}\nca = '{}'", file.display());
    let chat = start("tls", &endpoint, &known);
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(said(&mut chat.connected()), "in secret");
    assert_eq!(application.seen()[0].headers["x-hioload-event"], "rpc");
    let chat = start("unknown-tls", &endpoint, PATIENT);
    assert_eq!(said(&mut chat.connected()), 100);
    assert_eq!(application.seen().len(), 1);
}

#[test]
fn what_would_not_work_is_named_before_the_start() {
    let rest = "endpoints = ['https://localhost']\nevents = ['rpc']\nca = '/no/such.pem'\n";
    for (toml, named) in [
        (
            format!("[[application]]\nname = 'app'\n{rest}"),
            "/no/such.pem",
        ),
        (
            format!("[[application]]\nname = 'app'\n{rest}timeout = '0s'"),
            "timeout is 0",
        ),
    ] {
        let file = std::env::temp_dir().join(format!("hioload-wrong-{}.toml", std::process::id()));
        std::fs::write(&file, toml).expect("a file");
        let path = file.to_str().expect("text");
        expect_refusal(
            &["--listen", "127.0.0.1:0", "--config", path],
            &["\"app\"", named],
        );
        let checked = run(&["check-config", path]);
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        assert!(checked.stderr.contains(named), "{}", checked.stderr);
        std::fs::remove_file(&file).expect("it is there");
    }
}

#[test]
fn a_reload_changes_nothing_of_it() {
    let application = saying("the same");
    let chat = start("reload", &[application.endpoint()], PATIENT);
    let other = format!("{}\nretries = 3", chat.toml().replace("retries = 0", ""));
    chat.rewrite(&other);
    chat.serving.process.ask_to_reload();
    let refused = "[[application]]: needs a restart";
    chat.serving.process.wait_for_log(refused);
    assert_eq!(said(&mut chat.connected()), "the same");
}

#[test]
fn neither_the_log_nor_the_metrics_show_a_password() {
    let nobody = Nobody::new();
    let endpoint = nobody.endpoint().replace("http://", "http://user:hunter2@");
    let endpoint = format!("{endpoint}?key=hunter2");
    let settings = "timeout = '20s'\nretries = 0\nbreaker_failures = 1";
    let mut chat = start("password", &[endpoint], settings);
    let mut peer = chat.connected();
    assert_eq!(said(&mut peer), 100);
    let metrics = format!("{:?}", chat.serving.metrics());
    assert!(
        metrics.contains("/app/{event}") && !metrics.contains("hunter2"),
        "{metrics}"
    );
    chat.serving.process.ask_to_stop();
    let ended = chat.serving.process.wait();
    assert!(ended.stderr.contains("left alone"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}
