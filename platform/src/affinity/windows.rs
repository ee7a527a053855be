//! `SetThreadGroupAffinity`. CPUs come in groups of at most 64; a thread runs
//! in one group, and a process may have threads in several.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_INVALID_PARAMETER;
use windows_sys::Win32::System::SystemInformation::GROUP_AFFINITY;
use windows_sys::Win32::System::Threading::{
    GetActiveProcessorCount, GetActiveProcessorGroupCount, GetCurrentThread,
    GetThreadGroupAffinity, SetThreadGroupAffinity,
};

use super::{AffinityError, first};

/// CPUs of one group, in a mask of 64 bits.
const GROUP: usize = 64;

/// A thread that may use all of its group was not confined: it may be moved to
/// any other group too.
pub(super) fn allowed() -> Result<Vec<usize>, AffinityError> {
    let own = own()?;
    if own.Mask != whole(own.Group) {
        return Ok(cpus(own.Group, own.Mask));
    }
    // SAFETY: the call takes and returns numbers.
    let groups = unsafe { GetActiveProcessorGroupCount() };
    Ok((0..groups.max(1))
        .flat_map(|group| cpus(group, whole(group)))
        .collect())
}

pub(super) fn confine(cpus: &[usize]) -> Result<(), AffinityError> {
    let cpu = first(cpus);
    let group = u16::try_from(cpu / GROUP).map_err(|_too_large| AffinityError::not_allowed(cpu))?;
    let same_group = cpus.iter().filter(|&other| other / GROUP == cpu / GROUP);
    let wanted = GROUP_AFFINITY {
        Mask: same_group.fold(0, |mask, cpu| mask | 1 << (cpu % GROUP)),
        Group: group,
        Reserved: [0; 3],
    };
    // SAFETY: the call takes and returns numbers.
    let thread = unsafe { GetCurrentThread() };
    // SAFETY: `wanted` outlives the call, and the previous affinity is not
    // asked for.
    if unsafe { SetThreadGroupAffinity(thread, &raw const wanted, ptr::null_mut()) } != 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(ERROR_INVALID_PARAMETER.cast_signed()) {
        Err(AffinityError::not_allowed(cpu))
    } else {
        Err(AffinityError::system("SetThreadGroupAffinity", error))
    }
}

/// The group of the calling thread and the CPUs of it that the thread may use.
fn own() -> Result<GROUP_AFFINITY, AffinityError> {
    let mut own = GROUP_AFFINITY::default();
    // SAFETY: the call takes and returns numbers.
    let thread = unsafe { GetCurrentThread() };
    // SAFETY: `own` is written within the call.
    if unsafe { GetThreadGroupAffinity(thread, &raw mut own) } == 0 {
        let error = io::Error::last_os_error();
        return Err(AffinityError::system("GetThreadGroupAffinity", error));
    }
    Ok(own)
}

/// All active CPUs of a group: its lowest bits.
fn whole(group: u16) -> usize {
    // SAFETY: the call takes and returns numbers.
    match unsafe { GetActiveProcessorCount(group) } {
        64.. => usize::MAX,
        count => (1 << count) - 1,
    }
}

/// The numbers of the CPUs in a group's mask, ascending.
pub(crate) fn cpus(group: u16, mask: usize) -> Vec<usize> {
    let bits = (0..GROUP).filter(|bit| mask >> bit & 1 == 1);
    bits.map(|bit| usize::from(group) * GROUP + bit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_through_the_groups() {
        assert_eq!(cpus(0, 0b1011), [0, 1, 3]);
        assert_eq!(cpus(2, 1 << 63 | 1), [128, 191]);
        assert_eq!(cpus(1, 0), [0; 0]);
    }
}
