//! The user's app: messages are posted to it with the headers that daprd sends, and a few more.
//!
//! Only a 2xx answer takes a message; redirects are not followed, as daprd does not. A connection that cannot be opened is
//! told apart from everything else: then the app cannot have seen the message, and no attempt is used up.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use axum::http::{Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use super::super::config::TokenFile;
use super::super::error::{Error, Result, reported};
use crate::rocketmq::ReceivedMessage;
use crate::worker_config::binding::BindingConfig;
use crate::worker_config::binding::InputConfig;
use crate::worker_config::report::ReportedError;

/// An idle connection is closed before the app closes it: 2 s is the shortest common keep-alive (gunicorn), Node has 5 s.
const IDLE: Duration = Duration::from_millis(1_500);
/// Longest time to open a connection; the app's own time limit covers the rest.
const CONNECT: Duration = Duration::from_secs(5);
/// The answer's body is read, so that the connection can be used again, up to this size.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Tags and keys longer than this are left out of the headers: many servers refuse a request whose headers exceed 8 KiB.
const HEADER_LIMIT: usize = 2 * 1024;

/// A client of the user's app.
pub struct App {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    address: (String, u16),
    timeout: Duration,
    token: Option<TokenFile>,
    group: HeaderValue,
    expressions: BTreeMap<String, HeaderValue>,
}

/// Why the app has not taken a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection: the app has not seen the message.
    Unreachable(String),
    /// It answered with another status than 2xx.
    Refused(StatusCode),
    /// It did not answer in time.
    TimedOut,
    /// The connection broke before the answer.
    Broken(String),
}

impl App {
    /// A client for the app of an input binding; opens no connection yet.
    ///
    /// # Errors
    /// `app_url` and `path` make no http or https URL, the token file cannot be read, or the system has no certificate
    /// authorities for an https app.
    pub fn new(binding: &BindingConfig, input: &InputConfig) -> Result<Self> {
        let uri = parse_uri(input)?;
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let expressions = binding.topics.iter().map(|topic| {
            (
                topic.topic.clone(),
                header(topic.expression.as_deref().unwrap_or("*")).unwrap_or(HeaderValue::from_static("")),
            )
        });
        Ok(Self {
            client: build_client(is_https, input.max_concurrency)?,
            uri,
            address: (host, port),
            timeout: Duration::from_millis(input.timeout_millis),
            token: input.api_token_file.as_deref().map(TokenFile::open).transpose()?,
            group: header(&binding.group).unwrap_or(HeaderValue::from_static("")),
            expressions: expressions.collect(),
        })
    }

    /// The URL that messages are posted to.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Posts a message; `redeliveries` is how often it has been delivered before.
    ///
    /// # Errors
    /// Anything but a 2xx answer within the time limit.
    pub async fn deliver(&self, message: &ReceivedMessage, redeliveries: u32) -> std::result::Result<(), Failure> {
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.headers(message, redeliveries);
        let status = self.send(request).await?;
        if status.is_success() { Ok(()) } else { Err(Failure::Refused(status)) }
    }

    /// Asks whether the app wants messages, as daprd does: 2xx and 405 mean yes.
    ///
    /// # Errors
    /// The app could not be asked.
    pub async fn wants_messages(&self) -> std::result::Result<StatusCode, Failure> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::OPTIONS;
        self.insert_common(request.headers_mut());
        self.send(request).await
    }

    /// Whether a connection can be opened.
    pub async fn is_reachable(&self) -> bool {
        let connect = TcpStream::connect((self.address.0.as_str(), self.address.1));
        matches!(tokio::time::timeout(CONNECT, connect).await, Ok(Ok(_)))
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> std::result::Result<StatusCode, Failure> {
        *request.uri_mut() = self.uri.clone();
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let message = with_sources(&error);
                if error.is_connect() { Failure::Unreachable(message) } else { Failure::Broken(message) }
            })?;
            let status = response.status();
            // What the app says is of no use here; a body over the limit only costs the connection.
            let _ = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            Ok(status)
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(Failure::TimedOut))
    }

    fn insert_common(&self, headers: &mut HeaderMap) {
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("rocketmq-connector/", env!("CARGO_PKG_VERSION"))));
        let token = self.token.as_ref().and_then(|token| HeaderValue::from_str(token.get().expose_secret()).ok());
        if let Some(mut token) = token {
            token.set_sensitive(true);
            headers.insert(HeaderName::from_static("dapr-api-token"), token);
        }
    }

    fn headers(&self, message: &ReceivedMessage, redeliveries: u32) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(18);
        self.insert_common(&mut headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut insert = |name: &'static str, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        // daprd's own headers.
        insert("rocketmq-broker-name", header(&message.broker_name));
        insert("rocketmq-consumergroup", Some(self.group.clone()));
        let expression = self.expressions.get(&message.topic).cloned();
        insert("rocketmq-sub-expression", expression.or(Some(HeaderValue::from_static("*"))));
        insert("rocketmq-sub-type", Some(HeaderValue::from_static("")));
        insert("traceparent", header(&traceparent(message.properties.get("traceparent"), &message.message_id)));
        // Ours.
        insert("rocketmq-topic", header(&message.topic));
        insert("rocketmq-message-id", header(&message.message_id));
        insert("rocketmq-tag", message.tag.as_deref().and_then(header));
        insert(
            "rocketmq-keys",
            Some(&message.keys).filter(|keys| !keys.is_empty()).and_then(|keys| header(&keys.join(" "))),
        );
        insert("rocketmq-queue-id", Some(message.queue_id.into()));
        insert("rocketmq-queue-offset", Some(message.queue_offset.into()));
        insert("rocketmq-born-time", Some(message.born_timestamp.into()));
        insert("rocketmq-store-time", Some(message.store_timestamp.into()));
        insert("rocketmq-redelivery-count", Some(redeliveries.into()));
        headers
    }
}

