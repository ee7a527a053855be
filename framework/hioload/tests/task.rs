//! Asynchronous handlers: what they send and receive, what ends them, and that
//! nothing of them is left.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use hioload::task::{self, Elapsed, Message, WebSocket};
use hioload::testing::{ClientId, Seen, Simulated, Simulation};
use hioload::{App, CloseCode};
use support::client::Client;
use support::{Serving, config};

const SECOND: Duration = Duration::from_secs(1);

/// One shard, and a handler that may keep what is not `Send`.
fn serve<H, F>(handler: H) -> Simulated<task::Service<H>>
where
    H: Fn(WebSocket) -> F + Clone + 'static,
    F: Future<Output = task::Result> + 'static,
{
    let simulation = Simulation::new(5).shards(1);
    let started = simulation.start(move |_| task::service(handler.clone()));
    started.expect("a configuration")
}

/// What a client sees, until it has seen so much or it is over.
fn see<A: App>(server: &mut Simulated<A>, client: ClientId, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    let met = server.run_until(20 * SECOND, |server| {
        let new = std::iter::from_fn(|| server.client(client).next());
        seen.extend(new.filter(|seen| *seen != Seen::Open));
        seen.len() >= count || matches!(seen.last(), Some(Seen::Ended(_)))
    });
    met.unwrap_or_else(|stuck| panic!("{stuck}: {seen:?}"));
    seen
}

fn text(text: &str) -> Seen {
    Seen::Text(text.into())
}

fn closed(code: u16, reason: &str) -> Seen {
    Seen::Closed(code, reason.into())
}

fn expect_nothing_left<A: App>(mut server: Simulated<A>) {
    let metrics = server.handle().metrics();
    let left = server.stop().expect("it ends");
    assert!(left.is_nothing(), "{left:?}");
    let metrics = metrics.render();
    assert!(
        metrics.contains("hioload_tasks{shard=\"0\"} 0\n"),
        "{metrics}"
    );
}

#[test]
fn messages_come_back_in_order_and_the_return_closes_with_1000() {
    let mut server = serve(|mut ws| async move {
        for _ in 0..100 {
            let message = ws.recv().await.ok_or("it ended")?;
            ws.send(message).await?;
        }
        Ok(())
    });
    let client = server.connect("/");
    (0..100).for_each(|n| server.client(client).text(&n.to_string()));
    let seen = see(&mut server, client, 101);
    for (n, seen) in seen[..100].iter().enumerate() {
        assert_eq!(*seen, text(&n.to_string()));
    }
    assert_eq!(seen[100], closed(1000, ""));
    expect_nothing_left(server);
}

#[test]
fn an_error_or_a_panic_closes_with_1011_and_the_shard_lives_on() {
    let mut server = serve(|mut ws| async move {
        match ws.recv().await {
            Some(message) if message.as_text() == Some("fail") => Err("as asked".into()),
            Some(message) if message.as_text() == Some("panic") => panic!("as asked"),
            _ => Ok(()),
        }
    });
    for cause in ["fail", "panic"] {
        let client = server.connect("/");
        server.client(client).text(cause);
        assert_eq!(
            see(&mut server, client, 1),
            [closed(1011, "internal error")]
        );
    }
    let client = server.connect("/");
    server.client(client).text("return");
    assert_eq!(see(&mut server, client, 1), [closed(1000, "")]);
    let metrics = server.handle().metrics().render();
    for counted in ["hioload_tasks_failed_total", "hioload_tasks_panicked_total"] {
        assert!(
            metrics.contains(&format!("{counted}{{shard=\"0\"}} 1\n")),
            "{metrics}"
        );
    }
    expect_nothing_left(server);
}

