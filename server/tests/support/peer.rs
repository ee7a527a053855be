//! A server with a configuration of its own, and clients of its chat that read
//! replies one by one.

use std::path::PathBuf;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::Serving;
use super::client::Client;

pub(crate) const PATH: &str = "/connection/websocket";

/// What tokens are signed with.
pub(crate) const SECRET: &str = "a secret for the tests alone";

/// The server, which ends with its test.
pub(crate) struct Chat {
    pub(crate) serving: Serving,
    file: PathBuf,
}

impl Chat {
    /// `name` is that of the test.
    pub(crate) fn start(name: &str, toml: &str) -> Self {
        let file = std::env::temp_dir();
        let file = file.join(format!("hioload-{name}-{}.toml", std::process::id()));
        std::fs::write(&file, toml).expect("a file");
        let serving = Serving::start(&["--config", file.to_str().expect("text")]);
        Self { serving, file }
    }

    /// Its configuration.
    pub(crate) fn toml(&self) -> String {
        std::fs::read_to_string(&self.file).expect("its file")
    }

    /// Gives it another one, which it reads when it is asked to.
    pub(crate) fn rewrite(&self, toml: &str) {
        std::fs::write(&self.file, toml).expect("its file");
    }

    pub(crate) fn open(&self) -> Peer {
        Peer::of(Client::connect(self.serving.addr, PATH))
    }

    /// A client that is let in without a token.
    pub(crate) fn connected(&self) -> Peer {
        let mut peer = self.open();
        let reply = peer.ask(&json!({ "id": 1, "connect": {} }));
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        peer
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.file);
    }
}

/// A client that reads replies one by one.
pub(crate) struct Peer {
    pub(crate) client: Client,
    arrived: Vec<Value>,
}

impl Peer {
    pub(crate) fn of(client: Client) -> Self {
        let arrived = Vec::new();
        Self { client, arrived }
    }

    /// What comes next, other than pings.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            if !self.arrived.is_empty() {
                return self.arrived.remove(0);
            }
            let frame = self.client.expect_text();
            let lines = frame
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"));
            self.arrived.extend(lines.filter(|line| *line != json!({})));
        }
    }

    pub(crate) fn tell(&mut self, command: &Value) {
        self.client.text(&command.to_string());
    }

    /// The reply to a command, whatever comes before.
    pub(crate) fn ask(&mut self, command: &Value) -> Value {
        self.tell(command);
        self.reply(&command["id"])
    }

    pub(crate) fn reply(&mut self, id: &Value) -> Value {
        loop {
            let next = self.next();
            if next["id"] == *id {
                return next;
            }
        }
    }

    /// The error that a command is replied.
    pub(crate) fn refused(&mut self, command: &Value) -> u64 {
        let reply = self.ask(command);
        let code = reply["error"]["code"].as_u64();
        code.unwrap_or_else(|| panic!("{command} -> {reply}"))
    }
}

/// A token with these claims.
pub(crate) fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), claims, &key).expect("a token")
}
