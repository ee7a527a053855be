//! The conformance suite: what a backend must do to exist.
//!
//! Every test is generic over a [`Fixture`](rig::Fixture) and provokes one
//! promise of `Driver` on the fixture's network: real sockets on loopback, or
//! simulated ones. A backend is stamped with the suite below, in a file of its
//! own where it needs one.
//!
//! The simulation has no descriptors, so it is not stamped with what the suite
//! lists under `descriptors`:
//!
//! - `an_accepted_socket_keeps_nodelay_and_closes_on_exec`,
//!   `a_non_blocking_listener_is_served` and `a_non_blocking_socket_is_served`
//!   are about flags of descriptors;
//! - `a_full_descriptor_table_pauses_accepting` uses up those of the process.
//!   The simulation's own tests keep that promise with its limit.

mod accept;
mod close;
mod connect;
#[cfg(unix)]
mod descriptors;
mod drop;
#[expect(
    unsafe_code,
    reason = "an allocator, and offences against it on purpose; every block says what it relies on"
)]
mod guard;
mod many;
mod net;
mod os;
mod overflow;
mod pool;
#[cfg(target_os = "linux")]
mod probe;
mod process;
mod recv;
mod rig;
mod send;
mod simulated;
mod time;
mod wake;
mod watch;
#[cfg(target_os = "linux")]
mod zero_copy;

use hioload_platform::backend::sim::{SimConfig, SimDriver, SimNet};
use hioload_platform::{DriverError, Nanos};

use rig::{Fixture, Sizes};

enum Simulated {}

impl Fixture for Simulated {
    type Net = SimNet;
    type Driver = SimDriver;

    /// Virtual time is exact.
    const LATENESS: Nanos = 0;
    const REAL_TIME: bool = false;

    fn open(net: &SimNet, sizes: &Sizes) -> Result<SimDriver, DriverError> {
        let config = SimConfig {
            recv_buffers: sizes.buffers,
            recv_buffers_max: sizes.buffers_max,
            recv_shrink_after: sizes.shrink_after,
            recv_buffer_size: sizes.buffer_size,
            max_sockets: sizes.sockets,
            max_leases_per_socket: sizes.leases_per_socket,
            completions: usize::try_from(sizes.completions).unwrap_or(usize::MAX),
        };
        SimDriver::open(net, config)
    }
}

/// Stamps the suite on a backend, with or without what needs `descriptors`.
macro_rules! suite {
    ($backend:ident, $fixture:ident, $($has:ident)?) => {
        mod $backend {
            use super::$fixture as Fixed;

            suite!(@file accept:
                an_accepted_socket_echoes,
                one_listener_yields_many_sockets,
                an_accepted_socket_is_adopted_by_another_thread,
                a_socket_reset_before_it_was_accepted_does_not_stop_the_listener,
                a_closed_listener_accepts_nothing;
                $($has:
                    an_accepted_socket_keeps_nodelay_and_closes_on_exec,
                    a_non_blocking_listener_is_served,
                )?
            );
            #[cfg(unix)]
            suite!(@more accept:
                what_waits_at_a_listener_that_closes_is_accepted,
            );
            suite!(@file recv:
                nothing_is_received_before_it_is_asked_for,
                a_reset_behind_unread_bytes_is_noticed,
                a_long_stream_arrives_whole_and_in_order,
                many_small_messages_of_many_sockets_keep_their_order,
                the_end_comes_after_the_bytes_and_sending_goes_on,
                a_reset_is_a_failure,
                a_paused_stream_is_silent_and_loses_nothing,
                a_stream_resumed_while_its_pause_is_under_way_runs,
                received_bytes_may_be_changed_in_place;
                $($has: a_non_blocking_socket_is_served,)?
            );
            suite!(@file pool:
                an_empty_pool_stalls_and_returned_leases_resume,
                a_returned_lease_resumes_at_once,
                one_greedy_socket_is_capped,
                buffers_of_closed_sockets_come_back,
                a_lease_outlives_its_socket_and_its_driver,
                a_pool_that_runs_dry_grows_to_its_bound_and_stalls_only_then,
                a_quiet_pool_shrinks_and_armed_receives_go_on,
            );
            suite!(@file send:
                a_second_send_waits_for_the_first,
                a_slow_reader_gets_every_byte_of_a_large_send,
                many_segments_arrive_in_order,
                a_send_to_a_gone_peer_fails,
                the_end_follows_the_last_byte,
                empty_segments_do_no_harm,
            );
            suite!(@file close:
                a_close_awaits_a_receive_and_a_blocked_send,
                a_close_works_at_any_stage,
                a_connecting_socket_can_be_closed,
                a_stale_token_does_nothing_to_the_next_socket,
                slots_stay_dense_and_events_find_their_socket,
                a_full_table_refuses,
                a_slot_is_not_reused_before_its_close_was_told,
            );
            suite!(@file overflow:
                completions_beyond_the_queue_arrive,
                requests_beyond_the_queue_are_kept,
                a_wait_is_bounded_and_a_backlog_does_not_block,
            );
            suite!(@file time:
                a_deadline_is_never_early,
                a_completion_without_an_event_does_not_end_a_wait,
                a_deadline_that_passed_still_serves_what_is_due,
            );
            suite!(@file wake:
                wakes_before_a_turn_cost_one,
                no_wake_of_many_threads_is_lost,
                drivers_wake_each_other,
                a_wake_ends_a_wait_without_deadline,
                a_driver_may_wake_itself,
                a_wake_of_a_gone_driver_does_nothing,
                a_wake_of_a_driver_that_ends_before_its_turn_arrives,
            );
            suite!(@file connect:
                a_connection_is_made_and_used,
                a_refused_connection_says_so,
                a_silent_target_times_out,
                a_connection_comes_from_its_source_address,
                a_source_that_is_not_ours_is_refused,
            );
            suite!(@file watch:
                a_readable_source_is_ready_every_time,
                a_source_readable_before_it_is_watched_is_ready,
                a_source_whose_other_end_is_gone_is_ready_and_does_not_spin,
            );
            suite!(@file many:
                ten_thousand_sockets_open_talk_and_close,
            );
            suite!(@file drop:
                a_driver_can_be_dropped_with_everything_in_flight,
                bytes_that_arrive_as_a_driver_is_dropped_touch_nothing_freed,
                a_driver_can_be_dropped_at_once,
            );
            $(
                #[cfg(unix)]
                suite!(@alone $has: a_full_descriptor_table_pauses_accepting);
            )?
        }
    };
    (@file $file:ident: $($test:ident),+; $(descriptors: $($more:ident),+ $(,)?)?) => {
        suite!(@file $file: $($test,)+ $($($more,)+)?);
    };
    (@file $file:ident: $($test:ident),+ $(,)?) => {
        mod $file {
            $(#[test]
            fn $test() {
                crate::$file::$test::<super::Fixed>();
            })+
        }
    };
    (@more $file:ident: $($test:ident),+ $(,)?) => {
        $(#[test]
        fn $test() {
            crate::$file::$test::<Fixed>();
        })+
    };
    // In a process of its own.
    (@alone $file:ident: $test:ident) => {
        mod $file {
            #[test]
            fn $test() {
                let path = concat!(module_path!(), "::", stringify!($test));
                crate::process::alone(path, crate::$file::$test::<super::Fixed>);
            }
        }
    };
}

suite!(sim, Simulated,);

mod compio;
#[cfg(target_os = "linux")]
mod uring;
