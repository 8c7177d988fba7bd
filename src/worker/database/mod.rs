//! Database servers as a side of a pipeline: how they are reached, and what their errors mean.

pub mod mysql;
pub mod postgres;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::config::{read_secret, read_tls};
use super::error::{Result, reported};
use crate::rocketmq::TlsConfig;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::DatabaseConfig;

/// How long connecting may take, the handshakes included.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Silence after which a connection is probed, so that a server that is gone is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// With what a server is asked to let the worker in: the content of the mounted files.
#[derive(Clone)]
pub struct Access {
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
    /// TLS settings; none means plain TCP.
    pub tls: Option<TlsConfig>,
}

impl Access {
    /// Reads the mounted files.
    ///
    /// # Errors
    /// A file cannot be read, is empty or is not text.
    pub fn read(config: &DatabaseConfig) -> Result<Self> {
        let username = read_secret("the user name", &config.username_file)?.expose_secret().to_owned();
        let password = read_secret("the password", &config.password_file)?;
        Ok(Self { username, password, tls: config.tls.as_ref().map(read_tls).transpose()? })
    }

    /// A digest of it all, by which a change is noticed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let tls = self.tls.iter().flat_map(|tls| [&tls.ca_pem, &tls.client_certificate_pem, &tls.client_key_pem]);
        let parts = [self.username.as_bytes(), self.password.expose_secret().as_bytes()];
        for part in parts.into_iter().chain(tls.map(|part| part.as_deref().unwrap_or_default())) {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// What a failure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no connection any more: whether the last commit was done is not known.
    Lost,
    /// The server cannot do it now, or somebody has to change something there: it is tried again.
    Unavailable,
    /// A table or column is not what it was when it was looked at.
    Outdated,
    /// The server refuses a value: the record that holds it can never be written.
    Data,
}

/// Why a database did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What it asks for.
    pub kind: FailureKind,
    /// CamelCase reason, usable as a condition's reason.
    pub reason: &'static str,
    /// What happened, with the server's own words.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Failure {
    /// A failure of the server or of what it lacks.
    pub fn unavailable(reason: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unavailable, reason, message: message.into(), remedy: remedy.into() }
    }

    /// The failure as it appears in a worker's report.
    #[must_use]
    pub fn report(&self) -> ReportedError {
        reported(self.reason, self.message.clone(), self.remedy.clone())
    }
}

/// What each group of errors asks for; the codes that belong to it are each server's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Credentials,
    Privilege,
    NoDatabase,
    Busy,
    Full,
    ReadOnly,
    Outdated,
    Data,
    Other,
}

impl Cause {
    fn failure(self, message: String) -> Failure {
        use FailureKind::{Data, Outdated, Unavailable};
        let (kind, reason, remedy) = match self {
            Self::Credentials => (
                Unavailable,
                "CredentialsRefused",
                "correct user name and password in the Secret, or let the server accept them from this address",
            ),
            Self::Privilege => (Unavailable, "PermissionDenied", "grant the user what the message names"),
            Self::NoDatabase => (Unavailable, "DatabaseNotFound", "create the database, or correct server.database"),
            Self::Busy => (Unavailable, "DatabaseBusy", "nothing while it passes; otherwise look at the server's log"),
            Self::Full => (Unavailable, "DatabaseFull", "free or add space or memory at the server"),
            Self::ReadOnly => (Unavailable, "DatabaseReadOnly", "name a server that accepts writes"),
            Self::Outdated => (Outdated, "TableChanged", "create the table or column, or set createTable: true"),
            Self::Data => (Data, "RefusedByTable", "correct the sender, add a transform, or change the table"),
            Self::Other => (Unavailable, "DatabaseError", "look at the message and at the server's log"),
        };
        Failure { kind, reason, message, remedy: remedy.to_owned() }
    }
}

/// A connection that cannot be made or is gone.
fn unreachable(config: &DatabaseConfig, what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure {
        kind: FailureKind::Lost,
        reason: "DatabaseUnreachable",
        message: format!("{what} {}:{}: {error}", config.host, config.port),
        remedy: "check host, port and network policy, and that the server runs".to_owned(),
    }
}
