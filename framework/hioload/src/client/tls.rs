//! Whom a `wss://` client trusts.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection, WantsClientCert};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    WantsVerifier,
};

use crate::tls::TlsError;

/// Which servers are trusted. Clones share sessions to resume.
///
/// TLS 1.2 and 1.3, as a [`TlsConfig`](crate::tls::TlsConfig) serves; ALPN asks
/// for `http/1.1`.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// Trusts what the operating system trusts.
    ///
    /// # Errors
    /// When the system's certificates cannot be found: install
    /// `ca-certificates`, or set `SSL_CERT_FILE`.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _ignored) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoRoots {
                cause: causes.join("; "),
            });
        }
        Self::trusting(roots)
    }

    /// Trusts the certificates of a PEM file, and no others.
    ///
    /// # Errors
    /// Names the file that is wrong, and what it should be.
    pub fn with_ca(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        let pem = std::fs::read(path).map_err(|source| TlsError::Read {
            path: path.into(),
            source,
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| TlsError::Pem {
                path: path.into(),
                cause: error.to_string(),
            })?;
            roots
                .add(certificate)
                .map_err(|error| TlsError::Certificate {
                    path: path.into(),
                    cause: error.to_string(),
                })?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoCertificate { path: path.into() });
        }
        Self::trusting(roots)
    }

    /// Trusts whoever answers: what is sent is encrypted, but anyone on the way
    /// may read and change it. For tests on one's own machines.
    ///
    /// # Errors
    /// When the TLS library cannot start.
    pub fn insecure() -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let anyone = Arc::new(Anyone(Arc::clone(&provider)));
        Ok(Self::finish(
            versions(provider)?
                .dangerous()
                .with_custom_certificate_verifier(anyone),
        ))
    }

    fn trusting(roots: RootCertStore) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        Ok(Self::finish(
            versions(provider)?.with_root_certificates(roots),
        ))
    }

    fn finish(builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> Self {
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Self(Arc::new(config))
    }

    /// The client's side of a new connection to a server of that name.
    pub(crate) fn connect(&self, name: &str) -> Result<UnbufferedClientConnection, String> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_invalid| format!("{name:?} is no name a certificate can have"))?;
        UnbufferedClientConnection::new(Arc::clone(&self.0), name)
            .map_err(|error| error.to_string())
    }
}

/// Servers whose sessions are kept to resume; beyond it the oldest goes.
const SESSIONS: usize = 256;

fn versions(
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider);
    Ok(builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?)
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

/// Believes every certificate, but not every signature: the server must hold
/// the key of the certificate it shows.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
