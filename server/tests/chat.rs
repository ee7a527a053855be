//! The chat's protocol over a raw WebSocket: what clients that misbehave are
//! told, and what time does to them.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::client::{Client, dial};
use support::http::{self, Answer};
use support::peer::{Chat, PATH, Peer, SECRET, token};
use support::wait::until_equal;

/// A client that is let in as this user.
fn connected(chat: &Chat, user: &str) -> Peer {
    let mut peer = chat.open();
    let reply =
        peer.ask(&json!({ "id": 1, "connect": { "token": token(&json!({ "sub": user })) } }));
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    peer
}

/// Seconds of the Unix clock.
fn in_seconds(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs() + seconds
}

fn with_secret(toml: &str) -> String {
    format!("[client]\ntoken_secret = '{SECRET}'\n{toml}")
}

const OPEN: &str = "[channel]\nallow_subscribe = 'user'\nallow_publish = 'subscriber'\n\
    allow_presence = 'user'\nallow_history = 'user'\n\
    [[namespace]]\nname = 'quiet'\npresence = false\nhistory_size = 0\nrecovery = false\n\
    positioning = false\nallow_subscribe = 'user'\nallow_presence = 'user'\nallow_history = 'user'\n\
    [[namespace]]\nname = 'few'\nallow_subscribe = 'user'\nmax_channels = 2\n";

#[test]
fn what_is_not_the_protocol_ends_with_3501() {
    let chat = Chat::start("malformed", &with_secret(OPEN));
    for line in [
        "",
        "{",
        "[]",
        "\"x\"",
        "{\"id\":-1}",
        "\u{0}",
        "{\"id\":1,\"connect\":7}",
    ] {
        let mut peer = chat.open();
        peer.client.text(&format!("{line}x"));
        peer.client.expect_end(3501);
    }
    // A frame with nothing in it.
    let mut peer = chat.open();
    peer.client.text("");
    peer.client.expect_end(3501);
    // Before connect, only connect; then once, and what is known.
    for early in [
        json!({ "id": 1, "publish": { "channel": "a", "data": 1 } }),
        json!({}),
    ] {
        let mut peer = chat.open();
        peer.tell(&early);
        peer.client.expect_end(3501);
    }
    for late in [
        json!({ "id": 2, "connect": {} }),
        json!({ "id": 2, "dance": {} }),
        json!({ "publish": { "channel": "a", "data": 1 } }),
        json!({ "id": 2, "publish": { "channel": "a" } }),
        json!({ "id": 2, "publish": { "channel": "", "data": 1 } }),
        json!({ "id": 2, "subscribe": {} }),
        json!({ "id": 2, "unsubscribe": {} }),
        json!({ "id": 2, "history": { "channel": "" } }),
        json!({ "id": 2, "refresh": {} }),
        json!({ "id": 2, "sub_refresh": {} }),
        // A pong that no ping asked for.
        json!({}),
    ] {
        let mut peer = connected(&chat, "ann");
        peer.tell(&late);
        peer.client.expect_end(3501);
    }
    chat.serving.metric("hioload_connections");
}

#[test]
fn other_encodings_and_large_frames_and_messages_to_nobody_have_their_codes() {
    let chat = Chat::start("odd", &with_secret(OPEN));
    let mut peer = connected(&chat, "ann");
    peer.client.binary(b"{}");
    peer.client.expect_end(3506);
    let mut peer = connected(&chat, "ann");
    peer.tell(&json!({ "send": { "data": 1 } }));
    peer.client.expect_end(3508);
    let mut peer = connected(&chat, "ann");
    let data = "x".repeat(64 << 10);
    peer.tell(&json!({ "id": 2, "publish": { "channel": "a", "data": data } }));
    peer.client.expect_end(1009);
    // The largest that fits.
    let mut peer = connected(&chat, "ann");
    peer.ask(&json!({ "id": 2, "subscribe": { "channel": "a" } }));
    let data = "x".repeat(65_000);
    let reply = peer.ask(&json!({ "id": 3, "publish": { "channel": "a", "data": data } }));
    assert_eq!(reply["publish"], json!({}));
    assert_eq!(peer.next()["push"]["pub"]["data"], data);
}

