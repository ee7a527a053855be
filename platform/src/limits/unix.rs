//! `getrlimit`.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Limit, LimitError, Limits};

/// How to get more descriptors.
pub(super) const ADVICE: &str = "raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd, \
                                 --ulimit nofile of docker)";

pub(super) fn read() -> Limits {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    Limits {
        nofile: limit(Resource::RLIMIT_NOFILE).ok(),
        memlock: limit(Resource::RLIMIT_MEMLOCK).ok(),
        somaxconn: somaxconn.and_then(|text| text.trim().parse().ok()),
    }
}

pub(super) fn raise_nofile(needed: u64) -> Result<u64, LimitError> {
    let Limit { soft, hard } =
        limit(Resource::RLIMIT_NOFILE).map_err(|source| LimitError::System {
            call: "getrlimit",
            source,
        })?;
    if soft >= needed {
        return Ok(soft);
    }
    if hard > soft {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| LimitError::System {
            call: "setrlimit",
            source: error.into(),
        })?;
    }
    if hard < needed {
        Err(LimitError::TooLow { needed, now: hard })
    } else {
        Ok(hard)
    }
}

pub(super) fn is_out_of_descriptors(code: i32) -> bool {
    matches!(Errno::from_raw(code), Errno::EMFILE | Errno::ENFILE)
}

fn limit(resource: Resource) -> io::Result<Limit> {
    let (soft, hard) = getrlimit(resource)?;
    Ok(Limit { soft, hard })
}
