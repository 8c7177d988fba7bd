//! Connections to MySQL and MariaDB.

use std::time::Duration;

use mysql_async::{ClientIdentity, Conn, Error, Opts, OptsBuilder, SslOpts};
use secrecy::ExposeSecret;

use super::{Access, CONNECT_LIMIT, Cause, Failure, FailureKind, KEEPALIVE, unreachable};
use crate::rocketmq::TlsConfig;
use crate::worker_config::sync::DatabaseConfig;

/// What is said first in each session: values that do not fit are refused and not bent, times are UTC, a transaction sees
/// what others have committed before each statement, its statements take no more locks than the rows that they name, and the
/// server ends it when nothing was asked for a minute.
const FIRST_WORDS: [&str; 5] = [
    "SET NAMES utf8mb4",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION wait_timeout = 60",
];

/// Rest after which a session is not used any more: the server ends it soon. It is told to, because locks of a session whose
/// worker is gone without a word would otherwise keep the successor out for hours.
pub const REST: Duration = Duration::from_secs(40);

/// Connects, and prepares the session.
///
/// # Errors
/// The server cannot be reached or does not let the worker in.
pub async fn connect(config: &DatabaseConfig, access: &Access) -> Result<Conn, Failure> {
    connect_with(config, settings(config, access)).await
}

/// Connects with settings that are more than those of [`settings`].
///
/// # Errors
/// The server cannot be reached or does not let the worker in.
pub async fn connect_with(config: &DatabaseConfig, settings: Opts) -> Result<Conn, Failure> {
    let connecting = Conn::new(settings);
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected.map_err(|error| match error {
            Error::Server(_) => failure(config, &format!("MySQL at {}:{}", config.host, config.port), &error),
            error => unreachable(config, "failed to connect to MySQL at", &error),
        }),
        Err(_) => Err(unreachable(config, "no answer in time from MySQL at", &"timeout")),
    }
}

/// The settings of a connection.
#[must_use]
pub fn settings(config: &DatabaseConfig, access: &Access) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(&config.host)
        .tcp_port(config.port)
        .db_name(Some(&config.database))
        .user(Some(&access.username))
        .pass(Some(access.password.expose_secret()))
        .prefer_socket(false)
        .tcp_keepalive(Some(KEEPALIVE))
        .init(FIRST_WORDS.to_vec())
        .ssl_opts(access.tls.as_ref().map(tls))
        .into()
}

fn tls(tls: &TlsConfig) -> SslOpts {
    let mut options = SslOpts::default()
        .with_disable_built_in_roots(true)
        .with_danger_accept_invalid_certs(tls.insecure_skip_verify)
        .with_danger_skip_domain_validation(tls.insecure_skip_verify);
    if let Some(ca) = &tls.ca_pem {
        options = options.with_root_certs(vec![ca.clone().into()]);
    }
    if let (Some(certificate), Some(key)) = (&tls.client_certificate_pem, &tls.client_key_pem) {
        options =
            options.with_client_identity(Some(ClientIdentity::new(certificate.clone().into(), key.clone().into())));
    }
    match &tls.server_name {
        Some(name) => options.with_danger_tls_hostname_override(Some(name.clone())),
        None => options,
    }
}

/// What a failed statement means; `what` says what was tried.
#[must_use]
pub fn failure(config: &DatabaseConfig, what: &str, error: &Error) -> Failure {
    match error {
        Error::Server(said) => {
            let message = format!("{what}: {} (error {}, SQLSTATE {})", said.message, said.code, said.state);
            let failure = cause(said.code).failure(message);
            let kind = if ENDED.contains(&said.code) { FailureKind::Lost } else { failure.kind };
            Failure { kind, ..failure }
        }
        error => unreachable(config, &format!("{what}: lost the connection to MySQL at"), error),
    }
}

/// Codes with which the server ends a session: it shuts down, the session was killed, or was idle for too long.
const ENDED: [u16; 3] = [1053, 1927, 4031];

/// Code of a duplicate key.
pub const DUPLICATE: u16 = 1062;

/// The cause by error code.
fn cause(code: u16) -> Cause {
    match code {
        1045 | 1698 | 1862 | 4151 => Cause::Credentials,
        1044 | 1142 | 1143 | 1227 | 1370 => Cause::Privilege,
        1049 => Cause::NoDatabase,
        1040 | 1205 | 1213 | 1317 | 1053 | 1203 | 1226 | 3024 => Cause::Busy,
        1021 | 1041 | 1037 | 1038 | 1114 => Cause::Full,
        1290 | 1792 | 1836 => Cause::ReadOnly,
        1054 | 1146 | 1412 => Cause::Outdated,
        // Duplicates, nulls, lengths, ranges, formats, constraints, and what triggers raise.
        DUPLICATE | 1048 | 1364 | 1406 | 1264 | 1265 | 1292 | 1366 | 1411 | 1451 | 1452 | 1216 | 1217 | 1644 | 1690
        | 1300 | 3140 | 3141 | 3819 | 3988 | 4025 | 1525 | 1153 => Cause::Data,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        let expected = [Cause::Data, Cause::Busy, Cause::Credentials, Cause::Outdated, Cause::Full, Cause::Other];
        assert_eq!([1062, 1213, 1045, 1146, 1114, 9999].map(cause), expected);
    }
}
