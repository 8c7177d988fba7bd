//! Reads what the operator mounted: the configuration file, and the credential, token and certificate files it names.
//!
//! The kubelet replaces mounted files by swapping a symbolic link, so files are read again every [`POLL`] and compared by
//! content. A file that vanished or became empty changes nothing that runs: the values read before stay in use.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
pub use super::rotation::watch;
use super::tls;
use crate::rocketmq::{ClientConfig, Credentials, TlsConfig};
use crate::worker_config::connection::{ClusterConfig, CredentialFiles, TlsFiles};
use crate::worker_config::{Identity, WorkerConfig};

/// Time between two looks at the mounted files.
pub const POLL: Duration = Duration::from_secs(2);

/// Reads the configuration file at `path`.
///
/// # Errors
/// The file cannot be read, is not JSON of this version, or has an unknown field.
pub fn load(path: &Path) -> Result<WorkerConfig> {
    let text = fs::read_to_string(path).map_err(|source| Error::ReadConfig { path: path.to_owned(), source })?;
    WorkerConfig::from_json(&text).map_err(|source| Error::ParseConfig { path: path.to_owned(), source })
}

/// Builds the client's configuration, reading every file that `cluster` names.
///
/// # Errors
/// A file cannot be read, or a credential file is empty or not text.
pub fn client_config(cluster: &ClusterConfig, identity: &Identity) -> Result<ClientConfig> {
    let mut config = ClientConfig::new(cluster.name_servers.clone());
    config.name_server_domain.clone_from(&cluster.name_server_domain);
    config.namespace.clone_from(&cluster.instance_id);
    config.credentials = read_credentials(cluster)?;
    config.tls = cluster.tls.as_ref().map(read_tls).transpose()?;
    config.broker_addresses.clone_from(&cluster.broker_addresses);
    // Two clients of one group need two names, also when they run on one host (`dev`) or with one process id (pods).
    let started = jiff::Timestamp::now().as_nanosecond();
    config.instance_name = format!("{}.{}-{started:x}", identity.namespace, identity.name);
    Ok(config)
}

/// Reads the credentials of a cluster; none when it has no access control.
///
/// # Errors
/// A file cannot be read, is empty or is not text.
pub fn read_credentials(cluster: &ClusterConfig) -> Result<Option<Credentials>> {
    let Some(CredentialFiles { access_key, secret_key, security_token }) = &cluster.credentials else {
        return Ok(None);
    };
    let access_key = read_secret("the access key", access_key)?.expose_secret().to_owned();
    let secret_key = read_secret("the secret key", secret_key)?;
    let security_token = security_token.as_ref().map(|path| read_secret("the security token", path)).transpose()?;
    Ok(Some(Credentials { access_key, secret_key, security_token }))
}

/// Reads the PEM files of TLS settings.
///
/// # Errors
/// A file cannot be read.
pub fn read_tls(files: &TlsFiles) -> Result<TlsConfig> {
    let read = |what, path: &Option<String>| path.as_ref().map(|path| read_file(what, path)).transpose();
    Ok(TlsConfig {
        ca_pem: read("the certificate authorities", &files.ca)?,
        client_certificate_pem: read("the client certificate", &files.client_certificate)?,
        client_key_pem: read("the client key", &files.client_key)?,
        server_name: files.server_name.clone(),
        insecure_skip_verify: files.insecure_skip_verify,
    })
}

