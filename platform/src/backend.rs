//! The workspace's only backend selection.
//!
//! Linux has two backends and chooses when a program starts: io_uring where the
//! kernel lets this process have it, else epoll. Windows has one. Code is
//! compiled for each and runs on one: see [`Selection::run`].

mod batch;
pub mod compio;
pub mod sim;
mod slots;
#[cfg(target_os = "linux")]
pub mod uring;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::driver::Driver;
use crate::error::DriverError;
use crate::probe::{self, Cause, CauseKind};
use crate::socket::{Listener, Socket};

#[cfg(not(any(target_os = "linux", windows)))]
compile_error!("hioload runs on Linux and Windows; no backend exists for this system yet");

/// A driver of this system's own sockets.
pub trait Native: Driver<Socket = Socket, Listener = Listener> {
    /// Which one.
    const BACKEND: Backend;

    /// Opens a driver on the calling thread, which owns it from then on.
    ///
    /// # Errors
    /// [`DriverError::Unavailable`] says what forbids it and what to do about
    /// it; [`DriverError::System`] a lack of descriptors.
    fn open(sizes: Sizes) -> Result<Self, DriverError>;
}

/// The sizes of a driver that do not depend on which one it is. The rest are
/// the defaults of [`compio::CompioConfig`] and `uring::UringConfig`.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Attached sockets, listeners and sources at most. 1,048,576.
    pub max_sockets: u32,
    /// Buffers of 64 KiB the receive pool begins with. 16.
    pub recv_buffers: u16,
    /// Those it may have. 64.
    pub recv_buffers_max: u16,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            max_sockets: 1 << 20,
            recv_buffers: 16,
            recv_buffers_max: 64,
        }
    }
}

#[cfg(target_os = "linux")]
impl Native for uring::UringDriver {
    const BACKEND: Backend = Backend::Uring;

    fn open(sizes: Sizes) -> Result<Self, DriverError> {
        Self::open(uring::UringConfig {
            max_sockets: sizes.max_sockets,
            recv_buffers: sizes.recv_buffers,
            recv_buffers_max: sizes.recv_buffers_max,
            ..uring::UringConfig::default()
        })
    }
}

impl Native for compio::CompioDriver {
    const BACKEND: Backend = Backend::Compio;

    fn open(sizes: Sizes) -> Result<Self, DriverError> {
        Self::open(compio::CompioConfig {
            max_sockets: sizes.max_sockets,
            recv_buffers: sizes.recv_buffers,
            recv_buffers_max: sizes.recv_buffers_max,
            ..compio::CompioConfig::default()
        })
    }
}

/// A backend of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// epoll on Linux, I/O completion ports on Windows.
    Compio,
}

impl Backend {
    /// What it stands on: `io_uring`, `epoll` or `IOCP`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Compio => compio::NAME,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which backend is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring where this process may use it, else [`Choice::Compio`].
    #[default]
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll on Linux, I/O completion ports on Windows.
    Compio,
}

/// Not the name of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no backend; there are auto, uring and compio")]
pub struct UnknownBackend(String);

impl FromStr for Choice {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        match name {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "compio" => Ok(Self::Compio),
            other => Err(UnknownBackend(other.to_owned())),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Compio => "compio",
        })
    }
}

/// The backend a program uses, and why it is not io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The backend.
    pub backend: Backend,
    /// What forbids io_uring, when that was wanted and is missed.
    pub fallback: Option<Cause>,
}

/// What is to run on the selected backend.
pub trait Run {
    /// What it results in.
    type Output;

    /// Runs on drivers of the type `D`.
    fn run<D: Native>(self) -> Self::Output;
}

impl Selection {
    /// Finds the backend for `choice`; tries io_uring unless that is not
    /// wanted.
    ///
    /// # Errors
    /// [`DriverError::Unavailable`] when io_uring is insisted on and forbidden.
    pub fn of(choice: Choice) -> Result<Self, DriverError> {
        match choice {
            Choice::Auto => Ok(Self::from(try_uring())),
            Choice::Compio => Ok(Self {
                backend: Backend::Compio,
                fallback: None,
            }),
            Choice::Uring => match try_uring() {
                Ok(()) => Ok(Self {
                    backend: Backend::Uring,
                    fallback: None,
                }),
                Err(cause) => Err(DriverError::Unavailable {
                    backend: Backend::Uring.name(),
                    cause: cause.line,
                }),
            },
        }
    }

    /// Runs `what` on the selected backend.
    pub fn run<R: Run>(&self, what: R) -> R::Output {
        match self.backend {
            #[cfg(target_os = "linux")]
            Backend::Uring => what.run::<uring::UringDriver>(),
            // Elsewhere nothing selects io_uring.
            _ => what.run::<compio::CompioDriver>(),
        }
    }

    /// One line that names the backend, and what forbids a better one.
    pub fn log(&self) {
        let backend = self.backend;
        match &self.fallback {
            Some(cause) => tracing::warn!(
                %backend,
                cause = cause.kind.name(),
                "falling back to {backend}, which takes more system calls: {cause}"
            ),
            None => tracing::info!(%backend, "the backend is {backend}"),
        }
    }
}

/// Sets up a ring and drops it, on a thread of its own: the end of a ring
/// interrupts the next blocking call of the thread that had it (`EINTR`).
fn try_uring() -> Result<(), Cause> {
    let tried = std::thread::Builder::new()
        .name("probe".into())
        .spawn(probe::uring);
    match tried.map(std::thread::JoinHandle::join) {
        Ok(Ok(features)) => features.map(drop),
        // No thread can be had: then no shard either, which will say so.
        Ok(Err(_)) | Err(_) => probe::uring().map(drop),
    }
}

/// io_uring if it can be used, else the other one.
impl From<Result<(), Cause>> for Selection {
    fn from(uring: Result<(), Cause>) -> Self {
        match uring {
            Ok(()) => Self {
                backend: Backend::Uring,
                fallback: None,
            },
            Err(cause) => Self {
                backend: Backend::Compio,
                // Completion ports are no second choice.
                fallback: (cause.kind != CauseKind::NotLinux).then_some(cause),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for choice in [Choice::Auto, Choice::Uring, Choice::Compio] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "epoll".parse::<Choice>().expect_err("a backend's name");
        assert!(error.to_string().contains("compio"), "{error}");
    }

    #[test]
    fn a_missed_io_uring_is_said_and_completion_ports_are_not_a_fallback() {
        let forbidden = |kind| Cause {
            kind,
            line: "no".into(),
        };
        let missed = Selection::from(Err(forbidden(CauseKind::Seccomp)));
        assert_eq!(missed.backend, Backend::Compio);
        assert_eq!(missed.fallback, Some(forbidden(CauseKind::Seccomp)));
        let windows = Selection::from(Err(forbidden(CauseKind::NotLinux)));
        assert_eq!(windows.fallback, None);
        assert_eq!(Selection::from(Ok(())).backend, Backend::Uring);
    }

    #[test]
    fn the_selected_backend_opens_a_driver() {
        struct Open;
        impl Run for Open {
            type Output = Backend;
            fn run<D: Native>(self) -> Backend {
                let driver = D::open(Sizes::default()).expect("a driver");
                assert_eq!(driver.stats().attached, 0);
                D::BACKEND
            }
        }
        for choice in [Choice::Auto, Choice::Compio] {
            let selection = Selection::of(choice).expect("neither insists");
            assert_eq!(selection.run(Open), selection.backend);
        }
    }
}