#[test]
fn each_refusal_has_its_error_and_the_connection_goes_on() {
    let chat = Chat::start("errors", &with_secret(OPEN));
    let mut peer = connected(&chat, "ann");
    let long = "x".repeat(256);
    let mut id = 1;
    let mut refused = |peer: &mut Peer, name: &str, body: Value| {
        id += 1;
        peer.refused(&json!({ "id": id, name: body }))
    };
    let of = |channel: &str| json!({ "channel": channel });
    assert_eq!(refused(&mut peer, "subscribe", of("none:a")), 102);
    assert_eq!(refused(&mut peer, "history", of("none:a")), 102);
    assert_eq!(refused(&mut peer, "subscribe", of("$private")), 103);
    assert_eq!(refused(&mut peer, "subscribe", of("x#bob")), 103);
    let publish = json!({ "channel": "a", "data": null });
    let publish = json!({ "data": 1, "channel": publish["channel"] });
    assert_eq!(refused(&mut peer, "publish", publish), 103);
    assert_eq!(refused(&mut peer, "subscribe", of(&long)), 107);
    assert_eq!(refused(&mut peer, "presence", of("quiet:a")), 108);
    assert_eq!(refused(&mut peer, "history", of("quiet:a")), 108);
    assert_eq!(
        refused(&mut peer, "rpc", json!({ "method": "m", "data": 1 })),
        104
    );
    assert_eq!(refused(&mut peer, "sub_refresh", of("a")), 103);
    let old = token(&json!({ "sub": "ann", "channel": "$p", "exp": 1 }));
    let with_old = json!({ "channel": "$p", "token": old });
    assert_eq!(refused(&mut peer, "subscribe", with_old), 109);
    let theirs = token(&json!({ "sub": "bob", "channel": "$p" }));
    let with_theirs = json!({ "channel": "$p", "token": theirs });
    assert_eq!(refused(&mut peer, "subscribe", with_theirs), 103);
    let begun = peer.ask(&json!({ "id": 90, "subscribe": { "channel": "a" } }));
    assert_eq!(begun["subscribe"]["recoverable"], true, "{begun}");
    assert_eq!(refused(&mut peer, "subscribe", of("a")), 105);
    let since = json!({ "channel": "a", "limit": 1, "since": { "offset": 0, "epoch": "e" } });
    assert_eq!(refused(&mut peer, "history", since), 112);
    let ping = peer.ask(&json!({ "id": 91, "ping": {} }));
    assert_eq!(ping["ping"], json!({}));
}

#[test]
fn limits_refuse_with_106() {
    let chat = Chat::start("limits", &with_secret(OPEN));
    let mut peer = connected(&chat, "ann");
    for n in 0..128 {
        let begun = peer.ask(&json!({ "id": n + 2, "subscribe": { "channel": format!("c{n}") } }));
        assert!(begun["subscribe"].is_object(), "{begun}");
    }
    assert_eq!(
        peer.refused(&json!({ "id": 200, "subscribe": { "channel": "one more" } })),
        106
    );
    peer.ask(&json!({ "id": 201, "unsubscribe": { "channel": "c7" } }));
    let begun = peer.ask(&json!({ "id": 202, "subscribe": { "channel": "one more" } }));
    assert!(begun["subscribe"].is_object(), "{begun}");

    let mut one = connected(&chat, "bob");
    for channel in ["few:a", "few:b"] {
        let begun = one.ask(&json!({ "id": 2, "subscribe": { "channel": channel } }));
        assert!(begun["subscribe"].is_object(), "{begun}");
    }
    let mut two = connected(&chat, "cid");
    assert_eq!(
        two.refused(&json!({ "id": 2, "subscribe": { "channel": "few:c" } })),
        106
    );
    let begun = two.ask(&json!({ "id": 3, "subscribe": { "channel": "few:b" } }));
    assert!(
        begun["subscribe"].is_object(),
        "a channel that is there: {begun}"
    );
}

