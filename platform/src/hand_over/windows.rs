//! There is no passing of sockets to a process one does not know.

use std::convert::Infallible;
use std::path::Path;

use super::{HandOverError, Passed};

/// Where a server waits for its successor: not on Windows.
#[derive(Debug)]
pub struct Post(Infallible);

/// Ends the wait at a [`Post`].
#[derive(Debug)]
pub struct Bell(Infallible);

/// A process that asked for the listeners.
#[derive(Debug)]
pub struct Successor(Infallible);

/// The process whose listeners were taken over.
#[derive(Debug)]
pub struct Predecessor(Infallible);

impl Post {
    /// # Errors
    /// Always [`HandOverError::Unsupported`].
    pub fn open(_path: &Path) -> Result<(Self, Bell), HandOverError> {
        Err(HandOverError::Unsupported)
    }

    /// # Errors
    /// There is no post to wait at.
    pub fn next(&self) -> Result<Option<Successor>, HandOverError> {
        match self.0 {}
    }

    /// There is no post to wait at.
    #[must_use]
    pub fn pause(&self, _time: std::time::Duration) -> bool {
        match self.0 {}
    }
}

impl Successor {
    /// # Errors
    /// There is no successor.
    pub fn offer(&mut self, _listeners: &[Passed]) -> Result<(), HandOverError> {
        match self.0 {}
    }

    /// # Errors
    /// There is no successor.
    pub fn accepts(&mut self, _post: &Post) -> Result<(), HandOverError> {
        match self.0 {}
    }

    /// # Errors
    /// There is no successor.
    pub fn draining(self) -> Result<(), HandOverError> {
        match self.0 {}
    }
}

impl Predecessor {
    /// # Errors
    /// Always [`HandOverError::Unsupported`].
    pub fn ask(_path: &Path) -> Result<Option<(Self, Vec<Passed>)>, HandOverError> {
        Err(HandOverError::Unsupported)
    }

    /// # Errors
    /// There is no predecessor.
    pub fn accepting(self) -> Result<(), HandOverError> {
        match self.0 {}
    }
}
