//! From validated bytes to text, without a second look at them.

use super::apply_scalar;
use crate::utf8::is_short_ascii;

/// The text that these bytes are; the bytes, if they are no valid UTF-8.
// A call of its own is as long as the check of a short text.
#[inline(always)]
pub(crate) fn text(bytes: &mut [u8]) -> Result<&str, &mut [u8]> {
    if is_short_ascii(bytes) || simdutf8::basic::from_utf8(bytes).is_ok() {
        // SAFETY: ASCII or what `simdutf8` takes is valid UTF-8, found just
        // above, and the exclusive borrow that the text keeps lets nobody
        // change it.
        Ok(unsafe { str::from_utf8_unchecked(bytes) })
    } else {
        Err(bytes)
    }
}

/// The text that these few bytes are once they are unmasked, if that is ASCII;
/// else the unmasked bytes.
#[inline(always)]
pub(crate) fn masked_ascii(bytes: &mut [u8], key: [u8; 4]) -> Result<&str, &mut [u8]> {
    if apply_scalar(bytes, key) {
        // SAFETY: ASCII is valid UTF-8, and the exclusive borrow that the text
        // keeps lets nobody change it.
        Ok(unsafe { str::from_utf8_unchecked(bytes) })
    } else {
        Err(bytes)
    }
}