#[test]
fn questions_without_end_are_refused_and_a_slow_reader_is_left() {
    let chat = Chat::start("flood", &with_secret(OPEN));
    let mut peer = connected(&chat, "ann");
    let asked: Vec<_> = (2..=1001)
        .map(|id| json!({ "id": id, "presence": { "channel": "a" } }).to_string())
        .collect();
    peer.client.text(&asked.join("\n"));
    let mut outcomes = [0, 0];
    for _ in &asked {
        let reply = peer.next();
        match reply["error"]["code"].as_u64() {
            None => outcomes[0] += 1,
            Some(111) => outcomes[1] += 1,
            Some(_) => panic!("{reply}"),
        }
    }
    assert_eq!(outcomes, [16, 984], "they came in one frame");
    let reply = peer.ask(&json!({ "id": 2000, "presence": { "channel": "a" } }));
    assert_eq!(reply["presence"], json!({ "presence": {} }));

    let mut slow = Peer::of(Client::connect_narrow(chat.serving.addr, PATH));
    let token = token(&json!({ "sub": "bob" }));
    slow.ask(&json!({ "id": 1, "connect": { "token": token } }));
    slow.ask(&json!({ "id": 2, "subscribe": { "channel": "b" } }));
    peer.ask(&json!({ "id": 3, "subscribe": { "channel": "b" } }));
    let data = "x".repeat(60_000);
    let mut said = 0;
    while chat.serving.metric("hioload_backpressure_total") == 0 {
        said += 1;
        assert!(said < 1000, "a slow reader stays");
        peer.ask(&json!({ "id": 3 + said, "publish": { "channel": "b", "data": data } }));
    }
    assert_eq!(slow.client.expect_close(), 3008);
    let ping = peer.ask(&json!({ "id": 2001, "ping": {} }));
    assert_eq!(ping["ping"], json!({}), "who reads stays");
}

#[test]
fn tokens_decide_who_is_let_in() {
    let chat = Chat::start("tokens", &with_secret(OPEN));
    let connect = |token: &str| json!({ "id": 1, "connect": { "token": token } });
    let mut peer = chat.open();
    assert_eq!(peer.refused(&connect("")), 101);
    // It may only go.
    peer.tell(&connect(&token(&json!({ "sub": "ann" }))));
    peer.client.expect_end(3501);
    let mut peer = chat.open();
    assert_eq!(
        peer.refused(&connect(&token(&json!({ "sub": "ann", "exp": 1 })))),
        109
    );
    for bad in ["x", &token(&json!({ "sub": "ann", "channel": "c" }))] {
        let mut peer = chat.open();
        peer.tell(&connect(bad));
        peer.client.expect_end(3500);
    }
    // Its own claims without a signature.
    let unsigned = format!(
        "{}.",
        token(&json!({ "sub": "ann" }))
            .rsplit_once('.')
            .expect("parts")
            .0
    );
    let mut peer = chat.open();
    peer.tell(&connect(&unsigned));
    peer.client.expect_end(3500);
    let exp = in_seconds(1000);
    let reply = chat
        .open()
        .ask(&connect(&token(&json!({ "sub": "ann", "exp": exp }))));
    let ttl = reply["connect"]["ttl"].as_u64().expect("seconds");
    assert!((1..=1000).contains(&ttl), "{reply}");
    assert_eq!(reply["connect"]["expires"], true);
    assert_eq!(
        (&reply["connect"]["ping"], &reply["connect"]["pong"]),
        (&json!(25), &json!(true))
    );

    let mut peer = connected(&chat, "ann");
    let refresh = |token: String| json!({ "id": 2, "refresh": { "token": token } });
    let reply = peer.ask(&refresh(token(&json!({ "sub": "ann", "exp": exp }))));
    assert_eq!(reply["refresh"]["expires"], true, "{reply}");
    peer.tell(&refresh(token(&json!({ "sub": "bob" }))));
    peer.client.expect_end(3500);
    let mut peer = connected(&chat, "ann");
    peer.tell(&refresh(token(&json!({ "sub": "ann", "exp": 1 }))));
    peer.client.expect_end(3005);
}

