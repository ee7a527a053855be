//! A client and a server that talk through a wire cut anywhere.

use hioload_protocol::{CloseCode, Kind};
use proptest::prelude::*;

use crate::endpoint::{Endpoint, Seen};

/// Something that one side sends.
#[derive(Clone, Debug)]
enum Action {
    Text(String),
    Binary(Vec<u8>),
    /// A message in fragments of these sizes (repeated), with a ping after
    /// each fragment but the last if so chosen.
    Fragments {
        kind: Kind,
        bytes: Vec<u8>,
        sizes: Vec<usize>,
        pings: bool,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

impl Action {
    /// Sends it and says what the peer is to see.
    fn perform(&self, by: &mut Endpoint) -> Vec<Seen> {
        let Endpoint {
            connection,
            resources,
            out,
            ..
        } = by;
        match self {
            Self::Text(text) => {
                connection
                    .send(Kind::Text, text.as_bytes(), resources, out)
                    .unwrap();
                vec![Seen::Text(text.clone())]
            }
            Self::Binary(bytes) => {
                connection
                    .send(Kind::Binary, bytes, resources, out)
                    .unwrap();
                vec![Seen::Binary(bytes.clone())]
            }
            Self::Fragments {
                kind,
                bytes,
                sizes,
                pings,
            } => {
                let (mut rest, mut first, mut expected) = (&bytes[..], true, Vec::new());
                for size in sizes.iter().cycle() {
                    let (piece, after) = rest.split_at((*size).min(rest.len()));
                    rest = after;
                    let fin = rest.is_empty();
                    connection
                        .send_fragment(*kind, piece, first, fin, resources, out)
                        .unwrap();
                    first = false;
                    if fin {
                        break;
                    }
                    if *pings {
                        connection.ping(b"between", resources, out).unwrap();
                        expected.push(Seen::Ping(b"between".to_vec()));
                    }
                }
                expected.push(match kind {
                    Kind::Text => Seen::Text(String::from_utf8(bytes.clone()).unwrap()),
                    Kind::Binary => Seen::Binary(bytes.clone()),
                });
                expected
            }
            Self::Ping(bytes) => {
                connection.ping(bytes, resources, out).unwrap();
                vec![Seen::Ping(bytes.clone())]
            }
            Self::Pong(bytes) => {
                connection.pong(bytes, resources, out).unwrap();
                vec![Seen::Pong(bytes.clone())]
            }
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    // Sizes of zero are empty fragments; a last one of at least 1 ends the message.
    let sizes =
        (proptest::collection::vec(0usize..60, 0..4), 1usize..300).prop_map(|(mut sizes, last)| {
            sizes.push(last);
            sizes
        });
    let content = prop_oneof![
        "\\PC{0,80}".prop_map(|text| (Kind::Text, text.into_bytes())),
        bytes(400).prop_map(|bytes| (Kind::Binary, bytes)),
    ];
    prop_oneof![
        "\\PC{0,100}".prop_map(Action::Text),
        bytes(300).prop_map(Action::Binary),
        (65_000usize..66_000).prop_map(|len| Action::Binary(vec![0x5A; len])),
        (content, sizes, any::<bool>()).prop_map(|((kind, bytes), sizes, pings)| {
            Action::Fragments {
                kind,
                bytes,
                sizes,
                pings,
            }
        }),
        bytes(126).prop_map(Action::Ping),
        bytes(126).prop_map(Action::Pong),
    ]
}

/// The pongs that answer the pings among `seen`.
fn pongs(seen: &[Seen]) -> Vec<Seen> {
    let ping = |seen: &Seen| match seen {
        Seen::Ping(bytes) => Some(Seen::Pong(bytes.clone())),
        _ => None,
    };
    seen.iter().filter_map(ping).collect()
}

fn exchange(from: &mut Endpoint, to: &mut Endpoint, actions: &[Action], reads: &[usize]) {
    let expected: Vec<Seen> = actions
        .iter()
        .flat_map(|action| action.perform(from))
        .collect();
    let seen = to.read_in_pieces(&from.take_out(), reads);
    assert_eq!(seen, expected);
    let answers = from.read_in_pieces(&to.take_out(), reads);
    assert_eq!(answers, pongs(&expected));
    assert!(from.out.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_one_side_sends_the_other_sees_however_it_is_fragmented_and_cut(
        to_server in proptest::collection::vec(action(), 0..8),
        to_client in proptest::collection::vec(action(), 0..8),
        reads in proptest::collection::vec(
            prop_oneof![1usize..20, 20usize..2000, Just(100_000)], 1..10),
    ) {
        let (mut client, mut server) = (Endpoint::client(), Endpoint::server());
        exchange(&mut client, &mut server, &to_server, &reads);
        exchange(&mut server, &mut client, &to_client, &reads);
        prop_assert!(client.connection.is_open() && server.connection.is_open());
    }
}

#[test]
fn a_script_reads_the_same_at_every_pair_of_split_points() {
    let script = [
        Action::Text("κόσμε".into()),
        Action::Fragments {
            kind: Kind::Text,
            bytes: "añ😀b".as_bytes().to_vec(),
            sizes: vec![2, 0, 3],
            pings: true,
        },
        Action::Binary(vec![7; 130]),
        Action::Ping(b"p".to_vec()),
        Action::Text(String::new()),
    ];
    let mut client = Endpoint::client();
    let mut expected: Vec<Seen> = script
        .iter()
        .flat_map(|action| action.perform(&mut client))
        .collect();
    let Endpoint {
        connection,
        resources,
        out,
        ..
    } = &mut client;
    connection.close(CloseCode::NORMAL, "done", resources, out);
    expected.push(Seen::Closed(CloseCode::NORMAL, "done".into(), true));
    let wire = client.take_out();

    let mut answers = None;
    for first in 0..=wire.len() {
        for second in first..=wire.len() {
            let mut server = Endpoint::server();
            let mut seen = server.read(&wire[..first]);
            seen.extend(server.read(&wire[first..second]));
            seen.extend(server.read(&wire[second..]));
            assert_eq!(seen, expected, "split at {first} and {second}");
            let answers = answers.get_or_insert_with(|| server.out.clone());
            assert_eq!(*answers, server.out, "split at {first} and {second}");
        }
    }
}