/// Counts itself when it is dropped.
struct Dropped(Rc<Cell<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_lost_connection_drops_its_task_where_it_waits() {
    let dropped = Rc::new(Cell::new(0));
    let (count, ended) = (Rc::clone(&dropped), Rc::new(RefCell::new(Vec::new())));
    let seen = Rc::clone(&ended);
    let mut server = serve(move |mut ws: WebSocket| {
        let (guard, seen) = (Dropped(Rc::clone(&count)), Rc::clone(&seen));
        async move {
            let _guard = guard;
            while ws.recv().await.is_some() {}
            seen.borrow_mut().push(ws.closed());
            // It does not return by itself.
            std::future::pending().await
        }
    });
    let clients: Vec<_> = (0..3).map(|_| server.connect("/")).collect();
    server.run_for(SECOND).expect("they open");
    server.client(clients[0]).reset();
    server.client(clients[1]).close(CloseCode(4000), "enough");
    server
        .run_until(10 * SECOND, |_| dropped.get() == 2)
        .expect("both are dropped");
    let codes: Vec<_> = ended
        .borrow()
        .iter()
        .flatten()
        .map(|end| end.code.0)
        .collect();
    assert!(codes.contains(&4000) && codes.contains(&1006), "{codes:?}");
    // The third is still there when the server stops.
    expect_nothing_left(server);
    assert_eq!(dropped.get(), 3);
}

#[test]
fn a_task_that_is_behind_lets_its_peer_wait_and_loses_nothing() {
    const COUNT: usize = 4000;
    let mut server = serve(|mut ws| async move {
        let mut next = 0;
        while next < COUNT {
            // Nothing is taken for a while, then a part of what is there.
            task::sleep(Duration::from_millis(10)).await;
            for _ in 0..300 {
                let Some(message) = ws.recv().await else {
                    break;
                };
                assert_eq!(message.len(), 100);
                let number = usize::from_le_bytes(message.payload()[..8].try_into()?);
                assert_eq!(number, next);
                next += 1;
                if next == COUNT {
                    break;
                }
            }
        }
        ws.send("all").await?;
        Ok(())
    });
    let client = server.connect("/");
    for n in 0..COUNT {
        let mut message = [0; 100];
        message[..8].copy_from_slice(&n.to_le_bytes());
        server.client(client).binary(&message);
    }
    assert_eq!(see(&mut server, client, 2), [text("all"), closed(1000, "")]);
    expect_nothing_left(server);
}

#[test]
fn sending_waits_for_a_peer_that_does_not_read() {
    const COUNT: usize = 400;
    let sent = Rc::new(Cell::new(0));
    let count = Rc::clone(&sent);
    let mut server = serve(move |mut ws: WebSocket| {
        let sent = Rc::clone(&count);
        async move {
            for _ in 0..COUNT {
                ws.send(vec![7; 10_000]).await?;
                sent.set(sent.get() + 1);
            }
            Ok(())
        }
    });
    let client = server.connect("/");
    server.client(client).read_nothing();
    server.run_for(SECOND).expect("it runs");
    let early = sent.get();
    // Half of a megabyte waits, and what the network holds.
    assert!((50..200).contains(&early), "{early} were sent at once");
    server.client(client).read_freely();
    let seen = see(&mut server, client, COUNT + 1);
    assert_eq!(seen.len(), COUNT + 1);
    assert!(
        seen[..COUNT]
            .iter()
            .all(|seen| *seen == Seen::Binary(vec![7; 10_000]))
    );
    expect_nothing_left(server);
}

#[test]
fn halves_serve_two_tasks_and_time_passes_exactly() {
    let mut server = serve(|ws| async move {
        let (mut sender, mut receiver) = ws.split();
        let ticking = task::spawn_local(async move {
            let mut ticks = task::interval(Duration::from_millis(100));
            for n in 0..3 {
                ticks.tick().await;
                sender
                    .send(format!("{n} at {}", task::now() / 1_000_000))
                    .await?;
            }
            Ok::<_, task::Closed>(sender)
        })?;
        let first = receiver.recv().await.ok_or("nothing came")?;
        let mut sender = ticking.await??;
        sender.send(first).await?;
        let late = task::timeout(SECOND, receiver.recv()).await;
        sender
            .send(if late == Err(Elapsed) {
                "too late"
            } else {
                "in time"
            })
            .await?;
        Ok(())
    });
    let client = server.connect("/");
    server.client(client).text("hello");
    let seen = see(&mut server, client, 6);
    let at = |n: usize| match &seen[n] {
        Seen::Text(said) => said
            .split(' ')
            .next_back()
            .and_then(|at| at.parse::<u64>().ok()),
        _ => None,
    };
    let times: Vec<u64> = (0..3).filter_map(at).collect();
    assert_eq!(times[1] - times[0], 100, "{seen:?}");
    assert_eq!(times[2] - times[1], 100, "{seen:?}");
    assert_eq!(
        seen[3..],
        [text("hello"), text("too late"), closed(1000, "")]
    );
    expect_nothing_left(server);
}

/// Fifty messages come in order to a handler that gives up a receive every
/// millisecond, and says whether it has done so often.
fn expect_no_message_lost<H, F>(handler: H)
where
    H: Fn(WebSocket) -> F + Clone + 'static,
    F: Future<Output = task::Result> + 'static,
{
    let mut server = serve(handler);
    let client = server.connect("/");
    for n in 0..50 {
        server.client(client).text(&n.to_string());
        server.run_for(Duration::from_millis(3)).expect("it runs");
    }
    assert_eq!(see(&mut server, client, 2)[0], text("often"));
    expect_nothing_left(server);
}

#[test]
fn a_receive_that_tokio_selects_away_takes_no_message() {
    expect_no_message_lost(|mut ws| async move {
        let (mut cancelled, mut next) = (0, 0);
        while next < 50 {
            tokio::select! {
                () = task::sleep(Duration::from_millis(1)) => cancelled += 1,
                message = ws.recv() => {
                    assert_eq!(message, Some(Message::from(next.to_string())));
                    next += 1;
                }
            }
        }
        let said = if cancelled > 20 { "often" } else { "seldom" };
        Ok(ws.send(said).await?)
    });
}

#[test]
fn a_receive_that_futures_selects_away_takes_no_message() {
    expect_no_message_lost(|mut ws| async move {
        let (mut cancelled, mut next) = (0, 0);
        while next < 50 {
            let mut late = pin!(task::sleep(Duration::from_millis(1)).fuse());
            let mut received = pin!(ws.recv().fuse());
            futures_util::select! {
                () = late => cancelled += 1,
                message = received => {
                    assert_eq!(message, Some(Message::from(next.to_string())));
                    next += 1;
                }
            }
        }
        let said = if cancelled > 20 { "often" } else { "seldom" };
        Ok(ws.send(said).await?)
    });
}

#[test]
fn hubs_and_everything_of_a_connection_are_at_hand() {
    let mut server = serve(|mut ws| async move {
        assert!(ws.subscribe("room").await?.is_subscribed());
        ws.send("subscribed").await?;
        while let Some(message) = ws.recv().await {
            ws.publish("room", message).await?;
        }
        assert!(ws.publish("room", "late").await.is_err());
        Ok(())
    });
    let one = server.connect("/");
    let two = server.connect("/");
    assert_eq!(see(&mut server, one, 1), [text("subscribed")]);
    assert_eq!(see(&mut server, two, 1), [text("subscribed")]);
    server.client(one).text("to the others");
    assert_eq!(see(&mut server, two, 1), [text("to the others")]);
    server.client(one).close(CloseCode::NORMAL, "");
    server.run_for(SECOND).expect("it runs");
    expect_nothing_left(server);
}

#[test]
fn spawned_tasks_are_bounded_and_aborted() {
    let dropped = Rc::new(Cell::new(0));
    let count = Rc::clone(&dropped);
    let mut server = serve(move |mut ws: WebSocket| {
        let dropped = Rc::clone(&count);
        async move {
            let mut handles = Vec::new();
            while let Ok(handle) = task::spawn_local(std::future::pending::<()>()) {
                handles.push(handle);
            }
            assert_eq!(handles.len(), 65_536);
            let last = handles.pop().ok_or("one at least")?;
            last.abort();
            assert_eq!(last.await, Err(task::Aborted));
            let guard = Dropped(dropped);
            let kept = task::spawn_local(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            });
            drop(kept?);
            handles.iter().for_each(task::JoinHandle::abort);
            ws.send("done").await?;
            Ok(())
        }
    });
    let client = server.connect("/");
    assert_eq!(
        see(&mut server, client, 2),
        [text("done"), closed(1000, "")]
    );
    assert_eq!(dropped.get(), 0, "it outlives who spawned it");
    let left = server.stop().expect("it ends");
    assert!(left.is_nothing(), "{left:?}");
    assert_eq!(dropped.get(), 1, "and ends with its shard");
}

