//! Tests that need a process of their own.

use std::process::{Command, Output};

/// Runs a test in a process of its own: what uses up the descriptors of a
/// process, of which Windows has no limit.
#[cfg(unix)]
pub(crate) fn alone(path: &str, test: fn()) {
    let Some(output) = child(path) else {
        return test();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "alone it failed:\n{text}\n{errors}"
    );
    assert!(text.contains("1 passed"), "it did run: {text}");
}

/// What became of the test at `path` in a process of its own: this binary
/// again, for that one test. `None` in that process.
pub(crate) fn child(path: &str) -> Option<Output> {
    const CHILD: &str = "CONFORMANCE_TEST_ALONE";
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let (_crate, name) = path.split_once("::").expect("a module path");
    let binary = std::env::current_exe().expect("this test has a binary");
    let output = Command::new(binary)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output();
    Some(output.expect("the test binary runs"))
}
