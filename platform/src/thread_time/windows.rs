//! `GetThreadTimes`.

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::Threading::{GetCurrentThread, GetThreadTimes};

use super::ThreadTime;
use crate::clock::Nanos;

pub(super) fn now() -> ThreadTime {
    let mut created = FILETIME::default();
    let mut ended = FILETIME::default();
    let mut system = FILETIME::default();
    let mut user = FILETIME::default();
    // SAFETY: the call takes and returns numbers.
    let thread = unsafe { GetCurrentThread() };
    // SAFETY: all four are written within the call.
    let told = unsafe {
        GetThreadTimes(
            thread,
            &raw mut created,
            &raw mut ended,
            &raw mut system,
            &raw mut user,
        )
    };
    if told == 0 {
        return ThreadTime::default();
    }
    ThreadTime {
        user: nanos(user),
        system: nanos(system),
        waited: 0,
    }
}

/// Of units of 100 nanoseconds.
fn nanos(time: FILETIME) -> Nanos {
    (u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)) * 100
}
