//! Connections to an HTTP server, which follow the certificate files of their settings.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;

use super::config::POLL;
use super::error::{Error, Result};
use super::tls;
use crate::rocketmq::socket;
use crate::worker_config::connection::TlsFiles;

/// A client that sends bodies which are in memory.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An idle connection is closed before the endpoint closes it: 2 s is the shortest common keep-alive (gunicorn).
const IDLE: Duration = Duration::from_millis(1_500);
/// Longest time to open a connection; the time limit of a request covers the rest.
const CONNECT: Duration = Duration::from_secs(5);

/// A client of one endpoint.
pub struct Endpoint {
    /// None for http, where no certificate is ever looked at.
    tls: Option<TlsFiles>,
    client: HttpClient,
    seen: Option<[u8; 32]>,
    looked_at: Instant,
}

impl Endpoint {
    /// Prepares a client for a URL; dials nothing.
    ///
    /// # Errors
    /// A certificate file cannot be used, or the image has no certificate authorities, which https needs.
    pub fn open(url: &str, tls: Option<&TlsFiles>) -> Result<Self> {
        let is_https = url.to_ascii_lowercase().starts_with("https://");
        let tls = is_https.then(|| tls.cloned().unwrap_or_default());
        let seen = tls.as_ref().map(tls::digest).transpose()?;
        Ok(Self { client: client(tls.as_ref())?, tls, seen, looked_at: Instant::now() })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Takes up changed certificate files; cheap when it was asked a moment ago.
    ///
    /// # Errors
    /// They cannot be used; the client stays as it was.
    pub fn renew(&mut self) -> Result<()> {
        let Some(files) = self.tls.as_ref().filter(|_| self.looked_at.elapsed() >= POLL) else { return Ok(()) };
        self.looked_at = Instant::now();
        let seen = Some(tls::digest(files)?);
        if seen != self.seen {
            self.client = client(Some(files))?;
            self.seen = seen;
            tracing::info!("certificate files changed, the endpoint is connected to anew");
        }
        Ok(())
    }
}

fn client(files: Option<&TlsFiles>) -> Result<HttpClient> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(socket::SILENCE));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    connector.set_tcp_user_timeout(Some(socket::UNCONFIRMED));
    let settings = match files {
        Some(files) => tls::client_config(files)?,
        None => tls::without_authorities()?,
    };
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(settings).https_or_http();
    if let Some(name) = files.and_then(|files| files.server_name.clone()) {
        let parsed = ServerName::try_from(name.clone()).map_err(|error| Error::InvalidConfig {
            field: "target.tls.serverName",
            value: name,
            why: error.to_string(),
        })?;
        builder = builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(parsed));
    }
    let connector = builder.enable_http1().enable_http2().wrap_connector(connector);
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
    Ok(client.build(connector))
}

/// An error with everything that caused it.
#[must_use]
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
