//! The threads on which the server speaks to the application: HTTP and SMTP
//! are left to libraries that need tokio, and never run on a shard.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Enough for thousands of requests in flight, which wait more than they work.
const THREADS: usize = 2;

/// Started only if something in the settings needs it.
#[derive(Debug)]
pub(crate) struct Bridge(Runtime);

impl Bridge {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("bridge")
            .enable_all()
            .build()?;
        Ok(Self(runtime))
    }

    /// What still runs is given up: nobody waits for it.
    pub(crate) fn end(self) {
        self.0.shutdown_background();
    }

    /// Futures are spawned with this from anywhere.
    pub(crate) fn handle(&self) -> Handle {
        self.0.handle().clone()
    }
}

/// Names the cryptography of HTTP's clients, which come without any.
pub(crate) fn provide_crypto() {
    // It fails where it was named before.
    let _there = rustls::crypto::ring::default_provider().install_default();
}
