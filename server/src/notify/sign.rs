//! What shows a receiver that a request is by this server, and when it was made.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header's value for a body that is sent at a second of the Unix clock:
/// the time is signed too, so that a receiver can refuse what somebody repeats
/// later.
pub(super) fn signature(secret: &[u8], time: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut value = format!("t={time},v1=");
    for byte in mac.finalize().into_bytes() {
        let _infallible = write!(value, "{byte:02x}");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_others_compute() {
        // printf '1700000000.{"events":[]}' | openssl dgst -sha256 -hmac "$secret"
        assert_eq!(
            signature(b"a secret for tests", 1_700_000_000, b"{\"events\":[]}"),
            "t=1700000000,v1=982620320828d963df698fa9a3fa0e99d3e671bfe3d7c4df78237954d479b2ff"
        );
    }
}
