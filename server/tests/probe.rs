//! `hioload-server probe` says what this kernel offers.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use support::{Process, server};

#[test]
fn the_probe_prints_the_kernel_and_its_features() {
    let ended = Process::spawn(server(&["probe"])).wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let text = ended.stdout.join("\n");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    assert!(text.contains(release.trim()), "{text}");
    for word in ["io_uring", "multishot", "CPU"] {
        assert!(
            text.to_lowercase().contains(&word.to_lowercase()),
            "no {word} in {text}"
        );
    }
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
}

#[test]
fn help_and_version_are_there() {
    let help = Process::spawn(server(&["--help"])).wait();
    assert_eq!(help.status.code(), Some(0));
    for word in ["--listen", "--shards", "--config", "--dev", "probe"] {
        assert!(help.stdout.join("\n").contains(word), "{word}");
    }
    let version = Process::spawn(server(&["--version"])).wait();
    assert_eq!(
        version.stdout,
        [concat!("hioload-server ", env!("CARGO_PKG_VERSION"))]
    );
}
