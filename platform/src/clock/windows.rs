//! The period of the timer tick.

use std::io;

use windows_sys::Win32::Media::{TIMERR_NOERROR, timeBeginPeriod};

use crate::clock::Nanos;

/// The shortest period there is, in milliseconds.
const SHORTEST: u32 = 1;

/// Stays until the process ends: threads that wait come and go.
pub(super) fn limit_slack(_slack: Nanos) -> io::Result<()> {
    // SAFETY: the call takes and returns numbers.
    match unsafe { timeBeginPeriod(SHORTEST) } {
        TIMERR_NOERROR => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "no timer of this machine ticks every millisecond",
        )),
    }
}
