//! The compio backend: epoll on Linux, completion ports on Windows.

use hioload_platform::DriverError;
use hioload_platform::backend::compio::{CompioConfig, CompioDriver};

use crate::os::Os;
use crate::rig::{Fixture, Sizes};

enum Compio {}

impl Fixture for Compio {
    type Net = Os;
    type Driver = CompioDriver;

    /// Operations are served as they end.
    const COMPLETION_QUEUE: bool = false;

    fn open(_net: &Os, sizes: &Sizes) -> Result<CompioDriver, DriverError> {
        CompioDriver::open(CompioConfig {
            recv_buffers: sizes.buffers,
            recv_buffers_max: sizes.buffers_max,
            recv_shrink_after: sizes.shrink_after,
            recv_buffer_size: sizes.buffer_size,
            max_sockets: sizes.sockets,
            max_leases_per_socket: sizes.leases_per_socket,
        })
    }
}

#[cfg(unix)]
suite!(epoll, Compio, descriptors);
#[cfg(windows)]
suite!(iocp, Compio, descriptors);
