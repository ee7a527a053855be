//! The allocator itself: each offence in a process of its own.

#[cfg(target_os = "linux")]
mod kernel;

use super::check;
use crate::os::{Violence, violence};
use crate::process::child;

const LEN: usize = 10_000;

/// How a process which runs `offence` ended, and its last words.
type Fate = Option<(Option<Violence>, String)>;

fn fate(path: &str, offence: fn()) -> Fate {
    match child(path) {
        None => {
            offence();
            None
        }
        Some(output) => Some((
            violence(output.status),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

fn caught(fate: Fate) {
    if let Some((violence, text)) = fate {
        assert_eq!(violence, Some(Violence::Abort), "{text}");
        assert!(text.contains("after it was freed"), "{text}");
    }
}

fn killed(fate: Fate) {
    if let Some((violence, text)) = fate {
        assert_eq!(violence, Some(Violence::Access), "{text}");
    }
}

fn freed() -> *mut u8 {
    let mut bytes = vec![1u8; LEN];
    bytes.as_mut_ptr()
}

#[test]
fn a_write_after_free_is_caught() {
    caught(fate(
        concat!(module_path!(), "::a_write_after_free_is_caught"),
        || {
            let at = freed();
            check_nothing_yet();
            // SAFETY: none, and the allocator keeps it mapped: the offence.
            unsafe { at.wrapping_add(LEN / 2).write_volatile(0) };
            check();
        },
    ));
}

#[test]
fn an_overrun_kills() {
    killed(fate(concat!(module_path!(), "::an_overrun_kills"), || {
        let mut bytes = vec![1u8; LEN];
        let end = bytes.as_mut_ptr_range().end;
        // SAFETY: none: one past the end, the offence.
        unsafe { end.write_volatile(0) };
    }));
}

#[test]
fn a_read_after_the_check_kills() {
    killed(fate(
        concat!(module_path!(), "::a_read_after_the_check_kills"),
        || {
            let at = freed();
            check();
            // SAFETY: none: freed long ago, the offence.
            unsafe { at.read_volatile() };
        },
    ));
}

/// What was freed before the offence is as it was left: so the offence is
/// what the later check finds. Not `check`, which would seal it.
fn check_nothing_yet() {
    let quarantine = super::QUARANTINE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for body in quarantine.ring.iter().flatten() {
        body.verify();
    }
}