#[test]
fn other_threads_wake_a_task_however_often() {
    let handler = |mut ws: WebSocket| async move {
        let done = Arc::new(AtomicUsize::new(0));
        let mut started = false;
        poll_fn(|cx| {
            if !std::mem::replace(&mut started, true) {
                for _ in 0..4 {
                    let (waker, done) = (cx.waker().clone(), Arc::clone(&done));
                    std::thread::spawn(move || {
                        (0..10_000).for_each(|_| waker.wake_by_ref());
                        done.fetch_add(1, Ordering::SeqCst);
                        waker.wake();
                    });
                }
            }
            match done.load(Ordering::SeqCst) {
                4 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        ws.send("woken").await?;
        Ok(())
    };
    let serving = Serving::start(config(), move |_| task::service(handler));
    let mut clients: Vec<_> = (0..4)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    for client in &mut clients {
        assert_eq!(client.expect_text(), "woken");
    }
    clients.into_iter().for_each(Client::close_and_wait);
    serving.stop();
}

#[test]
fn offloaded_work_is_awaited_and_given_up_with_its_task() {
    let dropped = Rc::new(Cell::new(0));
    let count = Rc::clone(&dropped);
    let mut server = serve(move |mut ws: WebSocket| {
        let dropped = Rc::clone(&count);
        async move {
            let sum = task::offload(|_| (0..100_u64).sum::<u64>()).await?;
            ws.send(sum.to_string()).await?;
            let panicked = task::offload(|_| -> u64 { panic!("as asked") }).await;
            ws.send(format!("{panicked:?}")).await?;
            // Given up: the receive comes first.
            let work = task::offload(|_| 7_u64);
            let first = tokio::select! {
                biased;
                message = ws.recv() => message.ok_or("it ended")?,
                result = work => format!("{result:?}").into(),
            };
            ws.send(first).await?;
            let _guard = Dropped(dropped);
            while task::offload(|_| ()).await.is_ok() {}
            Ok(())
        }
    });
    let client = server.connect("/");
    server.client(client).text("first");
    let seen = see(&mut server, client, 3);
    assert_eq!(seen[0], text("4950"));
    let panicked = r#"Err(Panicked { message: "as asked" })"#;
    assert_eq!(seen[1], text(panicked));
    assert_eq!(seen[2], text("first"));
    expect_nothing_left(server);
    assert_eq!(dropped.get(), 1);
}
