use super::*;
use crate::Request;

fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &sized(inner)].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    if length < 0x80 {
        [&[length][..], bytes].concat()
    } else {
        [&[length, 1][..], bytes].concat()
    }
}

/// A frame with one command.
fn command(id: u8, number: u8, request: &[u8]) -> Vec<u8> {
    sized(&[&[0x08, id][..], &field(number, request)].concat())
}

fn one(frame: &[u8]) -> Result<Command<'_>, Malformed> {
    let mut all = protobuf_commands(frame);
    let first = all.next().expect("a command");
    assert!(all.next().is_none(), "one and no more");
    first
}

/// The request of a frame with one command.
fn request(frame: &[u8]) -> Request<'_> {
    let command = one(frame).unwrap();
    assert_eq!(command.id, 5);
    command.request
}

#[test]
fn connect_has_all_its_fields() {
    let subscribe = [&b"\x18\x01"[..], &field(6, b"e"), b"\x38\xac\x02"].concat();
    let connect = [
        field(1, b"t"),
        field(2, b"\xff"),
        field(3, &[field(1, b"news"), field(2, &subscribe)].concat()),
        field(3, &field(1, b"bare")),
        field(4, b"js"),
        field(5, b"1.2"),
        field(6, &[field(1, b"a"), field(2, b"b")].concat()),
        b"\x38\x07".to_vec(),
    ];
    let frame = command(5, 4, &connect.concat());
    let Request::Connect(connect) = request(&frame) else {
        panic!("{frame:?}");
    };
    assert_eq!((&*connect.token, &*connect.name), ("t", "js"));
    assert_eq!((&*connect.version, &*connect.headers["a"]), ("1.2", "b"));
    assert_eq!(connect.data.unwrap().bytes(), b"\xff");
    let news = &connect.subs["news"];
    assert_eq!((news.recover, &*news.epoch, news.offset), (true, "e", 300));
    assert!(!connect.subs["bare"].recover);
}

#[test]
fn subscribe_and_history_have_all_their_fields() {
    let subscribe = [
        &field(1, b"c")[..],
        &field(2, b"t"),
        b"\x18\x01",
        &field(6, b"e"),
        b"\x38\x09",
        &field(8, b"{}"),
        b"\x48\x01\x50\x01\x58\x01",
        &field(12, b"fossil"),
    ];
    let frame = command(5, 5, &subscribe.concat());
    let Request::Subscribe(wish) = request(&frame) else {
        panic!("{frame:?}");
    };
    assert_eq!((&*wish.channel, &*wish.token), ("c", "t"));
    assert_eq!((&*wish.epoch, wish.offset), ("e", 9));
    assert!(wish.recover && wish.positioned && wish.recoverable && wish.join_leave);
    assert_eq!(wish.delta, "fossil");
    assert_eq!(wish.data.unwrap().bytes(), b"{}");

    let limit = b"\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let since = field(8, &[&b"\x08\x02"[..], &field(2, b"e")].concat());
    let history = [&field(1, b"c")[..], limit, &since, b"\x48\x01"].concat();
    let frame = command(5, 10, &history);
    let Request::History(asked) = request(&frame) else {
        panic!("{frame:?}");
    };
    assert_eq!(
        (&*asked.channel, asked.limit, asked.reverse),
        ("c", -1, true)
    );
    let since = asked.since.unwrap();
    assert_eq!((since.offset, &*since.epoch), (2, "e"));
}

