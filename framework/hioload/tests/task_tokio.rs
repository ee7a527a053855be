//! Futures of the tokio world, awaited by tasks of a shard.

#![forbid(unsafe_code)]
#![cfg(feature = "tokio")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::sync::mpsc::channel;
use std::time::Duration;

use hioload::task::{self, TokioError, WebSocket};
use hioload::testing::{Seen, Simulation};
use support::client::Client;
use support::wait::PATIENCE;
use support::{Serving, config};

#[test]
fn tokio_connects_and_waits_for_a_task_and_panics_alone() {
    let handler = |mut ws: WebSocket| async move {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let connected = task::on_tokio(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            tokio::net::TcpStream::connect(addr).await?.peer_addr()
        });
        assert_eq!(connected.await??, addr);
        let lost = task::on_tokio(async { panic!("as asked") }).await;
        assert!(matches!(lost, Err(TokioError::Lost)));
        ws.send("both ended").await?;
        Ok(())
    };
    let serving = Serving::start(config(), move |_| task::service(handler));
    let mut client = Client::connect(serving.addr(), "/");
    assert_eq!(client.expect_text(), "both ended");
    client.expect_end(1000);
    serving.stop();
}

/// Says when it is dropped.
struct Tell(std::sync::mpsc::Sender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        // The test may be over.
        let _over = self.0.send(());
    }
}

#[test]
fn a_lost_connection_aborts_what_it_waits_for() {
    let (tell, told) = channel();
    let handler = move |_ws: WebSocket| {
        let tell = Tell(tell.clone());
        async move {
            let forever = async move {
                let _tell = tell;
                std::future::pending::<()>().await;
            };
            task::on_tokio(forever).await?;
            Ok(())
        }
    };
    let serving = Serving::start(config(), move |_| task::service(handler.clone()));
    let client = Client::connect(serving.addr(), "/");
    client.close_and_wait();
    told.recv_timeout(PATIENCE).expect("it is dropped");
    serving.stop();
}

#[test]
fn a_simulation_runs_tokio_within_its_own_time() {
    let handler = |mut ws: WebSocket| async move {
        let slept = task::on_tokio(async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            "an hour"
        });
        ws.send(slept.await?).await?;
        let lost = task::on_tokio(async { panic!("as asked") }).await;
        assert_eq!(lost, Err(TokioError::Lost));
        Ok(())
    };
    let mut server = Simulation::new(1)
        .start(move |_| task::service(handler))
        .expect("a configuration");
    let client = server.connect("/");
    let text = Seen::Text("an hour".into());
    server
        .run_until(Duration::from_secs(1), |server| {
            server
                .client(client)
                .next()
                .is_some_and(|seen| seen == text)
        })
        .expect("it does not wait");
    let left = server.stop().expect("it ends");
    assert!(left.is_nothing(), "{left:?}");
}
