//! Futures of libraries that need a tokio runtime.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use super::waker::current;

/// Threads of the runtime that is made when none was given: enough for clients
/// of databases and HTTP, which wait more than they compute.
const THREADS: usize = 2;

static OWN: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
static GIVEN: OnceLock<Handle> = OnceLock::new();

/// A future on tokio came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokioError {
    /// It panicked, or its runtime was shut down.
    #[error("the future on tokio panicked, or its runtime ended")]
    Lost,
    /// No runtime could be started.
    #[error("no tokio runtime can be started: {0}")]
    NoRuntime(String),
}

/// Has [`on_tokio`] use this runtime instead of one of its own, of two threads,
/// that the first call starts. `false` when one was given before.
pub fn use_tokio(runtime: Handle) -> bool {
    GIVEN.set(runtime).is_ok()
}

/// Runs a future on a tokio runtime and awaits its output here: for clients of
/// databases, HTTP and whatever else needs tokio. It begins at once. Dropping
/// what this returns aborts it.
///
/// In a simulation it runs to its end within this call, on a runtime of one
/// thread whose clock is paused and goes on by itself: timers take no time.
///
/// The output is a [`TokioError`] when the future panicked or no runtime can be
/// had.
pub fn on_tokio<F>(future: F) -> OnTokio<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if current().is_some_and(|local| local.is_simulated()) {
        return OnTokio(Running::Ended(Some(within(future))));
    }
    OnTokio(match runtime() {
        Ok(runtime) => Running::Spawned(runtime.spawn(future)),
        Err(error) => Running::Ended(Some(Err(error))),
    })
}

fn runtime() -> Result<Handle, TokioError> {
    if let Some(given) = GIVEN.get() {
        return Ok(given.clone());
    }
    let own = OWN.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tokio")
            .enable_all()
            .build()
    });
    let handle = own.as_ref().map(|runtime| runtime.handle().clone());
    handle.map_err(no_runtime)
}

fn no_runtime(error: impl fmt::Display) -> TokioError {
    TokioError::NoRuntime(error.to_string())
}

/// Runs a future to its end, here.
fn within<F>(future: F) -> Result<F::Output, TokioError>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build();
    let runtime = runtime.map_err(no_runtime)?;
    let spawned = runtime.spawn(future);
    runtime.block_on(spawned).map_err(|_lost| TokioError::Lost)
}

/// The future of [`on_tokio`].
#[must_use = "dropping it aborts the future"]
pub struct OnTokio<T>(Running<T>);

enum Running<T> {
    Spawned(JoinHandle<T>),
    Ended(Option<Result<T, TokioError>>),
}

impl<T> Unpin for OnTokio<T> {}

impl<T> Future for OnTokio<T> {
    type Output = Result<T, TokioError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Running::Spawned(handle) => {
                let polled = Pin::new(handle).poll(cx);
                polled.map(|output| output.map_err(|_lost| TokioError::Lost))
            }
            Running::Ended(output) => match output.take() {
                Some(output) => Poll::Ready(output),
                None => Poll::Pending,
            },
        }
    }
}

impl<T> Drop for OnTokio<T> {
    fn drop(&mut self) {
        if let Running::Spawned(handle) = &self.0 {
            handle.abort();
        }
    }
}

impl<T> fmt::Debug for OnTokio<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnTokio").finish_non_exhaustive()
    }
}
