//! The real server reads its file again on SIGHUP.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::path::PathBuf;

use support::Serving;
use support::client::Client;

/// A configuration file that ends with its test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("hioload-reload-{name}-{}.toml", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a file");
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A test that fails may have removed it.
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_signal_reads_the_file_again_and_flags_still_override_it() {
    let file = File::new("follow", "[limits]\nmax_message = 1000\n");
    let serving = Serving::start(&["--config", file.path(), "--idle-timeout", "50s"]);
    let mut there = Client::connect(serving.addr, "/echo");
    file.write("log = 'debug'\n[limits]\nmax_message = 9000\n[timeouts]\nidle = '60s'\n");
    serving.process.ask_to_reload();
    let changed = "reloaded: log info -> debug, max_message 1000 -> 9000";
    serving.process.wait_for_log(changed);
    assert!(!serving.process.logged().contains("idle_timeout"));
    there.check_echo(&"x".repeat(5000));
    // Only a log at the level debug says this.
    let mut bad = Client::connect(serving.addr, "/echo");
    bad.raw(&[0xff, 0x80, 0, 0, 0, 0]);
    assert_eq!(bad.expect_close(), 1002);
    serving.process.wait_for_log("protocol violation");
    drop(bad);
    file.write("log = 'debug'\n[limits]\nmax_message = 9000\n");
    serving.process.ask_to_reload();
    serving
        .process
        .wait_for_log("reloaded: no setting has changed");
    there.close_and_wait();
    serving.stop();
}

#[test]
fn a_refused_reload_says_why_and_keeps_the_old() {
    let file = File::new("refused", "[limits]\nmax_message = 5000\n");
    let serving = Serving::start(&["--config", file.path()]);
    let mut there = Client::connect(serving.addr, "/echo");
    for (text, why) in [
        ("[limits]\nmax_mesage = 9", "max_mesage"),
        ("[limits]\nmax_message = 9", "must be at least 125"),
        (
            "listen = ['127.0.0.1:1']\n[routes]\necho = false",
            "routes.echo: needs a restart",
        ),
        (
            "pin = false\n[limits]\nmax_message = 900",
            "pin true -> false: needs a restart",
        ),
        ("log = 'a=b=c'", "log filter"),
        (
            "[timeouts]\nidle = '10s'",
            "ping_interval is 25s, but idle_timeout is 10s",
        ),
    ] {
        file.write(text);
        serving.process.ask_to_reload();
        serving.process.wait_for_log(why);
    }
    there.check_echo(&"x".repeat(4000));
    let logged = serving.process.logged();
    assert_eq!(
        logged.matches("the reload is refused").count(),
        6,
        "{logged}"
    );
    assert!(!logged.contains("reloaded:"), "{logged}");
    there.close_and_wait();
    serving.stop();
}
