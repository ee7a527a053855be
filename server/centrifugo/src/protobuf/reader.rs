//! Fields of a message, one by one, out of bytes that nobody has checked.

use std::borrow::Cow;

use thiserror::Error;

/// Bytes of a varint at most: 64 bits in groups of seven.
const MAX_VARINT: usize = 10;

/// Numbers of fields are below this.
const FIELD_END: u64 = 1 << 29;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Garbled {
    /// They end within a value.
    #[error("it ends within a value")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    Varint,
    /// There is no field with this number, and no such kind of value.
    #[error("{0:#x} begins no field")]
    Tag(u64),
    /// A known field has a value of another kind.
    #[error("field {0} has a value of another kind")]
    Kind(u32),
    /// A number is too large for its field.
    #[error("field {0} has a number that is too large")]
    Range(u32),
    /// A text is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Utf8(u32),
}

/// The fields of a message that are left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of 32 or 64 bits: the protocol has no such fields.
    Fixed,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was read since, up to `later`.
    pub(super) fn until(self, later: Self) -> &'a [u8] {
        &self.0[..self.0.len() - later.0.len()]
    }

    /// The next field, if there is one.
    pub(super) fn field(&mut self) -> Result<Option<Field<'a>>, Garbled> {
        if self.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number >= FIELD_END {
            return Err(Garbled::Tag(tag));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => Value::Bytes(self.delimited()?),
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups could nest without end; nobody has sent them for decades.
            _ => return Err(Garbled::Tag(tag)),
        };
        let number = u32::try_from(number).map_err(|_large| Garbled::Tag(tag))?;
        Ok(Some(Field { number, value }))
    }

    /// As many bytes as the number before them says.
    pub(super) fn delimited(&mut self) -> Result<&'a [u8], Garbled> {
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_large| Garbled::Truncated)?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Garbled::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Garbled> {
        let mut number = 0;
        for (at, &byte) in self.0.iter().take(MAX_VARINT).enumerate() {
            if at == MAX_VARINT - 1 && byte > 1 {
                return Err(Garbled::Varint);
            }
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(Garbled::Truncated)
    }
}

impl<'a> Field<'a> {
    pub(super) fn bytes(&self) -> Result<&'a [u8], Garbled> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) | Value::Fixed => Err(Garbled::Kind(self.number)),
        }
    }

    /// A message in the field.
    pub(super) fn message(&self) -> Result<Reader<'a>, Garbled> {
        self.bytes().map(Reader)
    }

    pub(super) fn text(&self) -> Result<Cow<'a, str>, Garbled> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(Cow::Borrowed)
            .map_err(|_not| Garbled::Utf8(self.number))
    }

    pub(super) fn u64(&self) -> Result<u64, Garbled> {
        match self.value {
            Value::Varint(number) => Ok(number),
            Value::Bytes(_) | Value::Fixed => Err(Garbled::Kind(self.number)),
        }
    }

    pub(super) fn u32(&self) -> Result<u32, Garbled> {
        u32::try_from(self.u64()?).map_err(|_large| Garbled::Range(self.number))
    }

    /// A number that may be negative, and then has all 64 bits.
    pub(super) fn i64(&self) -> Result<i64, Garbled> {
        self.u64().map(u64::cast_signed)
    }

    pub(super) fn i32(&self) -> Result<i32, Garbled> {
        i32::try_from(self.i64()?).map_err(|_large| Garbled::Range(self.number))
    }

    pub(super) fn bool(&self) -> Result<bool, Garbled> {
        self.u64().map(|number| number != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Result<Field<'_>, Garbled> {
        Reader::new(bytes).field().map(|field| field.expect("one"))
    }

    #[test]
    fn numbers_have_at_most_64_bits() {
        let all = [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        let field = one(&all).unwrap();
        assert_eq!((field.u64(), field.i64()), (Ok(u64::MAX), Ok(-1)));
        assert_eq!((field.i32(), field.u32()), (Ok(-1), Err(Garbled::Range(1))));
        let mut more = all;
        more[10] = 2;
        assert_eq!(one(&more).unwrap_err(), Garbled::Varint);
        more[10] = 0x81;
        assert_eq!(one(&more).unwrap_err(), Garbled::Varint);
        for length in 1..all.len() {
            assert_eq!(one(&all[..length]).unwrap_err(), Garbled::Truncated);
        }
        assert_eq!(one(&[8, 0x80, 0x00]).unwrap().bool(), Ok(false));
    }

    #[test]
    fn lengths_beyond_the_end_take_nothing() {
        for bytes in [
            &[0x0a, 1][..],
            &[0x0a, 0x80],
            &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 7],
            &[0x09, 1, 2, 3, 4, 5, 6, 7],
            &[0x0d, 1, 2, 3],
        ] {
            assert_eq!(one(bytes).unwrap_err(), Garbled::Truncated, "{bytes:?}");
        }
    }

    #[test]
    fn what_begins_no_field_is_refused() {
        // Number 0, the groups, kinds that do not exist, too large a number.
        for bytes in [
            &[0x00][..],
            &[0x02, 0],
            &[0x0b],
            &[0x0c],
            &[0x0e],
            &[0x0f],
            &[0x80, 0x80, 0x80, 0x80, 0x10],
        ] {
            let error = one(bytes).unwrap_err();
            assert!(matches!(error, Garbled::Tag(_)), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_value_of_another_kind_is_refused_where_it_is_used() {
        assert_eq!(one(&[8, 1]).unwrap().bytes(), Err(Garbled::Kind(1)));
        assert_eq!(one(&[10, 1, b'x']).unwrap().u64(), Err(Garbled::Kind(1)));
        assert_eq!(
            one(&[13, 1, 2, 3, 4]).unwrap().text(),
            Err(Garbled::Kind(1))
        );
        assert_eq!(one(&[10, 1, 0xff]).unwrap().text(), Err(Garbled::Utf8(1)));
    }
}
