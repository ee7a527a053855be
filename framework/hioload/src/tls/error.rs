//! What can be wrong with certificates.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A certificate or key cannot be used. Every message names the file and what
/// to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No pair of files was given.
    #[error("TLS needs at least one certificate with its key")]
    NothingGiven,
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is damaged PEM.
    #[error("{} is not valid PEM: {cause}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A file has no certificate.
    #[error(
        "no certificate in {}; it must have the server's certificate (BEGIN CERTIFICATE), \
         followed by the intermediate ones",
        path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate is no X.509 certificate this server can present.
    #[error("the certificate in {} cannot be used: {cause}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A file has no private key.
    #[error(
        "no private key in {}; it must have one that begins with BEGIN PRIVATE KEY, \
         BEGIN EC PRIVATE KEY or BEGIN RSA PRIVATE KEY",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key is encrypted, and there is nobody to ask for its
    /// passphrase.
    #[error(
        "the private key in {} is encrypted; write a decrypted one with: \
         openssl pkey -in {} -out key.pem",
        path.display(),
        path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key is of a kind that cannot sign a handshake.
    #[error(
        "the private key in {} cannot be used: {cause}; use ECDSA P-256 or P-384, Ed25519, \
         or RSA with 2048 to 8192 bits",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// A private key is not the certificate's.
    #[error(
        "the private key in {} does not belong to the first certificate in {}; give the key the \
         certificate was issued for, and the server's own certificate before the intermediate ones",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The system trusts nobody, as far as it can be read.
    #[error(
        "the system has no trusted certificates ({cause}); install ca-certificates, set \
         SSL_CERT_FILE, or name a CA file"
    )]
    NoRoots {
        /// What was tried.
        cause: String,
    },
    /// The TLS library could not start.
    #[error("TLS cannot start: {0}")]
    Library(#[from] rustls::Error),
}
