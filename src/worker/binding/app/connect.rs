//! Connections to the user's app.

use std::time::Duration;

use axum::http::Uri;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::ExposeSecret;
use tokio::net::TcpStream;

use super::super::super::config::TokenFile;
use super::super::super::error::{Error, Result};
use super::Failure;

/// A client of one app.
pub type AppClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An idle connection is closed before the app closes it: 2 s is the shortest common keep-alive (gunicorn), Node has 5 s.
const IDLE: Duration = Duration::from_millis(1_500);
/// Longest time to open a connection; the app's own time limit covers the rest.
const CONNECT: Duration = Duration::from_secs(5);

/// A client that speaks HTTP/1.1, or HTTP/2 when `is_grpc`; `max_concurrency` requests at one time.
///
/// # Errors
/// The system has no certificate authorities, which https needs.
pub fn client(is_https: bool, is_grpc: bool, max_concurrency: u32) -> Result<AppClient> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let builder = HttpsConnectorBuilder::new();
    let builder = if is_https {
        builder.with_native_roots().map_err(Error::LoadCertificates)?
    } else {
        // No certificate is ever checked without https: do not load the system's.
        let roots = rustls::RootCertStore::empty();
        builder.with_tls_config(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    };
    let builder = builder.https_or_http();
    let connector = if is_grpc {
        builder.enable_http2().wrap_connector(connector)
    } else {
        builder.enable_http1().wrap_connector(connector)
    };
    let mut client = Client::builder(TokioExecutor::new());
    if is_grpc {
        client.http2_only(true);
    } else {
        client.pool_idle_timeout(IDLE).pool_max_idle_per_host(usize::try_from(max_concurrency).unwrap_or(usize::MAX));
    }
    Ok(client.pool_timer(TokioTimer::new()).timer(TokioTimer::new()).build(connector))
}

/// Why a request got no answer.
#[must_use]
pub fn failure(error: &ClientError) -> Failure {
    let message = with_sources(error);
    if error.is_connect() { Failure::Unreachable(message) } else { Failure::Broken(message) }
}

/// Adds what every request to the app says: who asks, and the app's token.
pub fn insert_common(headers: &mut HeaderMap, token: Option<&TokenFile>) {
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("rocketmq-connector/", env!("CARGO_PKG_VERSION"))));
    let token = token.and_then(|token| HeaderValue::from_str(token.get().expose_secret()).ok());
    if let Some(mut token) = token {
        token.set_sensitive(true);
        headers.insert(HeaderName::from_static("dapr-api-token"), token);
    }
}

/// Where an app listens.
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The address in a URL.
    #[must_use]
    pub fn of(uri: &Uri) -> Self {
        let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Self { host, port: uri.port_u16().unwrap_or(port) }
    }

    /// Whether a connection can be opened.
    pub async fn is_reachable(&self) -> bool {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        matches!(tokio::time::timeout(CONNECT, connect).await, Ok(Ok(_)))
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
