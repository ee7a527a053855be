//! yawc.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;

use futures_util::StreamExt as _;
use hioload_bench_peers::hub::{Hub, echo};
use hioload_bench_peers::serve::{Peer, serve};
use hioload_bench_peers::{MAX_MESSAGE, Mode, Options};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use yawc::{Frame, OpCode, WebSocket};

#[derive(Clone)]
struct Yawc {
    mode: Mode,
    options: yawc::Options,
    hub: Hub<Frame>,
}

impl Peer for Yawc {
    async fn connection<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let served = http1::Builder::new()
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| ready(self.clone().accept(request))),
            )
            .with_upgrades();
        // A connection that ends in an error has ended.
        drop(served.await);
    }
}

impl Yawc {
    fn accept(self, mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        let upgraded = WebSocket::upgrade_with_options(&mut request, self.options.clone());
        let Ok((response, upgraded)) = upgraded else {
            let mut refusal = Response::new(Empty::new());
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(refusal);
        };
        tokio::spawn(async move {
            let Ok(socket) = upgraded.await else {
                return;
            };
            let (write, read) = socket.split();
            let read =
                read.filter(|frame| ready(matches!(frame.opcode(), OpCode::Text | OpCode::Binary)));
            match self.mode {
                Mode::Echo => echo(read, write).await,
                Mode::Broadcast => self.hub.join(read, write).await,
            }
        });
        Ok(response)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let limits = yawc::Options::default().with_limits(MAX_MESSAGE, 2 * MAX_MESSAGE);
    let peer = Yawc {
        mode: options.mode,
        options: if options.deflate {
            limits.with_low_latency_compression()
        } else {
            limits.without_compression()
        },
        hub: Hub::default(),
    };
    serve(&options, peer)
}
