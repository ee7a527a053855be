//! The timer slack of a thread.

use std::io;

use crate::clock::Nanos;

pub(super) fn limit_slack(slack: Nanos) -> io::Result<()> {
    Ok(nix::sys::prctl::set_timerslack(slack)?)
}