#[test]
fn anonymous_clients_have_what_everybody_has() {
    let toml = "client.anonymous = true\n[channel]\nallow_subscribe = 'anyone'";
    let chat = Chat::start("anonymous", toml);
    let mut peer = chat.open();
    let reply = peer.ask(&json!({ "id": 1, "connect": {} }));
    assert!(reply["connect"]["expires"].is_null(), "{reply}");
    let begun = peer.ask(&json!({ "id": 2, "subscribe": { "channel": "a" } }));
    assert!(begun["subscribe"].is_object(), "{begun}");
    assert_eq!(
        peer.refused(&json!({ "id": 3, "publish": { "channel": "a", "data": 1 } })),
        103
    );
    // Without a secret no token can be right.
    let mut peer = chat.open();
    peer.tell(&json!({ "id": 1, "connect": { "token": token(&json!({})) } }));
    peer.client.expect_end(3500);
}

#[test]
fn pages_of_others_and_other_encodings_are_refused_before_they_connect() {
    let toml = "allowed_origins = ['https://app.example']\n";
    let chat = Chat::start("upgrade", &with_secret(&format!("{toml}{OPEN}")));
    let status = |header: &str| {
        let request = http::upgrade(PATH).replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
        let mut stream = dial(chat.serving.addr);
        stream.write_all(request.as_bytes()).expect("sent");
        let answer = Answer::read_head(&mut stream);
        let protocol = answer.header("sec-websocket-protocol").map(str::to_owned);
        (answer.status, protocol)
    };
    assert_eq!(status("Origin: https://evil.example"), (403, None));
    assert_eq!(status("Origin: http://localhost:5173"), (403, None));
    assert_eq!(status("Origin: https://app.example"), (101, None));
    assert_eq!(status("Origin: http://localhost"), (101, None));
    let protobuf = "Sec-WebSocket-Protocol: centrifuge-protobuf";
    assert_eq!(status(protobuf), (101, Some("centrifuge-protobuf".into())));
    let both = "Sec-WebSocket-Protocol: chat, centrifuge-json, centrifuge-protobuf";
    assert_eq!(status(both), (101, Some("centrifuge-json".into())));
}

#[test]
fn silence_ends_a_connection() {
    let chat = Chat::start("stale", &with_secret(&format!("stale = '1s'\n{OPEN}")));
    let mut silent = chat.open();
    silent.client.expect_end(3502);
    let mut refused = chat.open();
    refused.refused(&json!({ "id": 1, "connect": {} }));
    refused.client.expect_end(3502);

    let times = "ping = '1s'\npong = '200ms'\n";
    let chat = Chat::start("deaf", &with_secret(&format!("{times}{OPEN}")));
    let mut deaf = connected(&chat, "ann");
    assert_eq!(deaf.client.expect_text(), "{}");
    deaf.client.expect_end(3012);
}

#[test]
fn what_a_token_granted_ends_with_it() {
    let delay = "expired_close_delay = '0s'\n";
    let chat = Chat::start("expiry", &with_secret(&format!("{delay}{OPEN}")));
    let exp = in_seconds(3);
    let token_over = token(&json!({ "sub": "ann", "exp": exp }));
    let mut over = chat.open();
    over.ask(&json!({ "id": 1, "connect": { "token": token_over } }));
    over.client.expect_end(3005);

    let mut peer = connected(&chat, "ann");
    let exp = in_seconds(3);
    let granted = token(&json!({ "sub": "ann", "channel": "$p", "exp": exp }));
    let begun = peer.ask(&json!({ "id": 2, "subscribe": { "channel": "$p", "token": granted } }));
    assert_eq!(begun["subscribe"]["expires"], true, "{begun}");
    let told = peer.next();
    assert_eq!(told["push"]["channel"], "$p", "{told}");
    assert_eq!(told["push"]["unsubscribe"]["code"], 2501, "{told}");
    let again = peer.refused(&json!({ "id": 3, "publish": { "channel": "$p", "data": 1 } }));
    assert_eq!(again, 103, "it is a subscriber no more");
}

