//! Systems on which another process can not be looked at yet.

use hioload_platform::Nanos;

use super::Reading;

/// Never exists here.
#[derive(Debug)]
pub(super) enum Process {}

impl Process {
    pub(super) fn find(_pid: u32) -> Result<Self, String> {
        Err("the CPU time and memory of another process are measured on Linux only".into())
    }

    pub(super) fn name(&self) -> &str {
        match *self {}
    }

    pub(super) fn read(&self, _now: Nanos) -> Result<Reading, String> {
        match *self {}
    }

    pub(super) fn resident(&self) -> Option<u64> {
        match *self {}
    }
}
