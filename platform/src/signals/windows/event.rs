//! Events of the system: set by anyone, taken by one wait.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, FALSE, GetLastError, HANDLE, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, EVENT_MODIFY_STATE, INFINITE, OpenEventW, SetEvent, WaitForMultipleObjects,
};

#[derive(Debug)]
pub(super) struct Event(OwnedHandle);

impl Event {
    pub(super) fn new() -> io::Result<Self> {
        Self::create(ptr::null()).map(|(event, _)| event)
    }

    /// `AlreadyExists` when there is one of the name.
    pub(super) fn named(name: &str) -> io::Result<Self> {
        let wide = wide(name);
        match Self::create(wide.as_ptr())? {
            (event, false) => Ok(event),
            (_, true) => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("the event {name} exists: requests are held already"),
            )),
        }
    }

    /// Whether it existed comes with it.
    fn create(name: *const u16) -> io::Result<(Self, bool)> {
        // SAFETY: the name is null or ends with a zero and outlives the call.
        let handle = unsafe { CreateEventW(ptr::null(), FALSE, FALSE, name) };
        // SAFETY: the call takes and returns numbers.
        let existed = unsafe { GetLastError() } == ERROR_ALREADY_EXISTS;
        Self::own(handle).map(|event| (event, existed))
    }

    /// One that another process made.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let name = wide(name);
        // SAFETY: the name ends with a zero and outlives the call.
        Self::own(unsafe { OpenEventW(EVENT_MODIFY_STATE, FALSE, name.as_ptr()) })
    }

    fn own(handle: HANDLE) -> io::Result<Self> {
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is open, and nobody else has it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    pub(super) fn set(&self) {
        // It fails only for a handle that is not open or may not be set.
        // SAFETY: the handle is open.
        let _set = unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Waits for one of them and takes it; the first of those that are set.
    pub(super) fn wait<const N: usize>(events: [&Self; N]) -> io::Result<usize> {
        let handles = events.map(|event| event.0.as_raw_handle());
        let count = u32::try_from(N).map_err(io::Error::other)?;
        // SAFETY: the handles are open while `events` are borrowed.
        let which = unsafe { WaitForMultipleObjects(count, handles.as_ptr(), FALSE, INFINITE) };
        match which.checked_sub(WAIT_OBJECT_0) {
            Some(index) if index < count => Ok(index as usize),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn wide(name: &str) -> Vec<u16> {
    name.encode_utf16().chain([0]).collect()
}
