//! What this kernel's io_uring offers. Whatever can be tried is tried; version
//! numbers only explain.

use std::io::{self, Write};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use io_uring::{Probe, opcode};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::utsname::uname;

use super::buffers::{BufferRing, PoolSize};
use super::complete::Completion;
use super::config::UringConfig;
use super::recv;
use super::ring::{Block, CHUNK, Ring};
use super::tag::{Kind, Tag};
use crate::clock::Nanos;
use crate::error::DriverError;
use crate::probe::{Cause, CauseKind, Feature};

/// What drivers decide by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// Messages to other rings.
    pub(super) msg_ring: bool,
    /// Zero-copy sends.
    pub(super) send_zc: bool,
    /// Incremental buffers, and they count right.
    pub(super) incremental: bool,
}

/// The features, tried and logged once per process.
pub(super) fn features() -> Result<Features, DriverError> {
    static FEATURES: OnceLock<Features> = OnceLock::new();
    if let Some(features) = FEATURES.get() {
        return Ok(*features);
    }
    let survey = Survey::take().map_err(|error| refusal(&error))?;
    Ok(*FEATURES.get_or_init(|| {
        survey.log();
        survey.features
    }))
}

/// The features for a report, or what forbids io_uring.
pub(crate) fn survey() -> Result<Vec<Feature>, Cause> {
    match Survey::take() {
        Ok(survey) => Ok(survey.list()),
        Err(error) => Err(cause(&error)),
    }
}

/// The error of a driver that could not be opened.
pub(super) fn refusal(error: &io::Error) -> DriverError {
    DriverError::Unavailable {
        backend: super::NAME,
        cause: cause(error).line,
    }
}

