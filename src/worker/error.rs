//! Errors of the data plane. Each has a [`reason`](Error::reason) for conditions and metrics and a [`remedy`](Error::remedy).

use std::io;
use std::path::PathBuf;

use crate::rocketmq;
use crate::worker_config::report::ReportedError;

/// Result of the data plane.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a worker cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be read.
    #[error("failed to read the worker configuration {}: {source}", path.display())]
    ReadConfig {
        /// Path as given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The configuration is not one of this version.
    #[error("failed to parse the worker configuration {}: {source}", path.display())]
    ParseConfig {
        /// Path as given.
        path: PathBuf,
        /// Where and what is wrong.
        source: serde_json::Error,
    },
    /// A field of the configuration holds what cannot be used.
    #[error("{field}: {value:?} cannot be used: {why}")]
    InvalidConfig {
        /// Path of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// A mounted credential, token or certificate file cannot be read.
    #[error("failed to read {what} from {path}: {source}")]
    ReadSecretFile {
        /// What the file holds, for instance `the access key`.
        what: &'static str,
        /// Its path.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A mounted credential or token file is empty or not text.
    #[error("{path} cannot be used as {what}: {why}")]
    InvalidSecretFile {
        /// What the file should hold.
        what: &'static str,
        /// Its path.
        path: String,
        /// What is wrong; never the content.
        why: &'static str,
    },
    /// A port cannot be listened on.
    #[error("failed to listen on {address} for {what}: {source}")]
    Listen {
        /// Which server.
        what: &'static str,
        /// `host:port`.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A server stopped by itself.
    #[error("the {what} server failed: {source}")]
    Serve {
        /// Which server.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The RocketMQ client failed.
    #[error("{what}: {source}")]
    RocketMq {
        /// What was tried, for instance `failed to start the consumer`.
        what: &'static str,
        /// What came back.
        source: rocketmq::Error,
    },
    /// The certificates of the system cannot be loaded for an `https` app.
    #[error("failed to load the system's certificate authorities for the app: {0}")]
    LoadCertificates(#[source] io::Error),
}

impl Error {
    /// CamelCase reason, usable as a condition's reason and as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ReadConfig { .. } | Self::ParseConfig { .. } | Self::InvalidConfig { .. } => "InvalidWorkerConfig",
            Self::ReadSecretFile { .. } | Self::InvalidSecretFile { .. } => "InvalidSecretFile",
            Self::Listen { .. } | Self::Serve { .. } => "ListenFailed",
            Self::RocketMq { source, .. } => source.reason(),
            Self::LoadCertificates(_) => "NoCertificateAuthorities",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::ReadConfig { .. } => "check --config and the ConfigMap that is mounted there".to_owned(),
            Self::ParseConfig { .. } | Self::InvalidConfig { .. } => {
                "run operator and worker from the same image; the operator writes this file".to_owned()
            }
            Self::ReadSecretFile { .. } | Self::InvalidSecretFile { .. } => {
                "check that the Secret exists in the namespace and that its key holds the value".to_owned()
            }
            Self::Listen { .. } => "choose a free port, or end the process that holds it".to_owned(),
            Self::Serve { .. } => "look at the worker's log; the pod restarts by itself".to_owned(),
            Self::RocketMq { source, .. } => source.remedy(),
            Self::LoadCertificates(_) => "mount a bundle and name it in SSL_CERT_FILE, or use an http URL".to_owned(),
        }
    }

    /// The error as it appears in a worker's report.
    #[must_use]
    pub fn report(&self) -> ReportedError {
        reported(self.reason(), self.to_string(), self.remedy())
    }
}

/// A RocketMQ error as it appears in a worker's report; `what` says what was tried.
#[must_use]
pub fn rocketmq_report(what: &str, error: &rocketmq::Error) -> ReportedError {
    reported(error.reason(), format!("{what}: {error}"), error.remedy())
}

/// A reported error with the present time.
#[must_use]
pub fn reported(reason: &str, message: impl Into<String>, remedy: impl Into<String>) -> ReportedError {
    let at_millis = jiff::Timestamp::now().as_millisecond();
    ReportedError { at_millis, reason: reason.to_owned(), message: message.into(), remedy: remedy.into() }
}
