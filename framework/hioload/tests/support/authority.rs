//! A certificate for `localhost`, and clients that trust it.

use std::sync::Arc;

use hioload::tls::TlsConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

pub(crate) struct Authority {
    /// A server's.
    pub(crate) tls: TlsConfig,
    trust: Arc<ClientConfig>,
}

impl Authority {
    /// Its files are named after the test, and gone when it returns.
    pub(crate) fn new(test: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let name = format!("hioload-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let pair = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&pair.0, made.cert.pem()).expect("a file");
        std::fs::write(&pair.1, made.signing_key.serialize_pem()).expect("a file");
        let tls = TlsConfig::from_pem_files(&[pair]).expect("a pair");
        std::fs::remove_dir_all(folder).expect("nobody else's");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let mut trust = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Sessions kept to resume them would count as memory of the test.
        trust.resumption = Resumption::disabled();
        Self {
            tls,
            trust: Arc::new(trust),
        }
    }

    /// A client's end of a connection to that server.
    pub(crate) fn session(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::clone(&self.trust), name).expect("a session")
    }
}
