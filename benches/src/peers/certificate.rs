//! What a run keeps in files while it lasts.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder with a certificate for loopback and its key, removed at the end.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes the folder and, for servers with TLS, a certificate.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create() -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("hioload-peers.{}", std::process::id()));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .map_err(|error| format!("cannot make a certificate: {error}"))?;
        let files = Self { folder };
        let written = fs::create_dir_all(&files.folder)
            .and_then(|()| fs::write(files.certificate(), made.cert.pem()))
            .and_then(|()| fs::write(files.key(), made.signing_key.serialize_pem()));
        written.map_err(|error| format!("cannot write {}: {error}", files.folder.display()))?;
        Ok(files)
    }

    /// The certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.at("certificate.pem")
    }

    /// Its key.
    pub(crate) fn key(&self) -> PathBuf {
        self.at("key.pem")
    }

    /// A file with this name.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Nobody is left to tell.
        drop(fs::remove_dir_all(&self.folder));
    }
}
