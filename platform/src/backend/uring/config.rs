//! The sizes of one driver.

use std::io;

use super::buffers::PoolSize;
use crate::clock::Nanos;
use crate::error::DriverError;

/// How the receive buffers are shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecvMode {
    /// Incremental where the kernel does it right (tried at start), else plain.
    #[default]
    Auto,
    /// One completion takes one buffer, however few bytes arrived.
    Plain,
    /// The kernel fills one buffer bit by bit for all sockets
    /// (`IOU_PBUF_RING_INC`, Linux 6.12). Opening fails where it is missing.
    Incremental,
}

/// The sizes of one [`UringDriver`](super::UringDriver).
#[derive(Clone, Copy, Debug)]
pub struct UringConfig {
    /// Entries of the submission queue; the kernel rounds up to a power of two.
    ///
    /// 1024: a turn handles at most 1024 events and most cause one request, so
    /// a turn is one kernel entry. A fuller turn submits in between; nothing
    /// is lost.
    pub entries: u32,
    /// Entries of the completion queue.
    ///
    /// 8192, eight times the submission queue: multishot operations complete
    /// many times per request. 128 KiB; where the kernel has no memory for it
    /// half is tried, and so on down to twice the submission queue.
    pub completions: u32,
    /// Buffers the receive pool begins with.
    ///
    /// 16, with [`recv_buffer_size`](Self::recv_buffer_size) 1 MiB: the ring of
    /// buffers is first in, first out, so all of it passes through the cache,
    /// and a pool larger than it needs to be makes large messages slower.
    pub recv_buffers: u16,
    /// Buffers the receive pool may have; it doubles when it runs dry. Less
    /// than [`recv_buffers`](Self::recv_buffers): it keeps its size.
    ///
    /// 64, 4 MiB; beyond it is backpressure. It also bounds what one turn may
    /// receive, and with it what paused connections make a shard hold.
    pub recv_buffers_max: u16,
    /// Nanoseconds after which a pool halves that has used at most a quarter
    /// of its buffers at once. 10 seconds.
    pub recv_shrink_after: Nanos,
    /// Bytes of one receive buffer.
    ///
    /// 64 KiB: a message that straddles two buffers costs a copy and a second
    /// completion. When [`RecvMode::Auto`] has to fall back to plain buffers,
    /// the same memory is cut into four times as many.
    pub recv_buffer_size: usize,
    /// Attached sockets, listeners and sources at most. 1,048,576: the table
    /// grows with use (32 bytes each), descriptors run out first.
    pub max_sockets: u32,
    /// Leases one socket may hold when a turn begins before its receive stream
    /// is paused. 16: a quarter of the default pool. What the kernel delivers
    /// in the entry before the driver sees it comes on top: up to 32 times per
    /// wake-up of a multishot receive, and there can be two. Leases dropped
    /// within their turn never count.
    pub max_leases_per_socket: u32,
    /// Sends of at least this many bytes avoid the copy to the kernel
    /// (`SEND_ZC` 6.0, `SENDMSG_ZC` 6.1).
    ///
    /// `None`: on loopback the kernel copies all the same and the second
    /// completion makes it slower; it pays with real network cards from some
    /// 10 to 30 KiB. The first report that a send was copied switches it off.
    pub zero_copy_threshold: Option<usize>,
    /// How the receive buffers are shared out.
    pub recv_mode: RecvMode,
}

impl Default for UringConfig {
    fn default() -> Self {
        Self {
            entries: 1024,
            completions: 8192,
            recv_buffers: 16,
            recv_buffers_max: 64,
            recv_shrink_after: 10_000_000_000,
            recv_buffer_size: 64 << 10,
            max_sockets: 1 << 20,
            max_leases_per_socket: 16,
            zero_copy_threshold: None,
            recv_mode: RecvMode::Auto,
        }
    }
}

/// The kernel's bound on entries of a buffer ring.
const MAX_BUFFERS: u16 = 1 << 15;

impl UringConfig {
    /// Refuses sizes that can not work.
    pub(super) fn check(&self) -> Result<(), DriverError> {
        let fault = if self.entries < 2 {
            "entries must be at least 2: a connect takes two"
        } else if self.recv_buffers == 0 || self.recv_buffers > MAX_BUFFERS {
            "recv_buffers must be 1 to 32768"
        } else if self.recv_buffers_max > MAX_BUFFERS {
            "recv_buffers_max must be at most 32768"
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
        Err(DriverError::system("the io_uring configuration", source))
    }

    /// The pool as configured.
    pub(super) fn pool(&self) -> PoolSize {
        PoolSize {
            count: self.recv_buffers,
            most: self.recv_buffers_max.max(self.recv_buffers),
            size: self.recv_buffer_size,
            quiet: self.recv_shrink_after,
        }
    }

    /// The pool of the plain mode that stands in for the incremental one: the
    /// same memory in four times as many pieces of at least a page.
    pub(super) fn plain_fallback(&self) -> PoolSize {
        let pool = self.pool();
        let pieces = |count: u16| count.saturating_mul(4).min(MAX_BUFFERS);
        let bytes = usize::from(pool.count) * pool.size;
        let size = bytes / usize::from(pieces(pool.count));
        PoolSize {
            count: pieces(pool.count),
            most: pieces(pool.most),
            size: size.max(pool.size.min(4096)),
            ..pool
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_keeps_the_memory_and_has_more_buffers() {
        let config = UringConfig::default();
        let pool = config.plain_fallback();
        assert_eq!((pool.count, pool.most, pool.size), (64, 256, 16 << 10));
        let tiny = UringConfig {
            recv_buffers: 2,
            recv_buffer_size: 1024,
            ..config
        };
        let pool = tiny.plain_fallback();
        assert_eq!((pool.count, pool.size), (8, 1024));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let good = UringConfig::default();
        assert!(good.check().is_ok());
        assert!(UringConfig { entries: 1, ..good }.check().is_err());
        assert!(
            UringConfig {
                recv_buffers: 0,
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            UringConfig {
                recv_buffer_size: 0,
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            UringConfig {
                max_sockets: 0,
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            UringConfig {
                max_leases_per_socket: 0,
                ..good
            }
            .check()
            .is_err()
        );
    }
}
