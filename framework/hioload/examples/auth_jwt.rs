//! Only who brings a valid token (JWT, HS256) gets a WebSocket: in the header
//! `Authorization`, or in the query, since browsers can not set headers.
//!
//! ```sh
//! JWT_SECRET=hush cargo run --release -p hioload --example auth_jwt
//! TOKEN=eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGUiOiJtZW1iZXIifQ.v1NO7JBZuGcwg444IitF3kQgI6AzmYasj8ZVNso7YOA
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/?token=$TOKEN hello
//! ```

use hioload::{App, Conn, Message, Refusal, Request, Response, Server, Upgrade};
use jsonwebtoken::{DecodingKey, Validation, decode};

struct Private {
    key: DecodingKey,
}

#[derive(Default, serde::Deserialize)]
struct Claims {
    sub: String,
    role: String,
}

fn token<'r>(request: &Request<'r>) -> Option<&'r str> {
    let header = request.header("authorization");
    let mut query = request.query().unwrap_or_default().split('&');
    let bearer = header.and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| query.find_map(|pair| pair.strip_prefix("token=")))
}

impl App for Private {
    type State = Claims;

    fn upgrade(&mut self, request: &Request<'_>, claims: &mut Claims) -> Upgrade {
        let token = token(request).unwrap_or_default();
        let Ok(valid) = decode(token, &self.key, &Validation::default()) else {
            let refusal = Response::text(401, "a valid token, please\n");
            return Upgrade::answer(refusal.header("WWW-Authenticate", "Bearer"));
        };
        *claims = valid.claims;
        match claims.role.as_str() {
            "member" => Upgrade::accept(),
            _ => Upgrade::refuse(Refusal::Forbidden),
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, claims: &mut Claims, _message: Message<'_>) {
        conn.send(&format!("you are {}", claims.sub));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let key = DecodingKey::from_secret(std::env::var("JWT_SECRET")?.as_bytes());
    Ok(Server::bind(addr).run_with(
        move |_shard| Private { key: key.clone() },
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )?)
}
