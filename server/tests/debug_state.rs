//! `/debug/state` of the real server: only with the token, which is not told.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use support::http::{Answer, exchange, get};
use support::wait::until;
use support::{Process, Serving, expect_refusal, server};

const TOKEN: &str = "0123456789-abcdef";

fn ask(serving: &Serving) -> Answer {
    let request = format!(
        "GET /debug/state HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    exchange(serving.addr, request.as_bytes())
}

#[test]
fn a_token_opens_the_page_and_stays_out_of_the_log() {
    let closed = Serving::start(&[]);
    assert_eq!(ask(&closed).status, 404);
    closed.stop();
    let mut command = server(&["--listen", "127.0.0.1:0", "--shards", "2", "--log", "debug"]);
    command.env("HIOLOAD_DEBUG_TOKEN", TOKEN);
    let serving = Serving::of(Process::spawn(command));
    assert_eq!(get(serving.addr, "/debug/state").status, 401);
    let mut answer = ask(&serving);
    until("the shards have answered", || {
        answer = ask(&serving);
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.status)
        }
    });
    assert!(
        answer.text().contains("\"websocket\": 0"),
        "{}",
        answer.text()
    );
    let ended = serving.stop();
    assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    let name = format!("hioload-token-{}.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, "debug_token = 'short'\n").expect("a file");
    expect_refusal(
        &["--config", file.to_str().expect("text")],
        &["debug_token", "16"],
    );
    std::fs::remove_file(file).expect("the file is still there");
}
