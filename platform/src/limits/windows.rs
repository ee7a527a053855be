//! Windows limits handles only by the size of its handle tables, and sockets by
//! the memory of the kernel.

use windows_sys::Win32::Foundation::ERROR_TOO_MANY_OPEN_FILES;
use windows_sys::Win32::Networking::WinSock::WSAEMFILE;

use super::{Limit, LimitError, Limits};

/// What a process can do about it.
pub(super) const ADVICE: &str = "a process of Windows can not have more";

/// Handles one process may have: "Pushing the Limits of Windows: Handles"
/// (Mark Russinovich, 2009), 2^24 less what the table's own pages take.
const HANDLES: u64 = 16_711_680;

/// What a listener may keep waiting is not told.
pub(super) fn read() -> Limits {
    Limits {
        nofile: Some(Limit {
            soft: HANDLES,
            hard: HANDLES,
        }),
        memlock: None,
        somaxconn: None,
    }
}

pub(super) fn raise_nofile(needed: u64) -> Result<u64, LimitError> {
    if needed > HANDLES {
        return Err(LimitError::TooLow {
            needed,
            now: HANDLES,
        });
    }
    Ok(HANDLES)
}

pub(super) fn is_out_of_descriptors(code: i32) -> bool {
    code == WSAEMFILE || code == ERROR_TOO_MANY_OPEN_FILES.cast_signed()
}