impl Failure {
    /// The failure as it appears in a worker's report; `uri` is the app's.
    #[must_use]
    pub fn report(&self, uri: &Uri, timeout: Duration) -> ReportedError {
        match self {
            Self::Unreachable(why) => reported(
                self.reason(),
                format!("no connection to the app at {uri}: {why}"),
                "start the app, or correct spec.app; messages wait meanwhile and use up no attempt",
            ),
            Self::Refused(status) => reported(
                self.reason(),
                format!("the app answered {status} to POST {uri}"),
                "answer 2xx when a message is taken; look at the app's log for the reason",
            ),
            Self::TimedOut => reported(
                self.reason(),
                format!("the app did not answer POST {uri} within {} ms", timeout.as_millis()),
                "answer sooner, raise spec.app.timeout, or lower spec.app.maxConcurrency",
            ),
            Self::Broken(why) => reported(
                self.reason(),
                format!("the connection to the app at {uri} broke before its answer: {why}"),
                "look at the app's log for a crash, or at a proxy between",
            ),
        }
    }

    /// CamelCase reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "AppUnreachable",
            Self::Refused(_) => "AppRefused",
            Self::TimedOut => "AppTimeout",
            Self::Broken(_) => "AppConnectionBroken",
        }
    }
}

fn parse_uri(input: &InputConfig) -> Result<Uri> {
    let text = format!("{}{}", input.app_url.trim_end_matches('/'), input.path);
    let invalid = |why: String| Error::InvalidConfig { field: "input.appUrl", value: text.clone(), why };
    let uri: Uri = text.parse().map_err(|error| invalid(format!("it is no URL: {error}; write http://host:port")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(invalid("write http://host:port or https://host:port".to_owned())),
    }
}

fn build_client(is_https: bool, max_concurrency: u32) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let builder = HttpsConnectorBuilder::new();
    let builder = if is_https {
        builder.with_native_roots().map_err(Error::LoadCertificates)?
    } else {
        // No certificate is ever checked for an http app: do not load the system's.
        let roots = rustls::RootCertStore::empty();
        builder.with_tls_config(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    };
    let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(usize::try_from(max_concurrency).unwrap_or(usize::MAX))
        .build(connector))
}

/// A header value; control characters become `%XX`. None when it is longer than [`HEADER_LIMIT`].
fn header(text: &str) -> Option<HeaderValue> {
    if text.len() > HEADER_LIMIT {
        return None;
    }
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        return Some(value);
    }
    let is_allowed = |character: char| !character.is_ascii_control();
    let escaped: String = text
        .chars()
        .map(
            |character| {
                if is_allowed(character) { character.to_string() } else { format!("%{:02X}", u32::from(character)) }
            },
        )
        .collect();
    HeaderValue::from_bytes(escaped.as_bytes()).ok()
}

/// The trace context that the publisher stored with the message, else one that is the same for each delivery of the message.
fn traceparent(stored: Option<&String>, message_id: &str) -> String {
    if let Some(stored) = stored.filter(|stored| is_traceparent(stored)) {
        return stored.clone();
    }
    let hex: String = Sha256::digest(message_id).iter().take(24).map(|byte| format!("{byte:02x}")).collect();
    let (trace, span) = hex.split_at(32);
    format!("00-{trace}-{span}-00")
}

/// Whether `text` has the form of W3C's trace context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2]) && parts.iter().all(|part| is_hex(part))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_escapes_control_characters_and_leaves_out_what_is_too_long() {
        assert_eq!(header("a\r\nX-Evil: 1").unwrap(), "a%0D%0AX-Evil: 1");
        assert_eq!(header("ключ").unwrap().as_bytes(), "ключ".as_bytes());
        assert_eq!(header(&"x".repeat(HEADER_LIMIT + 1)), None);
    }

    #[test]
    fn traceparent_is_the_publishers_or_stable() {
        let derived = traceparent(None, "AC11");
        assert!(is_traceparent(&derived) && derived == traceparent(None, "AC11"), "{derived}");
        let stored = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        assert_eq!(traceparent(Some(&stored), "AC11"), stored);
        assert_eq!(traceparent(Some(&"junk".to_owned()), "AC11"), derived);
    }
}
