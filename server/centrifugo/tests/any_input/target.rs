//! What the fuzz target runs, and the property tests on machines without a
//! fuzzer.

use hioload_centrifugo::{Publication, Push, Request, commands, push, with_offset};

/// Takes any bytes as a frame, and panics where a promise is broken: as many
/// commands as lines at most, and what is passed on is one line of JSON.
pub(crate) fn frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        // The WebSocket does not let it through.
        return;
    };
    let (mut seen, lines) = (0, text.split('\n').count());
    for command in commands(text) {
        seen += 1;
        let Ok(command) = command else {
            continue;
        };
        if let Request::Publish(publish) = command.request
            && let Some(data) = publish.data
        {
            let body = Publication::body(data.get(), None, None);
            assert!(Publication::at(&body, 7).is_some(), "{body}");
            let told = push(&publish.channel, Push::Pub(&with_offset(&body, Some(7))));
            assert!(!told.contains('\n'), "{told}");
            assert!(told.contains(data.get()), "{told}");
        }
    }
    assert!(seen <= lines);
}
