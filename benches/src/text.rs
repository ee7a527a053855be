//! Text payloads.

/// English in ASCII, `len` bytes.
#[must_use]
pub fn ascii(len: usize) -> String {
    "The quick brown fox jumps over the lazy dog. "
        .chars()
        .cycle()
        .take(len)
        .collect()
}

/// Text of one to four bytes per character, `len` bytes: the last characters are
/// ASCII, to end between two.
#[must_use]
pub fn multilingual(len: usize) -> String {
    let mut text = String::with_capacity(len);
    for character in "Grüße, Καλημέρα, привет, 你好世界, مرحبا, 🙂🚀 "
        .chars()
        .cycle()
    {
        if text.len() + character.len_utf8() > len {
            break;
        }
        text.push(character);
    }
    text.extend(std::iter::repeat_n('.', len - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_length_asked_for() {
        for len in [0, 1, 2, 20, 1023, 1024] {
            assert_eq!((ascii(len).len(), multilingual(len).len()), (len, len));
        }
        assert!(!multilingual(20).is_ascii());
    }
}
