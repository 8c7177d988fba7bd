//! Connections to the endpoint, which follow its certificate files.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;

use super::super::super::config::POLL;
use super::super::super::error::{Error, Result};
use super::super::super::tls;
use super::answer::Later;
use crate::rocketmq::socket;
use crate::worker_config::connection::TlsFiles;
use crate::worker_config::sync::HttpTargetConfig;

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

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
    /// Prepares a client; dials nothing.
    ///
    /// # Errors
    /// A certificate file cannot be used, or the image has no certificate authorities, which https needs.
    pub fn open(config: &HttpTargetConfig) -> Result<Self> {
        let is_https = config.url.to_ascii_lowercase().starts_with("https://");
        let tls = is_https.then(|| config.tls.clone().unwrap_or_default());
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
            field: "target.http.tls.serverName",
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

/// Why a request got no answer.
#[must_use]
pub fn failure(error: &ClientError) -> Later {
    let message = with_sources(error);
    let (reason, remedy, is_unknown) = if error.is_connect() {
        let remedy =
            "check that the endpoint runs, target.http.url, its port, NetworkPolicy, and target.http.tls for https";
        ("EndpointUnreachable", remedy, false)
    } else {
        let remedy = "look at the log of the endpoint for a crash, and at proxies before it";
        ("EndpointConnectionBroken", remedy, true)
    };
    let message = format!("failed to post to the endpoint: {message}");
    Later { reason, message, remedy: remedy.to_owned(), pause: None, is_unknown }
}

/// No answer came in time.
#[must_use]
pub fn timeout(limit: Duration) -> Later {
    Later {
        reason: "EndpointTimeout",
        message: format!("the endpoint did not answer within {} ms (target.http.timeout)", limit.as_millis()),
        remedy: "let it answer sooner, raise target.http.timeout, or lower batch.maxRecords".to_owned(),
        pause: None,
        is_unknown: true,
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