#[test]
fn several_commands_come_and_go_in_one_frame() {
    let chat = Chat::start("batch", &with_secret(OPEN));
    let mut peer = chat.open();
    let token = token(&json!({ "sub": "ann" }));
    let connect = json!({ "id": 1, "connect": { "token": token } });
    peer.client.text(&format!(
        "{connect}\n{}\n\n{}\n",
        json!({ "id": 2, "ping": {} }),
        json!({ "id": 3, "presence": { "channel": "quiet:a" } })
    ));
    let frame = peer.client.expect_text();
    let ids: Vec<_> = frame
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].clone())
        .collect();
    assert_eq!(ids, [1, 2, 3], "{frame}");
}

#[test]
fn what_is_asked_along_with_a_refused_connect_is_passed_over() {
    let chat = Chat::start("along", &with_secret(OPEN));
    let mut peer = chat.open();
    let token = token(&json!({ "sub": "ann", "exp": 1 }));
    let connect = json!({ "id": 1, "connect": { "token": token } });
    let subscribe = json!({ "id": 2, "subscribe": { "channel": "a" } });
    peer.client.text(&format!("{connect}\n{subscribe}"));
    let reply: Value = serde_json::from_str(&peer.client.expect_text()).expect("JSON");
    assert_eq!(
        (&reply["id"], &reply["error"]["code"]),
        (&json!(1), &json!(109))
    );
    // Nothing but that, and an end that lets it come back.
    peer.client.close_and_wait();
}

#[test]
fn an_epoch_that_was_never_known_is_a_wish_for_all_that_is_kept() {
    let chat = Chat::start("epoch", &with_secret(OPEN));
    let mut peer = connected(&chat, "ann");
    peer.ask(&json!({ "id": 2, "subscribe": { "channel": "a" } }));
    for n in 1..=3 {
        peer.ask(&json!({ "id": 2 + n, "publish": { "channel": "a", "data": n } }));
    }
    let mut later = connected(&chat, "bob");
    let mut recover = |epoch: &str, offset: u64| {
        let wish = json!({ "channel": "a", "recover": true, "epoch": epoch, "offset": offset });
        let reply = later.ask(&json!({ "id": 2, "subscribe": wish }));
        later.ask(&json!({ "id": 3, "unsubscribe": { "channel": "a" } }));
        let begun = &reply["subscribe"];
        let none = Vec::new();
        let publications = begun["publications"].as_array().unwrap_or(&none);
        let data: Vec<u64> = publications
            .iter()
            .map(|one| one["data"].as_u64().expect("a number"))
            .collect();
        assert_eq!(
            (&begun["offset"], &begun["was_recovering"]),
            (&json!(3), &json!(true))
        );
        (
            begun["recovered"] == true,
            data,
            begun["epoch"].as_str().expect("an epoch").to_owned(),
        )
    };
    let (recovered, data, epoch) = recover("", 0);
    assert_eq!((recovered, data), (true, vec![1, 2, 3]));
    assert_eq!(recover(&epoch, 1), (true, vec![2, 3], epoch.clone()));
    assert_eq!(recover(&epoch, 3), (true, vec![], epoch.clone()));
    assert_eq!(recover("", 2), (true, vec![3], epoch.clone()));
    for (other, offset) in [("0", 1), ("none of ours", 1), (&*epoch, 4), ("", 9)] {
        assert_eq!(
            recover(other, offset),
            (false, vec![], epoch.clone()),
            "{other} {offset}"
        );
    }
}

