//! The admin page's part of the server: who may, and that the token is not told.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use support::http::{Answer, exchange, get};
use support::wait::until_equal;
use support::{Process, Serving, expect_refusal, server};

const TOKEN: &str = "0123456789-abcdef-admin";

fn start(args: &[&str]) -> Serving {
    let mut command = server(&["--listen", "127.0.0.1:0", "--shards", "2"]);
    command.args(args).env("HIOLOAD_ADMIN_TOKEN", TOKEN);
    Serving::of(Process::spawn(command))
}

fn ask(serving: &Serving, line: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(serving.addr, request.as_bytes())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn only_the_token_opens_what_is_behind_the_page_and_it_stays_out_of_the_log() {
    let serving = start(&["--log", "debug"]);
    let page = get(serving.addr, "/admin");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("script-src 'self'"), "{policy}");
    for path in ["/admin/state", "/admin/api/info", "/admin/api/no-method"] {
        let line = if path == "/admin/state" {
            format!("GET {path}")
        } else {
            format!("POST {path}")
        };
        for headers in [
            String::new(),
            bearer("0123456789-abcdef-admin2"),
            bearer(&TOKEN.to_uppercase()),
            format!("X-API-Key: {TOKEN}\r\n"),
            format!("Authorization: Basic {TOKEN}\r\n"),
        ] {
            let answer = ask(&serving, &line, &headers, "{}");
            assert_eq!(answer.status, 401, "{line} {headers}");
        }
    }
    let info = ask(&serving, "POST /admin/api/info", &bearer(TOKEN), "{}");
    assert_eq!(info.status, 200);
    assert!(info.text().contains("\"num_clients\":0"), "{}", info.text());
    let unknown = ask(&serving, "POST /admin/api/no-method", &bearer(TOKEN), "{}");
    assert_eq!(unknown.status, 404);
    until_equal("the shards have answered", &true, || {
        let state = ask(&serving, "GET /admin/state", &bearer(TOKEN), "");
        assert_eq!(state.status, 200);
        state.text().contains("\"websocket\": 0")
    });
    let ended = serving.stop();
    assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
    assert!(ended.stdout.iter().all(|line| !line.contains(TOKEN)));
}

#[test]
fn without_a_token_there_is_nothing_but_the_way_to_one() {
    let serving = Serving::start(&[]);
    let page = get(serving.addr, "/admin");
    assert_eq!(page.status, 404);
    assert!(page.text().contains("set token in [admin]"));
    assert_eq!(get(serving.addr, "/admin/state").status, 404);
    let call = ask(&serving, "POST /admin/api/info", &bearer(TOKEN), "{}");
    assert!([404, 405].contains(&call.status), "{}", call.status);
    serving.stop();
}

#[test]
fn development_mode_prints_a_token_where_only_this_machine_comes() {
    let serving = Serving::start(&["--dev"]);
    let line = serving.process.line();
    let (_, token) = line.rsplit_once(' ').expect("a token");
    let info = ask(&serving, "POST /admin/api/info", &bearer(token), "{}");
    assert_eq!(info.status, 200, "{line}");
    let ended = serving.stop();
    assert!(!ended.stderr.contains(token), "{}", ended.stderr);
    let mut command = server(&["--listen", "0.0.0.0:0", "--shards", "1", "--dev"]);
    command.env_remove("HIOLOAD_ADMIN_TOKEN");
    let open = Serving::of(Process::spawn(command));
    assert_eq!(
        get(([127, 0, 0, 1], open.addr.port()).into(), "/admin").status,
        404
    );
    open.stop();
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    let name = format!("hioload-admin-{}.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, "admin.token = 'short'\n").expect("a file");
    expect_refusal(
        &["--config", file.to_str().expect("text")],
        &["admin.token", "16"],
    );
    std::fs::remove_file(file).expect("the file is still there");
}
