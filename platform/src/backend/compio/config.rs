//! The sizes of one driver.

use std::io;

use crate::clock::Nanos;
use crate::error::DriverError;

/// The sizes of one [`CompioDriver`](super::CompioDriver).
#[derive(Clone, Copy, Debug)]
pub struct CompioConfig {
    /// Buffers the receive pool begins with.
    ///
    /// 16, with [`recv_buffer_size`](Self::recv_buffer_size) 1 MiB, as with
    /// io_uring. A buffer is filled bit by bit for all sockets, so few suffice.
    pub recv_buffers: u16,
    /// Buffers the receive pool may have; it doubles when it runs dry. Less
    /// than [`recv_buffers`](Self::recv_buffers): it keeps its size. 64, as
    /// with io_uring.
    pub recv_buffers_max: u16,
    /// Nanoseconds after which a pool halves that has used at most a quarter
    /// of its buffers at once. 10 seconds.
    pub recv_shrink_after: Nanos,
    /// Bytes of one receive buffer: the most one receive takes. 64 KiB.
    pub recv_buffer_size: usize,
    /// Attached sockets, listeners and sources at most. 1,048,576: the table
    /// grows with use, descriptors run out first.
    pub max_sockets: u32,
    /// Leases one socket may hold when a turn begins before its receive stream
    /// is paused. 16: a quarter of what the pool may have. Leases dropped within
    /// their turn never count.
    pub max_leases_per_socket: u32,
}

impl Default for CompioConfig {
    fn default() -> Self {
        Self {
            recv_buffers: 16,
            recv_buffers_max: 64,
            recv_shrink_after: 10_000_000_000,
            recv_buffer_size: 64 << 10,
            max_sockets: 1 << 20,
            max_leases_per_socket: 16,
        }
    }
}

impl CompioConfig {
    /// Refuses sizes that can not work.
    pub(super) fn check(&self) -> Result<(), DriverError> {
        let fault = if self.recv_buffers == 0 {
            "recv_buffers must be at least 1"
        } else if self.recv_buffer_size == 0 || self.recv_buffer_size > 1 << 30 {
            "recv_buffer_size must be 1 byte to 1 GiB"
        } else if self.max_sockets == 0 {
            "max_sockets must be at least 1"
        } else if self.max_leases_per_socket == 0 {
            "max_leases_per_socket must be at least 1"
        } else {
            return Ok(());
        };
        let source = io::Error::new(io::ErrorKind::InvalidInput, fault);
        Err(DriverError::system("the driver's configuration", source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_refused() {
        let good = CompioConfig::default();
        assert!(good.check().is_ok());
        let bad = [
            CompioConfig {
                recv_buffers: 0,
                ..good
            },
            CompioConfig {
                recv_buffer_size: 0,
                ..good
            },
            CompioConfig {
                max_sockets: 0,
                ..good
            },
            CompioConfig {
                max_leases_per_socket: 0,
                ..good
            },
        ];
        assert!(bad.iter().all(|config| config.check().is_err()));
    }
}
