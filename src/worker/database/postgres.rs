//! Connections to PostgreSQL.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_rustls::TlsConnector;

use super::{Access, CONNECT_LIMIT, Cause, Failure, FailureKind, KEEPALIVE, unreachable};
use crate::rocketmq::tls;
use crate::worker_config::sync::DatabaseConfig;

/// Unanswered bytes for this long mean that the connection is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// What the server is asked for in each session, so that it notices within half a minute when the worker is gone without a
/// word. Otherwise the locks of the lost session would keep its successor out for two hours.
pub const WATCH: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
];

/// Connects; `application` is shown in the server's list of sessions. The connection ends when the client is dropped.
///
/// # Errors
/// The server cannot be reached or does not let the worker in.
pub async fn connect(config: &DatabaseConfig, access: &Access, application: &str) -> Result<Client, Failure> {
    let settings = settings(config, access, application);
    let connecting = async {
        match &access.tls {
            None => {
                let (client, connection) = settings.connect(NoTls).await.map_err(|error| refused(config, &error))?;
                tokio::spawn(async move { connection.await.unwrap_or_else(|error| ended(&error)) });
                Ok(client)
            }
            Some(tls) => {
                let invalid = |error: crate::rocketmq::Error| {
                    Failure::unavailable("InvalidTls", error.to_string(), error.remedy())
                };
                let secured = Secured {
                    connector: tls::connector(tls).map_err(invalid)?,
                    name: tls::server_name(tls, &format!("{}:{}", config.host, config.port)).map_err(invalid)?,
                };
                let (client, connection) = settings.connect(secured).await.map_err(|error| refused(config, &error))?;
                tokio::spawn(async move { connection.await.unwrap_or_else(|error| ended(&error)) });
                Ok(client)
            }
        }
    };
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(unreachable(config, "no answer in time from PostgreSQL at", &"timeout")),
    }
}

/// The settings of a connection without TLS or with it, as `access` has it.
#[must_use]
pub fn settings(config: &DatabaseConfig, access: &Access, application: &str) -> Config {
    let mut settings = Config::new();
    settings
        .host(&config.host)
        .port(config.port)
        .dbname(&config.database)
        .user(&access.username)
        .password(access.password.expose_secret())
        .application_name(application)
        .ssl_mode(if access.tls.is_some() { SslMode::Require } else { SslMode::Disable })
        .connect_timeout(CONNECT_LIMIT)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        .tcp_user_timeout(SILENCE);
    settings
}

fn ended(error: &Error) {
    tracing::info!(error = words(error), "a connection to PostgreSQL has ended");
}

/// What a failed statement means; `what` says what was tried.
#[must_use]
pub fn failure(config: &DatabaseConfig, what: &str, error: &Error) -> Failure {
    match error.as_db_error() {
        Some(said) => {
            let mut failure = cause(said.code().code()).failure(format!("{what}: {}", words(error)));
            // 57P01 to 57P03: the server ends the session.
            if said.code().code().starts_with("57P") {
                failure.kind = FailureKind::Lost;
            }
            failure
        }
        None if error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>()) => {
            unreachable(config, &format!("{what}: lost the connection to PostgreSQL at"), &words(error))
        }
        // A value that the client cannot put on the wire.
        None => Cause::Other.failure(format!("{what}: {}", words(error))),
    }
}

fn refused(config: &DatabaseConfig, error: &Error) -> Failure {
    match error.as_db_error() {
        Some(_) => failure(config, &format!("PostgreSQL at {}:{}", config.host, config.port), error),
        None => {
            let failure = unreachable(config, "failed to connect to PostgreSQL at", &words(error));
            let tls = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            match tls.filter(|error| error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())) {
                Some(error) => {
                    let explained = tls::failed(&format!("{}:{}", config.host, config.port), error);
                    Failure { reason: explained.reason(), remedy: explained.remedy(), ..failure }
                }
                None => failure,
            }
        }
    }
}

/// The server's words with what belongs to them, or the error with its causes.
fn words(error: &Error) -> String {
    let Some(said) = error.as_db_error() else {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        return format!("{error}{cause}");
    };
    let mut words = format!("{} (SQLSTATE {})", said.message(), said.code().code());
    for (name, part) in [("detail", said.detail()), ("hint", said.hint()), ("column", said.column())] {
        if let Some(part) = part {
            words.push_str(&format!("; {name}: {part}"));
        }
    }
    words
}

/// The cause by SQLSTATE.
fn cause(code: &str) -> Cause {
    match code {
        "3D000" => Cause::NoDatabase,
        "42501" => Cause::Privilege,
        "25006" => Cause::ReadOnly,
        "42P01" | "42703" | "42P10" | "0A000" | "26000" => Cause::Outdated,
        "P0001" | "21000" | "54000" => Cause::Data,
        _ => match code.get(..2) {
            Some("28") => Cause::Credentials,
            // Data exceptions, and constraints.
            Some("22" | "23" | "44") => Cause::Data,
            Some("40" | "55" | "57" | "08") => Cause::Busy,
            Some("53") => Cause::Full,
            _ => Cause::Other,
        },
    }
}

/// TLS with settings of our own.
#[derive(Clone)]
struct Secured {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<Stream> for Secured {
    type Stream = SecuredStream<Stream>;
    type TlsConnect = Self;
    type Error = io::Error;

    fn make_tls_connect(&mut self, _: &str) -> io::Result<Self> {
        Ok(self.clone())
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<Stream> for Secured {
    type Stream = SecuredStream<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<SecuredStream<Stream>>> + Send>>;

    fn connect(self, stream: Stream) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(SecuredStream) })
    }
}

struct SecuredStream<Stream>(tokio_rustls::client::TlsStream<Stream>);

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncRead for SecuredStream<Stream> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SecuredStream<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> TlsStream for SecuredStream<Stream> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_apart() {
        let kinds = ["22P02", "23505", "40P01", "53100", "28P01", "42P01", "42501", "XX000"];
        let expected = [
            Cause::Data,
            Cause::Data,
            Cause::Busy,
            Cause::Full,
            Cause::Credentials,
            Cause::Outdated,
            Cause::Privilege,
            Cause::Other,
        ];
        assert_eq!(kinds.map(cause), expected);
    }
}
