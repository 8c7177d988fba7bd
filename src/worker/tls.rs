//! TLS to servers other than RocketMQ's: HTTP endpoints and databases.

use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

use super::config::{read_file, read_tls};
use super::error::{Error, Result};
use crate::rocketmq::{TlsConfig, tls};
use crate::worker_config::connection::TlsFiles;

/// Settings of a TLS client. Without `tls.ca` the certificate authorities of the worker image are trusted.
///
/// # Errors
/// A file cannot be read or holds no PEM that can be used, or the image has no certificate authorities.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig> {
    let settings = read_tls(files)?;
    let needs_system = settings.ca_pem.is_none() && !settings.insecure_skip_verify;
    let system = needs_system.then(system_roots).transpose()?;
    tls::client_config(&settings, system).map_err(|source| Error::RocketMq { what: "failed to prepare TLS", source })
}

/// Settings of a client that never looks at a certificate, because it speaks no TLS.
///
/// # Errors
/// None that is known: the crypto provider has safe protocol versions.
pub fn without_authorities() -> Result<ClientConfig> {
    tls::client_config(&TlsConfig::default(), Some(RootCertStore::empty()))
        .map_err(|source| Error::RocketMq { what: "failed to prepare TLS", source })
}

/// A digest of the certificate files, by which a change of them is seen.
///
/// # Errors
/// A file cannot be read.
pub fn digest(files: &TlsFiles) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    for path in [&files.ca, &files.client_certificate, &files.client_key].into_iter().flatten() {
        let content = read_file("a certificate", path)?;
        digest.update(content.len().to_le_bytes());
        digest.update(content);
    }
    Ok(digest.finalize().into())
}

/// The certificate authorities of the worker image, or those that `SSL_CERT_FILE` names.
fn system_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first().map_or_else(|| "none were found".to_owned(), ToString::to_string);
        return Err(Error::LoadCertificates(std::io::Error::other(why)));
    }
    Ok(roots)
}
