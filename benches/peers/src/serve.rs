//! The accept loop on tokio's single-threaded runtime.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::batched::Batched;
use crate::{Options, announce};

/// The connections that may wait to be accepted: a storm opens many at once.
const BACKLOG: u32 = 4096;

/// A server library.
pub trait Peer: Clone + Send + 'static {
    /// Serves one connection to its end.
    fn connection<S>(self, stream: S) -> impl Future<Output = ()> + Send + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// Serves for ever.
///
/// # Errors
/// When it cannot listen, or the certificate cannot be used.
pub fn serve<P: Peer>(options: &Options, peer: P) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tls = match &options.tls {
        None => None,
        Some((certificate, key)) => Some(acceptor(certificate, key)?),
    };
    runtime.block_on(async move {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(options.listen)?;
        let listener: TcpListener = socket.listen(BACKLOG)?;
        announce(listener.local_addr()?);
        loop {
            // One connection's failure is not the server's; without descriptors
            // the others go on, and close.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            // It fails where the connection has ended already, as it will tell.
            drop(stream.set_nodelay(true));
            tokio::spawn(connection(
                stream,
                peer.clone(),
                tls.clone(),
                options.batched,
            ));
        }
    })
}

async fn connection<P: Peer>(stream: TcpStream, peer: P, tls: Option<TlsAcceptor>, batched: bool) {
    match (tls, batched) {
        (None, false) => peer.connection(stream).await,
        (None, true) => peer.connection(Batched::new(stream)).await,
        (Some(tls), batched) => {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            if batched {
                peer.connection(Batched::new(stream)).await;
            } else {
                peer.connection(stream).await;
            }
        }
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
