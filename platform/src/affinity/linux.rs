//! `sched_setaffinity`.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::{AffinityError, first};

pub(super) fn allowed() -> Result<Vec<usize>, AffinityError> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|error| AffinityError::system("sched_getaffinity", error.into()))?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

pub(super) fn confine(cpus: &[usize]) -> Result<(), AffinityError> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu)
            .map_err(|_too_large| AffinityError::not_allowed(cpu))?;
    }
    match sched_setaffinity(Pid::from_raw(0), &set) {
        Ok(()) => Ok(()),
        Err(Errno::EINVAL) => Err(AffinityError::not_allowed(first(cpus))),
        Err(error) => Err(AffinityError::system("sched_setaffinity", error.into())),
    }
}
