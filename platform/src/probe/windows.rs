//! Windows has one backend and nothing to choose.

use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::Foundation::STATUS_SUCCESS;
use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;

use super::{Cause, CauseKind, Feature};

#[expect(
    clippy::cast_possible_truncation,
    reason = "less than 300 bytes, and a constant can not be converted"
)]
const SIZE: u32 = size_of::<OSVERSIONINFOW>() as u32;

/// The version itself: `GetVersionEx` tells programs the one they were made
/// for.
pub(super) fn release() -> String {
    let mut version = OSVERSIONINFOW {
        dwOSVersionInfoSize: SIZE,
        ..OSVERSIONINFOW::default()
    };
    // SAFETY: the structure says its size, and is written within the call.
    if unsafe { RtlGetVersion(&raw mut version) } != STATUS_SUCCESS {
        return "unknown".into();
    }
    let OSVERSIONINFOW {
        dwMajorVersion: major,
        dwMinorVersion: minor,
        dwBuildNumber: build,
        ..
    } = version;
    format!("Windows {major}.{minor}.{build}")
}

pub(super) fn uring() -> Result<Vec<Feature>, Cause> {
    Err(Cause {
        kind: CauseKind::NotLinux,
        line: "io_uring is an interface of Linux; Windows has completion ports".into(),
    })
}
