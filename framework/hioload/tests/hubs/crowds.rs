//! Many subscribers on one shard.

use hioload::testing::Crowd;
use hioload::{App, Config, Conn, Message};

struct Room;

impl App for Room {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.subscribe("room");
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.publish("room", message);
    }
}

#[test]
fn a_thousand_subscribers_get_what_one_of_them_says() {
    let mut crowd = Crowd::new(&Config::default(), &[], Room).expect("it can work");
    let conns: Vec<_> = (0..1000).map(|_| crowd.connect("/")).collect();
    crowd.receive(conns[0], "hello");
    assert_eq!(crowd.turn(), 999 * (2 + 5), "a header and five bytes each");
    assert_eq!(crowd.turn(), 0);
    let ended = crowd.run(|_, turn| {
        let (mut conn, ()) = turn.conn(conns[1]).expect("it is open");
        conn.terminate();
        conn.id()
    });
    crowd.turn();
    assert!(crowd.run(|_, turn| turn.conn(ended).is_none()));
    crowd.receive(conns[2], "hello");
    assert_eq!(crowd.turn(), 998 * (2 + 5));
}
