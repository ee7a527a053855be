//! Chooses the widest masking loop that this CPU has; and what else safe code
//! cannot say.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod scalar;
mod text;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::apply;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::apply;

pub(crate) use scalar::apply as apply_scalar;
pub(crate) use text::{masked_ascii, text};

/// XORs `data` with `key`, whose first byte belongs to `data[0]`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn apply(data: &mut [u8], key: [u8; 4]) {
    let _ascii = scalar::apply(data, key);
}

#[cfg(test)]
mod tests;