/// Reads a credential; trailing line breaks are not part of it.
///
/// # Errors
/// The file cannot be read, is empty or is not text.
pub fn read_secret(what: &'static str, path: &str) -> Result<SecretString> {
    let invalid = |why| Error::InvalidSecretFile { what, path: path.to_owned(), why };
    let text = String::from_utf8(read_file(what, path)?).map_err(|_| invalid("it is not UTF-8 text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(invalid("it is empty")),
        value => Ok(SecretString::from(value)),
    }
}

/// Reads a mounted file; `what` says what it holds.
///
/// # Errors
/// The file cannot be read.
pub fn read_file(what: &'static str, path: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::ReadSecretFile { what, path: path.to_owned(), source })
}

/// A token in a mounted file, read again when it is used and [`POLL`] has passed.
pub struct TokenFile {
    what: &'static str,
    path: String,
    newest: Mutex<(Instant, SecretString)>,
}

impl TokenFile {
    /// Reads the token.
    ///
    /// # Errors
    /// The file cannot be read, is empty or is not text.
    pub fn open(path: &str) -> Result<Self> {
        Self::open_as("the token", path)
    }

    /// Reads a credential of another kind; `what` says which.
    ///
    /// # Errors
    /// The file cannot be read, is empty or is not text.
    pub fn open_as(what: &'static str, path: &str) -> Result<Self> {
        let value = read_secret(what, path)?;
        Ok(Self { what, path: path.to_owned(), newest: Mutex::new((Instant::now(), value)) })
    }

    /// The token; the one read before when the file cannot be read any more.
    #[must_use]
    pub fn get(&self) -> SecretString {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.0.elapsed() >= POLL {
            match read_secret(self.what, &self.path) {
                Ok(token) => *newest = (Instant::now(), token),
                Err(error) => {
                    tracing::warn!(%error, "keeping what was read before");
                    newest.0 = Instant::now();
                }
            }
        }
        newest.1.clone()
    }
}

/// A digest of the content of every file that `cluster` names; none while one cannot be read.
#[must_use]
pub fn fingerprint(cluster: &ClusterConfig) -> Option<[u8; 64]> {
    let credentials = credentials_digest(read_credentials(cluster).ok()?.as_ref());
    let certificates = certificates_digest(cluster).ok()?;
    <[u8; 64]>::try_from([credentials, certificates].concat()).ok()
}

/// What a look at the mounted files finds.
pub(super) enum Change {
    /// Nothing new.
    None,
    /// Other credentials than before.
    Credentials(Option<Credentials>),
    /// Other certificates than before.
    Certificates,
}

/// Digests of what was read last, so that no secret value is kept twice.
pub(super) struct Seen {
    credentials: Option<[u8; 32]>,
    certificates: Option<[u8; 32]>,
}

impl Seen {
    /// What is there now.
    pub(super) fn new(cluster: &ClusterConfig) -> Self {
        let credentials = read_credentials(cluster).ok().map(|credentials| credentials_digest(credentials.as_ref()));
        Self { credentials, certificates: certificates_digest(cluster).ok() }
    }

    /// Compares with the look before.
    pub(super) fn look_again(&mut self, cluster: &ClusterConfig) -> Result<Change> {
        let certificates = certificates_digest(cluster)?;
        if self.certificates.replace(certificates) != Some(certificates) {
            return Ok(Change::Certificates);
        }
        let credentials = read_credentials(cluster)?;
        let digest = credentials_digest(credentials.as_ref());
        let is_same = self.credentials.replace(digest) == Some(digest);
        Ok(if is_same { Change::None } else { Change::Credentials(credentials) })
    }
}

fn credentials_digest(credentials: Option<&Credentials>) -> [u8; 32] {
    let mut digest = Sha256::new();
    if let Some(Credentials { access_key, secret_key, security_token }) = credentials {
        let token = security_token.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        for part in [access_key, secret_key.expose_secret(), token] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
    }
    digest.finalize().into()
}

fn certificates_digest(cluster: &ClusterConfig) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    if let Some(files) = &cluster.tls {
        digest.update(tls::digest(files)?);
    }
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(folder: &Path) -> ClusterConfig {
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let credentials =
            CredentialFiles { access_key: path("access"), secret_key: path("secret"), security_token: None };
        ClusterConfig {
            name_servers: vec!["127.0.0.1:9876".into()],
            credentials: Some(credentials),
            tls: Some(TlsFiles { ca: Some(path("ca")), ..TlsFiles::default() }),
            ..ClusterConfig::default()
        }
    }

    #[test]
    fn notices_each_kind_of_change_once_and_survives_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let cluster = cluster(folder.path());
        for (name, text) in [("access", "user\n"), ("secret", "one\r\n"), ("ca", "pem")] {
            write(name, text);
        }
        let mut seen = Seen::new(&cluster);
        assert!(matches!(seen.look_again(&cluster), Ok(Change::None)));

        write("secret", "two");
        let Ok(Change::Credentials(Some(credentials))) = seen.look_again(&cluster) else { panic!("no change seen") };
        assert_eq!((credentials.access_key.as_str(), credentials.secret_key.expose_secret()), ("user", "two"));
        assert!(matches!(seen.look_again(&cluster), Ok(Change::None)));

        fs::remove_file(folder.path().join("secret")).unwrap();
        assert!(seen.look_again(&cluster).is_err());
        write("secret", "two\n");
        assert!(matches!(seen.look_again(&cluster), Ok(Change::None)), "a line break is not a change");

        write("ca", "another");
        assert!(matches!(seen.look_again(&cluster), Ok(Change::Certificates)));
    }

    #[test]
    fn an_empty_secret_names_the_file_and_never_its_content() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("access"), "\n").unwrap();
        let error = read_credentials(&cluster(folder.path())).unwrap_err();
        assert!(error.to_string().contains("access cannot be used as the access key: it is empty"), "{error}");
    }
}