#[test]
fn the_metrics_count_what_the_chat_did() {
    let chat = Chat::start("metrics", &with_secret(OPEN));
    let mut peer = connected(&chat, "ann");
    let mut other = connected(&chat, "bob");
    for peer in [&mut peer, &mut other] {
        let reply = peer.ask(&json!({ "id": 2, "subscribe": { "channel": "room" } }));
        assert!(reply["subscribe"].is_object(), "{reply}");
    }
    let publish = json!({ "id": 3, "publish": { "channel": "room", "data": 7 } });
    assert!(peer.ask(&publish)["publish"].is_object());
    for peer in [&mut peer, &mut other] {
        while peer.next()["push"]["pub"]["data"] != json!(7) {}
    }
    let lost = json!({ "channel": "room", "recover": true, "epoch": "nobody's", "offset": 1 });
    other.ask(&json!({ "id": 4, "unsubscribe": { "channel": "room" } }));
    other.ask(&json!({ "id": 5, "subscribe": lost }));
    let metrics = chat.serving.metrics();
    for (name, value) in [
        ("hioload_chat_clients", 2),
        ("hioload_chat_users", 2),
        ("hioload_chat_subscriptions", 2),
        ("hioload_chat_publications_total", 1),
        ("hioload_chat_deliveries_total", 2),
        ("hioload_chat_recoveries_total{recovered=\"true\"}", 0),
        ("hioload_chat_recoveries_total{recovered=\"false\"}", 1),
        ("hioload_chat_commands_total{command=\"connect\"}", 2),
        ("hioload_chat_commands_total{command=\"subscribe\"}", 3),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    drop((peer, other));
    until_equal("nobody is left", &(0, 0, 0), || {
        let of = |name| chat.serving.metric(name);
        (
            of("hioload_chat_clients"),
            of("hioload_chat_users"),
            of("hioload_chat_subscriptions"),
        )
    });
}

/// The connect command is answered when the server's subscriptions have begun,
/// some of them on other shards; those that the client makes itself may begin
/// before that, and have their publications.
#[test]
fn what_is_subscribed_along_with_connect_has_no_gap() {
    let chat = Chat::start(
        "along",
        &with_secret(
            "[channel]\nhistory_size = 1000\nhistory_ttl = '1m'\n\
             allow_subscribe = 'user'\nallow_publish = 'anyone'\n",
        ),
    );
    let mut publisher = connected(&chat, "publisher");
    let channels: Vec<_> = (0..20).map(|n| format!("s{n}")).collect();
    let token = token(&json!({ "sub": "ann", "channels": channels }));
    for n in 0..60_u32 {
        let connect = json!({ "id": 1, "connect": { "token": token } });
        let subscribe = json!({ "id": 2, "subscribe": { "channel": format!("news{n}") } });
        let mut peer = chat.open();
        peer.client.text(&format!("{connect}\n{subscribe}"));
        let publish = |n: u32| json!({ "id": n, "publish": { "channel": "", "data": n } });
        let mut commands = String::new();
        for id in 2..42 {
            let mut command = publish(id);
            command["publish"]["channel"] = json!(format!("news{n}"));
            commands += &format!("{command}\n");
        }
        publisher.client.text(commands.trim_end());
        assert!(publisher.reply(&json!(41))["publish"].is_object());
        let mut expected = None;
        while expected != Some(41) {
            let next = peer.next();
            if next["subscribe"].is_object() {
                let offset = next["subscribe"]["offset"].as_u64();
                expected = Some(offset.unwrap_or(0) + 1);
            } else if next["push"]["channel"] == json!(format!("news{n}")) {
                let offset = next["push"]["pub"]["offset"].as_u64();
                assert_eq!(offset, expected, "{next}");
                expected = offset.map(|offset| offset + 1);
            }
        }
    }
}
