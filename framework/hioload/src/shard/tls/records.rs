//! Where TLS records end in a stream of bytes.

/// Type, version and length (RFC 8446 section 5.1).
const HEADER: usize = 5;

/// Follows the record headers of a stream, so that a record split over several
/// receives is completed by exactly the bytes it misses. It judges nothing:
/// rustls refuses a header that is wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Records {
    /// Bytes seen of the current header.
    header: u8,
    /// The length in the current header, its first byte first.
    length: u16,
    /// Payload bytes the current record still misses, once its header is seen.
    missing: u16,
}

impl Records {
    /// Bytes that complete what is known of the current record: its header, or
    /// its payload.
    pub(super) fn missing(self) -> usize {
        if usize::from(self.header) < HEADER {
            HEADER - usize::from(self.header)
        } else {
            usize::from(self.missing)
        }
    }

    /// Follows `bytes` to the end of the current record, or to their end;
    /// returns how many that are.
    pub(super) fn finish_record(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while usize::from(self.header) < HEADER {
            let Some(&byte) = bytes.get(at) else {
                return at;
            };
            at += 1;
            self.header += 1;
            if self.header >= 4 {
                self.length = self.length << 8 | u16::from(byte);
            }
            self.missing = self.length;
        }
        let taken = usize::from(self.missing).min(bytes.len() - at);
        self.missing -= u16::try_from(taken).unwrap_or(self.missing);
        if self.missing == 0 {
            *self = Self::default();
        }
        at + taken
    }

    /// Follows all of `bytes`.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.finish_record(bytes);
            bytes = &bytes[taken..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_finds_the_same_boundaries() {
        let mut stream = Vec::new();
        let mut ends = Vec::new();
        for len in [1u16, 0, 300, 5, 16_640] {
            stream.extend_from_slice(&[23, 3, 3]);
            stream.extend_from_slice(&len.to_be_bytes());
            stream.resize(stream.len() + usize::from(len), 7);
            ends.push(stream.len());
        }
        for step in [1, 2, 3, 4, 5, 6, 7, 100, 20_000] {
            let (mut records, mut found, mut at) = (Records::default(), Vec::new(), 0);
            for piece in stream.chunks(step) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let taken = records.finish_record(rest);
                    at += taken;
                    rest = &rest[taken..];
                    if records.header == 0 {
                        found.push(at);
                    }
                }
            }
            assert_eq!(found, ends, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_missing_completes_the_record() {
        let mut records = Records::default();
        records.follow(&[23, 3]);
        assert_eq!(records.missing(), 3);
        records.follow(&[3, 1, 4, 9, 9]);
        assert_eq!(records.missing(), 258);
        assert_eq!(records.finish_record(&[0; 300]), 258);
        assert_eq!(records.missing(), HEADER);
    }
}
