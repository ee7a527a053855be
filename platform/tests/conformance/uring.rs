//! io_uring: twice, since plain and incremental buffers differ in everything
//! about receiving.

use hioload_platform::DriverError;
use hioload_platform::backend::uring::{RecvMode, UringConfig, UringDriver};

use crate::os::Os;
use crate::rig::{Fixture, Sizes};

fn uring(sizes: &Sizes, recv_mode: RecvMode) -> Result<UringDriver, DriverError> {
    UringDriver::open(UringConfig {
        entries: sizes.requests,
        completions: sizes.completions,
        recv_buffers: sizes.buffers,
        recv_buffers_max: sizes.buffers_max,
        recv_shrink_after: sizes.shrink_after,
        recv_buffer_size: sizes.buffer_size,
        max_sockets: sizes.sockets,
        max_leases_per_socket: sizes.leases_per_socket,
        zero_copy_threshold: sizes.zero_copy,
        recv_mode,
    })
}

enum Plain {}

impl Fixture for Plain {
    type Net = Os;
    type Driver = UringDriver;

    fn open(_net: &Os, sizes: &Sizes) -> Result<UringDriver, DriverError> {
        uring(sizes, RecvMode::Plain)
    }
}

enum Incremental {}

impl Fixture for Incremental {
    type Net = Os;
    type Driver = UringDriver;

    fn open(_net: &Os, sizes: &Sizes) -> Result<UringDriver, DriverError> {
        uring(sizes, RecvMode::Incremental)
    }
}

suite!(plain, Plain, descriptors);
suite!(incremental, Incremental, descriptors);

/// What only io_uring has.
mod only {
    use super::Incremental as Fixed;

    suite!(@file zero_copy:
        a_copied_zero_copy_send_is_the_last,
        a_close_does_not_wait_for_a_peer_to_acknowledge,
    );

    #[test]
    fn a_seccomp_filter_is_named() {
        let path = concat!(module_path!(), "::a_seccomp_filter_is_named");
        crate::process::alone(path, crate::probe::a_seccomp_filter_is_named);
    }
}
