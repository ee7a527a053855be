//! Certificates from files, and the choice among them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::error::TlsError;

/// The certificates of a listener, found by name.
#[derive(Debug)]
pub(super) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    /// Names in lower case, `*.` for a wildcard, to indexes of `all` in order.
    names: HashMap<String, Vec<usize>>,
}

impl Certificates {
    pub(super) fn read(
        files: &[(PathBuf, PathBuf)],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        if files.is_empty() {
            return Err(TlsError::NothingGiven);
        }
        let mut all = Vec::with_capacity(files.len());
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (certificate, key) in files {
            let certified = read_pair(certificate, key, provider)?;
            for name in dns_names(&certified, certificate)? {
                names.entry(name).or_default().push(all.len());
            }
            all.push(Arc::new(certified));
        }
        Ok(Self { all, names })
    }

    /// The certificate for a name. A wildcard stands for exactly one label
    /// (RFC 9525 section 6.3).
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let (_, parent) = name.split_once('.').unwrap_or_default();
            let wildcard = || self.names.get(&format!("*.{parent}"));
            self.names
                .get(&name)
                .and_then(|indexes| self.usable(indexes.iter().copied(), schemes))
                .or_else(|| wildcard().and_then(|list| self.usable(list.iter().copied(), schemes)))
        });
        // A certificate the client may refuse says more than no answer.
        named
            .or_else(|| self.usable(0..self.all.len(), schemes))
            .cloned()
    }

    /// The first whose key can sign with one of the client's schemes.
    fn usable(
        &self,
        mut indexes: impl Iterator<Item = usize>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        indexes
            .find(|&index| self.all[index].key.choose_scheme(schemes).is_some())
            .map(|index| &self.all[index])
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

fn read_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(certificate)?;
    let private = provider
        .key_provider
        .load_private_key(read_key(key)?)
        .map_err(|cause| TlsError::Key {
            path: key.into(),
            cause,
        })?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            certificate: certificate.into(),
            key: key.into(),
        }),
        Err(cause) => Err(TlsError::Certificate {
            path: certificate.into(),
            cause: cause.to_string(),
        }),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|cause| TlsError::Pem {
        path: path.into(),
        cause: cause.to_string(),
    })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.into() });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|cause| match cause {
        pem::Error::NoItemsFound if is_encrypted(&bytes) => {
            TlsError::EncryptedKey { path: path.into() }
        }
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.into() },
        cause => TlsError::Pem {
            path: path.into(),
            cause: cause.to_string(),
        },
    })
}

fn is_encrypted(pem: &[u8]) -> bool {
    const LABEL: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";
    pem.windows(LABEL.len()).any(|window| window == LABEL)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.into(),
        source,
    })
}

fn dns_names(certified: &CertifiedKey, path: &Path) -> Result<Vec<String>, TlsError> {
    let unusable = |cause: String| TlsError::Certificate {
        path: path.into(),
        cause,
    };
    let leaf = certified
        .end_entity_cert()
        .map_err(|cause| unusable(cause.to_string()))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|cause| unusable(format!("{cause:?}")))?;
    Ok(leaf
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect())
}
