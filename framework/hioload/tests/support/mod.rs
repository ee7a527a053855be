//! What the tests share: a server that ends with its test, clients, waiting,
//! random numbers.

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod wait;

use std::net::SocketAddr;
use std::ops::Deref;

use hioload::tls::TlsConfig;
use hioload::{App, Config, Running, Server, Shard};

use client::Client;
use wait::{until, until_equal};

/// Two shards, and no timer that a test did not ask for.
pub(crate) fn config() -> Config {
    Config {
        shards: 2,
        idle_timeout: None,
        ping_interval: None,
        ..Config::default()
    }
}

/// A running server; cut off when its test fails.
pub(crate) struct Serving(Option<Running>);

impl Serving {
    pub(crate) fn start<A: App>(
        config: Config,
        app: impl Fn(&Shard) -> A + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(Server::bind("127.0.0.1:0").config(config), app)
    }

    /// A server with more than a configuration.
    pub(crate) fn start_as<A: App>(
        server: Server,
        app: impl Fn(&Shard) -> A + Send + Sync + 'static,
    ) -> Self {
        Self(Some(server.start(app).expect("the server starts")))
    }

    /// One that was started in another way.
    pub(crate) fn of(running: Running) -> Self {
        Self(Some(running))
    }

    /// A TLS address, then a plain one.
    pub(crate) fn start_tls<A: App>(
        config: Config,
        tls: &TlsConfig,
        app: impl Fn(&Shard) -> A + Send + Sync + 'static,
    ) -> Self {
        let server = Server::default()
            .listen_tls("127.0.0.1:0", tls.clone())
            .listen("127.0.0.1:0");
        let started = server.config(config).start(app);
        Self(Some(started.expect("the server starts")))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addrs()[0]
    }

    /// Clients of a path, `count` on each of two shards. The app must greet
    /// with its shard's number, see [`greeting`].
    pub(crate) fn clients_on_each_shard(&self, path: &str, count: usize) -> [Vec<Client>; 2] {
        let mut clients = [Vec::new(), Vec::new()];
        // Open until the end: where the shard with the fewest gets the next,
        // closing one would bring the next to the same shard.
        let mut surplus = Vec::new();
        // The kernel chooses the shard by a hash; far fewer tries will do.
        for _ in 0..200 + 20 * count {
            let mut client = Client::connect(self.addr(), path);
            let shard = shard(&client.expect_text());
            if clients[shard].len() < count {
                clients[shard].push(client);
            } else {
                surplus.push(client);
            }
            if clients.iter().all(|list| list.len() == count) {
                surplus.into_iter().for_each(Client::close_and_wait);
                return clients;
            }
        }
        panic!("one shard gets no connections");
    }

    /// Waits until nothing is left of any connection.
    pub(crate) fn wait_until_idle(&self) {
        let metrics = self.metrics();
        until_equal("sockets, connections, bytes, leases", &(0, 0, 0, 0), || {
            let bytes = metrics.send_bytes_pending();
            (
                metrics.sockets(),
                metrics.connections(),
                bytes,
                metrics.recv_leases(),
            )
        });
    }

    /// Waits until the counter of a backpressure action has reached `n`.
    pub(crate) fn wait_for_backpressure(&self, action: &str, n: u64) {
        let metrics = self.metrics();
        until(action, || match metrics.backpressure().get(action) {
            Some(&count) if count >= n => Ok(()),
            count => Err(count.copied()),
        });
    }

    /// Stops gracefully.
    pub(crate) fn stop(mut self) {
        let running = self.0.take().expect("running until now");
        running.stop().expect("no shard failed");
    }

    /// Stops without waiting for clients that are still there.
    pub(crate) fn cut(self) {
        self.handle().stop_now();
        self.stop();
    }

    /// Hands the server over to a test that stops it in its own way.
    pub(crate) fn into_running(mut self) -> Running {
        self.0.take().expect("running until now")
    }
}

impl Deref for Serving {
    type Target = Running;

    fn deref(&self) -> &Running {
        self.0.as_ref().expect("running until now")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.handle().stop_now();
            // The test has failed already; its own message matters.
            let _failed = running.join();
        }
    }
}

/// What an app says first to a client that wants to know its shard.
pub(crate) fn greeting(shard: usize) -> String {
    format!("shard {shard}")
}

pub(crate) fn shard(greeting: &str) -> usize {
    let number = greeting
        .strip_prefix("shard ")
        .and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{greeting:?} names no shard"))
}
