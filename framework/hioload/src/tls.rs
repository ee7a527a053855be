//! TLS: certificates, and what a listener offers with them.
//!
//! ```no_run
//! use hioload::tls::TlsConfig;
//! use hioload::{Echo, Server};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tls = TlsConfig::from_pem_files(&[("cert.pem", "key.pem")])?;
//!     Server::default()
//!         .listen_tls("127.0.0.1:8443", tls)
//!         .run(|_shard| Echo)?;
//!     Ok(())
//! }
//! ```
//!
//! TLS 1.2 and 1.3 by rustls with ring: only forward-secret AEAD suites, no
//! renegotiation, no early data. ALPN offers `http/1.1`; a client that offers
//! only other protocols is refused. Sessions resume by stateless tickets, so
//! shards share no session table. How the bytes pass through a shard is told in
//! `ARCHITECTURE.md`.

mod certificates;
mod error;
mod failure;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};

use certificates::Certificates;
pub use error::TlsError;
pub(crate) use failure::TlsFailure;

/// The certificates of a TLS listener. Clones share them, and a
/// [`reload`](Self::reload) concerns all clones.
///
/// Several certificates are told apart by the name the client asks for (SNI),
/// matched with the names in each certificate, wildcards included; among those
/// that match, the first whose key the client can verify. A client that sends
/// no name, or one that no certificate has, gets the first certificate.
#[derive(Clone)]
pub struct TlsConfig(Arc<Shared>);

struct Shared {
    files: Vec<(PathBuf, PathBuf)>,
    /// Read once per accepted connection, written by a reload.
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsConfig {
    /// Reads pairs of PEM files: a certificate followed by its intermediates,
    /// and its private key (PKCS#8, SEC1 or PKCS#1; not encrypted).
    ///
    /// # Errors
    /// Names the file that is wrong, and what it should be.
    pub fn from_pem_files<C, K>(pairs: &[(C, K)]) -> Result<Self, TlsError>
    where
        C: AsRef<Path>,
        K: AsRef<Path>,
    {
        let files: Vec<(PathBuf, PathBuf)> = pairs
            .iter()
            .map(|(cert, key)| (cert.as_ref().into(), key.as_ref().into()))
            .collect();
        let current = RwLock::new(load(&files)?);
        Ok(Self(Arc::new(Shared { files, current })))
    }

    /// Reads the files again. Connections accepted from now on get the new
    /// certificates; open ones stay as they are, and sessions made before are
    /// not resumed.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files). All old certificates stay
    /// in use then: a reload happens as a whole or not at all.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.replace(self.read()?);
        Ok(())
    }

    /// Reads the files, for [`replace`](Self::replace).
    pub(crate) fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        load(&self.0.files)
    }

    pub(crate) fn replace(&self, fresh: Arc<ServerConfig>) {
        *self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// The server's side of a new connection.
    pub(crate) fn accept(&self) -> Result<UnbufferedServerConnection, rustls::Error> {
        let current = self
            .0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let config = Arc::clone(&current);
        drop(current);
        UnbufferedServerConnection::new(config)
    }

    /// Whether both are clones of one configuration.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn load(files: &[(PathBuf, PathBuf)]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = Certificates::read(files, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}
