//! The sizes of one driver.

use std::io;

use crate::clock::Nanos;
use crate::error::DriverError;

/// The sizes of one [`SimDriver`](super::SimDriver). Small by default, so that
/// every bound is met often.
#[derive(Clone, Copy, Debug)]
pub struct SimConfig {
    /// Buffers in the receive pool. 16.
    pub recv_buffers: u16,
    /// Buffers the pool may grow to; less than
    /// [`recv_buffers`](Self::recv_buffers): it keeps its size.
    pub recv_buffers_max: u16,
    /// Nanoseconds after which a pool that is too large shrinks.
    pub recv_shrink_after: Nanos,
    /// Bytes of one receive buffer. 4096.
    pub recv_buffer_size: usize,
    /// Attached sockets, listeners and sources at most. 65,536.
    pub max_sockets: u32,
    /// Leases one socket may hold when a turn begins before its receive stream
    /// is paused. 4: a quarter of the default pool.
    pub max_leases_per_socket: u32,
    /// Completions one kernel entry yields at most. 1024.
    pub completions: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            recv_buffers: 16,
            recv_buffers_max: 0,
            recv_shrink_after: 10_000_000_000,
            recv_buffer_size: 4096,
            max_sockets: 1 << 16,
            max_leases_per_socket: 4,
            completions: 1024,
        }
    }
}

impl SimConfig {
    /// Refuses sizes that can not work.
    pub(super) fn check(&self) -> Result<(), DriverError> {
        let fault = if self.recv_buffers == 0 || self.recv_buffer_size == 0 {
            "there must be receive buffers, of at least one byte"
        } else if self.max_sockets == 0 {
            "max_sockets must be at least 1"
        } else if self.max_leases_per_socket == 0 {
            "max_leases_per_socket must be at least 1"
        } else if self.completions == 0 {
            "completions must be at least 1"
        } else {
            return Ok(());
        };
        let source = io::Error::new(io::ErrorKind::InvalidInput, fault);
        Err(DriverError::system(
            "the simulation's configuration",
            source,
        ))
    }
}
