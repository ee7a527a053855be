//! A stream in memory, for libraries that want to do the reading and writing.

use std::io::{self, Read, Write};

/// Hands out the same bytes once per [`rewind`](Self::rewind), and keeps what is
/// written until then. Between the two it is a non-blocking socket without data.
#[derive(Debug)]
pub struct Transport {
    input: Vec<u8>,
    read: usize,
    written: Vec<u8>,
}

impl Transport {
    /// A stream whose input was read before; `rewind` makes it available.
    #[must_use]
    pub fn new(input: Vec<u8>) -> Self {
        let read = input.len();
        Self {
            input,
            read,
            written: Vec::new(),
        }
    }

    /// Makes the input arrive again and forgets what was written.
    pub fn rewind(&mut self) {
        self.read = 0;
        self.written.clear();
    }

    /// What was written since `rewind`.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.read += len;
        Ok(len)
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_arrives_once_per_rewind() {
        let mut transport = Transport::new(b"abc".to_vec());
        let mut into = [0; 2];
        let nothing = transport.read(&mut into).map_err(|error| error.kind());
        assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
        for _ in 0..2 {
            transport.rewind();
            assert_eq!(transport.written(), b"");
            transport.write_all(b"xy").expect("memory");
            assert_eq!(transport.read(&mut into).expect("input"), 2);
            assert_eq!(transport.read(&mut into).expect("input"), 1);
            assert_eq!(transport.written(), b"xy");
        }
    }
}