#[test]
fn every_other_command_is_known_by_its_number() {
    let channel = field(1, b"c");
    let both = [field(1, b"c"), field(2, b"t")].concat();
    let frames: Vec<_> = [
        (6, &channel),
        (7, &both),
        (8, &channel),
        (9, &channel),
        (11, &Vec::new()),
        (13, &both),
        (14, &channel),
        (15, &both),
    ]
    .map(|(number, inner)| command(5, number, inner))
    .to_vec();
    let said: Vec<String> = frames
        .iter()
        .map(|frame| match request(frame) {
            Request::Unsubscribe(wish) => format!("unsubscribe {}", wish.channel),
            Request::Publish(wish) => {
                format!("publish {} {:?}", wish.channel, wish.data.unwrap().bytes())
            }
            Request::Presence(of) => format!("presence {}", of.channel),
            Request::PresenceStats(of) => format!("stats {}", of.channel),
            Request::Ping => "ping".to_owned(),
            Request::Rpc(call) => format!("rpc {:?} {}", call.data.unwrap().bytes(), call.method),
            Request::Refresh(refresh) => format!("refresh {}", refresh.token),
            Request::SubRefresh(refresh) => {
                format!("sub_refresh {} {}", refresh.channel, refresh.token)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "unsubscribe c",
        "publish c [116]",
        "presence c",
        "stats c",
        "ping",
        "rpc [99] t",
        "refresh c",
        "sub_refresh c t",
    ];
    assert_eq!(said, expected);
}

#[test]
fn several_commands_come_in_one_frame() {
    let send = sized(&field(12, &field(1, b"x")));
    let frame = [command(1, 11, b""), sized(b""), send].concat();
    let all: Vec<_> = protobuf_commands(&frame).map(Result::unwrap).collect();
    let [ping, pong, send] = &all[..] else {
        panic!("{all:?}");
    };
    assert!(matches!((ping.id, &ping.request), (1, Request::Ping)));
    assert!(matches!((pong.id, &pong.request), (0, Request::Pong)));
    let Request::Send(message) = &send.request else {
        panic!("{send:?}");
    };
    assert_eq!((send.id, message.data.unwrap().bytes()), (0, &b"x"[..]));
    assert_eq!(protobuf_commands(&[]).count(), 0);
}

#[test]
fn what_is_not_known_is_passed_over() {
    let unknown = [
        &b"\xb8\x06\x01"[..],
        b"\xb9\x06\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\xbd\x06\x01\x02\x03\x04",
        b"\xba\x06\x02\xff\x00",
    ]
    .concat();
    let inner = [&unknown[..], &field(1, b"c"), &unknown].concat();
    for number in [6, 8, 9] {
        let request = field(number, &inner);
        let frame = sized(&[&unknown[..], b"\x08\x05", &request, &unknown].concat());
        let command = one(&frame).unwrap();
        match command.request {
            Request::Unsubscribe(wish) => assert_eq!(wish.channel, "c"),
            Request::Presence(of) | Request::PresenceStats(of) => assert_eq!(of.channel, "c"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_no_command_is_refused_and_ends_the_frame() {
    let good = command(5, 11, b"");
    let publish = |inner: &[u8]| command(5, 7, inner);
    for (bad, why) in [
        // The frame, the command, the request and the text end too early.
        (vec![0x80], Garbled::Truncated),
        (vec![0x05, 0x08], Garbled::Truncated),
        (sized(&[0x08]), Garbled::Truncated),
        (sized(&[0x3a, 0x05, 0x0a]), Garbled::Truncated),
        (publish(&[0x0a, 0x05, b'c']), Garbled::Truncated),
        (
            publish(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            Garbled::Truncated,
        ),
        (publish(&[0xff; 11]), Garbled::Varint),
        // Kinds that the fields do not have.
        (sized(&[0x0a, 0x01, 0x05]), Garbled::Kind(1)),
        (sized(&[0x38, 0x01]), Garbled::Kind(7)),
        (publish(&[0x08, 0x01]), Garbled::Kind(1)),
        (publish(&[0x15, 1, 2, 3, 4]), Garbled::Kind(2)),
        (publish(&[0x0b]), Garbled::Tag(0x0b)),
        (publish(&[0x02, 0x00]), Garbled::Tag(2)),
        (publish(&field(1, b"\xff")), Garbled::Utf8(1)),
        (command(5, 5, &field(6, b"\xc3")), Garbled::Utf8(6)),
        (
            command(5, 10, b"\x38\x80\x80\x80\x80\x10"),
            Garbled::Range(7),
        ),
        (
            sized(b"\x08\x80\x80\x80\x80\x10\x5a\x00"),
            Garbled::Range(1),
        ),
        // Within a map, and where there is nothing of interest.
        (
            command(5, 4, &field(3, &field(1, b"\xff"))),
            Garbled::Utf8(1),
        ),
        (command(5, 11, b"\x0a"), Garbled::Truncated),
    ] {
        let all: Vec<_> = protobuf_commands(&bad).collect();
        let [Err(Malformed::Protobuf(found))] = all[..] else {
            panic!("{bad:?}: {all:?}");
        };
        assert_eq!(found, why, "{bad:?}");
    }
    let frame = [&good[..], &publish(&[0x0b]), &good].concat();
    let all: Vec<_> = protobuf_commands(&frame).map(|one| one.is_ok()).collect();
    assert_eq!(all, [true, false]);
    let no_id = sized(&field(7, &field(1, b"c")));
    assert!(matches!(one(&no_id), Err(Malformed::NoId)));
    let unknown = sized(&[&b"\x08\x03"[..], &field(3, b"")].concat());
    assert!(matches!(one(&unknown), Err(Malformed::Nothing(3))));
}
