//! Waiting for a condition, with an end.

use std::time::{Duration, Instant};

/// How long a test waits for what must happen: far longer than it takes on a
/// busy machine, short enough that a hang is reported.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds`; panics with `what` and the state that `holds` last
/// described.
pub(crate) fn until<S: std::fmt::Debug>(what: &str, mut holds: impl FnMut() -> Result<(), S>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Err(state) = holds() else { return };
        assert!(
            Instant::now() < deadline,
            "{what}: still {state:?} after {PATIENCE:?}"
        );
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// As [`until`], for a number.
pub(crate) fn until_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    mut actual: impl FnMut() -> T,
) {
    until(what, || {
        let actual = actual();
        if actual == *expected {
            Ok(())
        } else {
            Err(actual)
        }
    });
}
