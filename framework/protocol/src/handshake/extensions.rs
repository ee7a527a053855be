//! The grammar of Sec-WebSocket-Extensions (RFC 6455 section 9.1).
//!
//! ```text
//! extension-list  = 1#extension
//! extension       = token *( ";" extension-param )
//! extension-param = token [ "=" (token | quoted-string) ]
//! ```
//! What a quoted string says must be a token, too. Empty elements of the list
//! are skipped, as RFC 9110 section 5.6.1 asks of every recipient.

use std::borrow::Cow;

use super::field::is_token_byte;

/// One extension of a list, in an offer or in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension<'b> {
    pub(crate) name: &'b str,
    pub(crate) params: Vec<(&'b str, Option<Cow<'b, str>>)>,
}

/// The list does not follow the grammar. Either end must then fail the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the list that all headers of the name make together, in order.
pub(crate) fn parse<'b>(
    values: impl Iterator<Item = &'b [u8]>,
) -> Result<Vec<Extension<'b>>, Malformed> {
    let mut list = Vec::new();
    for value in values {
        let mut cursor = Cursor { rest: value };
        loop {
            cursor.skip_space();
            if cursor.take(b',') {
                continue;
            }
            if cursor.rest.is_empty() {
                break;
            }
            list.push(cursor.extension()?);
            if !cursor.take(b',') && !cursor.rest.is_empty() {
                return Err(Malformed);
            }
        }
    }
    Ok(list)
}

struct Cursor<'b> {
    rest: &'b [u8],
}

impl<'b> Cursor<'b> {
    fn extension(&mut self) -> Result<Extension<'b>, Malformed> {
        let name = self.token()?;
        let mut params = Vec::new();
        self.skip_space();
        while self.take(b';') {
            self.skip_space();
            let param = self.token()?;
            self.skip_space();
            let value = if self.take(b'=') {
                self.skip_space();
                Some(self.value()?)
            } else {
                None
            };
            params.push((param, value));
            self.skip_space();
        }
        Ok(Extension { name, params })
    }

    fn value(&mut self) -> Result<Cow<'b, str>, Malformed> {
        if !self.take(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut text = String::new();
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            let byte = match byte {
                b'"' if text.is_empty() => return Err(Malformed),
                b'"' => return Ok(Cow::Owned(text)),
                b'\\' => {
                    let (&escaped, rest) = self.rest.split_first().ok_or(Malformed)?;
                    self.rest = rest;
                    escaped
                }
                byte => byte,
            };
            if !is_token_byte(byte) {
                return Err(Malformed);
            }
            text.push(char::from(byte));
        }
    }

    fn token(&mut self) -> Result<&'b str, Malformed> {
        let end = self.rest.iter().position(|&b| !is_token_byte(b));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match std::str::from_utf8(token) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(Malformed),
        }
    }

    fn skip_space(&mut self) {
        let end = self.rest.iter().position(|&b| b != b' ' && b != b'\t');
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list written back in its plainest form.
    fn read(values: &[&str]) -> Result<String, Malformed> {
        let list = parse(values.iter().map(|value| value.as_bytes()))?;
        let written = list.iter().map(|extension| {
            let params = extension.params.iter().map(|(name, value)| match value {
                Some(value) => format!(";{name}={value}"),
                None => format!(";{name}"),
            });
            extension.name.to_owned() + &params.collect::<String>()
        });
        Ok(written.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn lists_are_read_and_merged() {
        for (values, expected) in [
            (&["a"][..], "a"),
            (&[" a ; b ; c = d ,\te"], "a;b;c=d,e"),
            (&["a;b=\"c\"", "d;e=\"\\1\\5\""], "a;b=c,d;e=15"),
            (&["", ",, a ,,", ","], "a"),
            (&[], ""),
        ] {
            assert_eq!(read(values).as_deref(), Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_malformed() {
        for value in [
            ";",
            "=",
            "a;",
            "a;;b",
            "a b",
            "a;b c",
            "a;b=",
            "a;b=;c",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a;b=\"c",
            "a;b=\"c\\",
            "a;b=\"c\"d",
            "a=b",
            "a/b",
            "\u{e4}",
            "a;b==c",
            "a,b;",
            "\"a\"",
        ] {
            assert_eq!(read(&[value]), Err(Malformed), "{value:?}");
        }
    }
}