/// The kernel's release.
pub(crate) fn release() -> String {
    uname().map_or_else(
        |_| "unknown".into(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

struct Survey {
    features: Features,
    why_not_incremental: String,
    bundles: bool,
    min_wait: bool,
    no_iowait: bool,
    recv_zc: bool,
}

impl Survey {
    /// Tries everything on a small ring set up like a driver's.
    fn take() -> io::Result<Self> {
        let config = UringConfig {
            entries: 8,
            completions: 64,
            ..UringConfig::default()
        };
        let ring = Ring::open(&config)?;
        let mut probe = Probe::new();
        ring.io().submitter().register_probe(&mut probe)?;
        let params = ring.io().params().clone();
        let incremental = try_incremental(ring);
        Ok(Self {
            features: Features {
                msg_ring: probe.is_supported(opcode::MsgRingData::CODE),
                send_zc: probe.is_supported(opcode::SendMsgZc::CODE),
                incremental: incremental.is_ok(),
            },
            why_not_incremental: incremental.err().unwrap_or_default(),
            bundles: params.is_feature_recvsend_bundle(),
            min_wait: params.is_feature_min_timeout(),
            no_iowait: params.is_feature_no_iowait(),
            recv_zc: probe.is_supported(opcode::RecvZc::CODE),
        })
    }

    fn log(&self) {
        let names = |used: bool| {
            let list = self.list();
            let names = list
                .iter()
                .filter(|feature| feature.used == used)
                .map(|f| f.name);
            names.collect::<Vec<_>>().join(", ")
        };
        tracing::info!(
            kernel = release(),
            used = names(true),
            unused = names(false),
            "io_uring is available"
        );
    }

    fn list(&self) -> Vec<Feature> {
        // A ring with these flags was just set up, and everything that came
        // before the youngest of them is there too.
        const SURE: [(&str, &str, &str); 5] = [
            (
                "provided buffer rings",
                "5.19",
                "all sockets receive into one pool",
            ),
            ("multishot accept", "5.19", "one request per listener"),
            ("multishot receive", "6.0", "one request per socket"),
            ("single issuer", "6.0", "the ring belongs to one thread"),
            (
                "deferred task work",
                "6.1",
                "completions arrive when asked for",
            ),
        ];
        let sure = SURE.map(|(name, since, why)| feature(name, since, (true, true), why));
        sure.into_iter().chain(self.unsure()).collect()
    }

    /// What may be missing, and what is left alone.
    fn unsure(&self) -> [Feature; 7] {
        let Features {
            msg_ring,
            send_zc,
            incremental,
        } = self.features;
        let plain = format!(
            "{}; every receive takes one buffer",
            self.why_not_incremental
        );
        let shared = if incremental {
            "many small receives share one buffer"
        } else {
            &plain
        };
        let both = |there| (there, there);
        [
            feature(
                "ring messages",
                "5.18",
                both(msg_ring),
                "drivers wake each other",
            ),
            feature(
                "no iowait",
                "6.15",
                both(self.no_iowait),
                "a waiting driver counts as idle",
            ),
            feature("incremental buffers", "6.12", both(incremental), shared),
            feature(
                "zero-copy send",
                "6.1",
                (send_zc, false),
                "off unless a threshold is configured: loopback copies all the same",
            ),
            feature(
                "send and receive bundles",
                "6.10",
                (self.bundles, false),
                "reordered data from 6.13.11 to at least 6.14.11",
            ),
            feature(
                "minimum wait",
                "6.12",
                (self.min_wait, false),
                "trades latency for larger batches",
            ),
            feature(
                "zero-copy receive",
                "6.15",
                (self.recv_zc, false),
                "needs queues of a network card to itself",
            ),
        ]
    }
}

fn feature(
    name: &'static str,
    since: &'static str,
    (available, used): (bool, bool),
    why: &str,
) -> Feature {
    Feature {
        name,
        since,
        available,
        used,
        why: why.into(),
    }
}

/// Bytes of a buffer of the trial: small, so that messages straddle.
const TRIAL: usize = 64;

/// Receives through incremental buffers the way a driver does, with messages
/// that share and straddle buffers and an end of file in the middle of one, and
/// compares every byte: that is what [`BufferRing::take`] relies on.
fn try_incremental(mut ring: Ring) -> Result<(), String> {
    let pool = PoolSize {
        count: 4,
        most: 4,
        size: TRIAL,
        quiet: Nanos::MAX,
    };
    let buffers = BufferRing::register(ring.io(), pool, true, 0)
        .map_err(|error| format!("the kernel does not have them ({error})"))?;
    // After a failure the kernel may still write to them: they are leaked then.
    let mut buffers = ManuallyDrop::new(buffers);
    let failed = |error: io::Error| format!("the trial failed ({error})");
    let sent: Vec<u8> = (0..150).collect();
    let mut received = Vec::new();
    for part in [&sent[..70], &sent[70..]] {
        let (mut near, far) = UnixStream::pair().map_err(failed)?;
        let tag = Tag::global(Kind::Recv).bits();
        let request = recv::request(far.as_raw_fd()).user_data(tag);
        // SAFETY: the request points to no memory; the buffers are dropped only
        // when nothing is in flight.
        unsafe { ring.push(request) };
        for message in part.chunks(25) {
            near.write_all(message).map_err(failed)?;
            collect(&mut ring, &mut buffers, &mut received)?;
        }
        drop(near);
        while ring.in_flight > 0 {
            collect(&mut ring, &mut buffers, &mut received)?;
        }
    }
    buffers.unregister(ring.io()).map_err(failed)?;
    // SAFETY: dropped once, here; no receive is in flight and the kernel has
    // let go of the ring.
    unsafe { ManuallyDrop::drop(&mut buffers) };
    if received == sent {
        Ok(())
    } else {
        Err("the kernel counts them wrongly".into())
    }
}

/// Reads what completed; waits up to a second for the first completion.
fn collect(
    ring: &mut Ring,
    buffers: &mut BufferRing,
    received: &mut Vec<u8>,
) -> Result<(), String> {
    ring.enter(Block::For(1_000_000_000))
        .map_err(|error| error.to_string())?;
    let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
    let taken = ring.take(&mut chunk, CHUNK).to_vec();
    if taken.is_empty() {
        return Err("the kernel did not complete a receive".into());
    }
    for completion in taken.iter().map(Completion::read) {
        if !completion.more() {
            ring.finished();
        }
        let len = usize::try_from(completion.result)
            .map_err(|_| format!("a receive failed (error {})", -completion.result))?;
        if let Some(buffer) = completion.buffer()
            && len > 0
        {
            if usize::from(buffer) >= 4 || !buffers.fits(buffer, len) {
                return Err("the kernel counts them wrongly".into());
            }
            // SAFETY: the completion just read carries this.
            received.extend_from_slice(&unsafe { buffers.take(0, buffer, len) });
        }
    }
    Ok(())
}

/// Says in one line what made the kernel refuse a ring, and what to do.
fn cause(error: &io::Error) -> Cause {
    let surroundings = Surroundings {
        release: release(),
        seccomp: seccomp(&read("/proc/self/status")),
        disabled: read("/proc/sys/kernel/io_uring_disabled")
            .trim()
            .parse()
            .ok(),
        memlock: getrlimit(Resource::RLIMIT_MEMLOCK)
            .ok()
            .map(|(soft, _)| soft),
    };
    Cause {
        kind: surroundings.kind(error),
        line: surroundings.explain(error),
    }
}

/// What may forbid io_uring.
struct Surroundings {
    release: String,
    seccomp: bool,
    /// `kernel.io_uring_disabled`, Linux 6.6.
    disabled: Option<u32>,
    memlock: Option<u64>,
}

impl Surroundings {
    fn kind(&self, error: &io::Error) -> CauseKind {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if matches!(self.disabled, Some(1 | 2)) => {
                CauseKind::Sysctl
            }
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if self.seccomp => CauseKind::Seccomp,
            Some(libc::EPERM | libc::EACCES) => CauseKind::SecurityModule,
            Some(libc::ENOSYS | libc::EINVAL) => CauseKind::Kernel,
            Some(libc::ENOMEM) => CauseKind::Memory,
            Some(libc::EMFILE | libc::ENFILE) => CauseKind::Descriptors,
            _ => CauseKind::Other,
        }
    }

    fn explain(&self, error: &io::Error) -> String {
        let release = &self.release;
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if self.disabled == Some(2) => {
                "io_uring is forbidden by sysctl (kernel.io_uring_disabled = 2): \
                 set it to 0"
                    .into()
            }
            Some(libc::EPERM | libc::EACCES) if self.disabled == Some(1) => {
                "io_uring is forbidden by sysctl (kernel.io_uring_disabled = 1): set it to 0, \
                 or put this process into the group kernel.io_uring_group names"
                    .into()
            }
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if self.seccomp => format!(
                "io_uring is forbidden by seccomp ({error}): allow io_uring_setup, \
                 io_uring_enter and io_uring_register in the profile \
                 (docker: --security-opt seccomp=<profile>)"
            ),
            Some(libc::EPERM | libc::EACCES) => format!(
                "io_uring is forbidden ({error}), and neither by sysctl nor by seccomp: \
                 look at the security module (SELinux, AppArmor)"
            ),
            Some(libc::ENOSYS) => {
                format!("the kernel ({release}) has no io_uring: use 6.1 or later")
            }
            Some(libc::EINVAL) => format!(
                "the kernel ({release}) is too old for this driver: \
                 it needs IORING_SETUP_DEFER_TASKRUN of Linux 6.1"
            ),
            Some(libc::ENOMEM) => {
                let memlock = match self.memlock {
                    Some(u64::MAX) => "unlimited".into(),
                    Some(bytes) => format!("{bytes} bytes"),
                    None => "unknown".into(),
                };
                format!(
                    "the kernel ({release}) has no memory for a ring (memlock limit: {memlock}): \
                     raise the memory limit of the control group, or ulimit -l before Linux 5.12"
                )
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                format!("no descriptor is left for a ring ({error}): raise the limit on open files")
            }
            _ => format!("the kernel ({release}) refused a ring: {error}"),
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Whether a filter is installed, from `/proc/self/status`.
fn seccomp(status: &str) -> bool {
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(code: i32, seccomp: bool, disabled: Option<u32>) -> (CauseKind, String) {
        let surroundings = Surroundings {
            release: "5.15.0".into(),
            seccomp,
            disabled,
            memlock: Some(8192),
        };
        let error = io::Error::from_raw_os_error(code);
        (surroundings.kind(&error), surroundings.explain(&error))
    }

    #[test]
    fn every_cause_is_told_from_the_others() {
        let expected = [
            (libc::EPERM, true, Some(0), "by seccomp", CauseKind::Seccomp),
            (libc::ENOSYS, true, None, "by seccomp", CauseKind::Seccomp),
            (
                libc::EPERM,
                true,
                Some(2),
                "io_uring_disabled = 2",
                CauseKind::Sysctl,
            ),
            (
                libc::EPERM,
                false,
                Some(1),
                "io_uring_group",
                CauseKind::Sysctl,
            ),
            (
                libc::EPERM,
                false,
                Some(0),
                "security module",
                CauseKind::SecurityModule,
            ),
            (
                libc::ENOSYS,
                false,
                None,
                "has no io_uring",
                CauseKind::Kernel,
            ),
            (
                libc::EINVAL,
                false,
                None,
                "DEFER_TASKRUN",
                CauseKind::Kernel,
            ),
            (libc::ENOMEM, false, None, "8192 bytes", CauseKind::Memory),
            (
                libc::EMFILE,
                false,
                None,
                "open files",
                CauseKind::Descriptors,
            ),
            (libc::EIO, false, None, "refused a ring", CauseKind::Other),
        ];
        for (code, seccomp, disabled, words, kind) in expected {
            let (found, cause) = explain(code, seccomp, disabled);
            assert_eq!(found, kind, "{code}: {cause}");
            assert!(cause.contains(words), "{code}: {cause}");
            assert!(!cause.contains('\n'), "one line: {cause}");
        }
    }

    #[test]
    fn the_seccomp_mode_is_read() {
        assert!(seccomp("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!seccomp("Name:\tx\nSeccomp:\t0\n"));
        assert!(!seccomp(""));
    }
}
