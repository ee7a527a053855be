//! The server says what it can do and which it is.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use support::{run, server};

#[test]
fn help_and_version_are_there() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for word in [
        "--listen",
        "--shards",
        "--cpus",
        "--placement",
        "--config",
        "--dev",
        "probe",
        "check-config",
        "gen-config",
        "gen-token",
        "check-token",
        "HIOLOAD_LIMITS_MAX_MESSAGE",
        "Examples:",
    ] {
        assert!(help.stdout.join("\n").contains(word), "{word}");
    }
    let version = support::Process::spawn(server(&["--version"])).wait();
    assert_eq!(
        version.stdout,
        [concat!("hioload-server ", env!("CARGO_PKG_VERSION"))]
    );
}

#[test]
fn each_subcommand_explains_itself_with_examples() {
    for command in ["check-config", "gen-config", "gen-token", "check-token"] {
        let help = run(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        let text = help.stdout.join("\n");
        let example = format!("  hioload-server {command} ");
        assert!(text.contains("Examples:"), "{text}");
        assert!(text.contains(&example), "{text}");
    }
}
