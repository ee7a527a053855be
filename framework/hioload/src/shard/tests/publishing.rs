//! What is published in one turn, and how it leaves.

use super::*;

#[test]
fn a_hundred_publications_to_one_subscriber_in_one_turn_leave_in_one_send() {
    let mut shard = Shard::new(&silent());
    let mut subscriber = Client::open(&mut shard, "/room");
    let mut publisher = Client::open(&mut shard, "/room");
    let before = shard.wire(subscriber.token).sends;
    let mut bytes = Vec::new();
    for number in 0..100u8 {
        publisher
            .protocol
            .send(
                Kind::Binary,
                &[number],
                &mut publisher.resources,
                &mut bytes,
            )
            .unwrap();
    }
    shard.feed(publisher.token, &bytes);
    assert_eq!(shard.wire(subscriber.token).sends, before + 1);
    assert_eq!(subscriber.messages(&mut shard), 100);
}
