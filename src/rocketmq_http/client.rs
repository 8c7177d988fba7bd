//! Signed requests to one endpoint.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;

use super::fault::{self, Fault};
use super::message::{self, Received};
use super::request::{self, Poll};
use super::signature::{self, VERSION};
use super::xml;
use crate::rocketmq::{Credentials, Error, ErrorKind, Message, Result};

/// Largest answer: 16 messages of 4 MiB, the most that the service gives at once, and what is around them.
const ANSWER_LIMIT: usize = 72 * 1024 * 1024;
/// Longest time to open a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection is closed before the service does it.
const IDLE: Duration = Duration::from_secs(10);
/// Attempts of a publication, as RocketMQ's producers make them, and the pause before the second one, which then doubles.
const SENDS: (u32, Duration) = (3, Duration::from_millis(200));
/// Attempts of an acknowledgement.
const ACKNOWLEDGEMENTS: u32 = 3;
/// Of an answer that is no XML, as much is told.
const TOLD: usize = 200;

const XML: &str = "text/xml;charset=UTF-8";
const MQ_VERSION: HeaderName = HeaderName::from_static("x-mq-version");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("security-token");

/// Settings of a client.
pub struct HttpClientConfig {
    /// URL of the endpoint: scheme, host and port, without a path.
    pub endpoint: String,
    /// Instance that topics and groups belong to; none for one without a namespace.
    pub instance_id: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
    /// TLS of an `https` endpoint.
    pub tls: rustls::ClientConfig,
    /// Name to verify instead of the endpoint's host.
    pub server_name: Option<String>,
    /// Longest wait for an answer, beyond the time that a poll waits.
    pub timeout: Duration,
}

/// A client of one endpoint. Cheap to clone: clones share their connections and credentials.
#[derive(Clone)]
pub struct HttpClient {
    shared: Arc<Shared>,
    credentials: Arc<RwLock<Credentials>>,
}

struct Shared {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    instance_id: Option<String>,
    timeout: Duration,
}

/// A receipt that is not valid: its message comes again, or has come again meanwhile.
#[derive(Debug, Clone)]
pub struct RefusedReceipt {
    /// The receipt.
    pub receipt: String,
    /// What the service says.
    pub error: Error,
}

/// An answer that is a success.
struct Answer {
    body: Bytes,
    skew_seconds: Option<i64>,
}

enum Failed {
    /// The service answered.
    Fault(Box<Fault>, Bytes),
    /// It did not, or not as it should.
    Error(Error),
}

impl HttpClient {
    /// A client; dials nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the field.
    pub fn new(config: HttpClientConfig) -> Result<Self> {
        let invalid = |field: &str, value: &str, why: &str| {
            Error::new(ErrorKind::InvalidConfig, format!("{field}: {value:?} cannot be used: {why}"))
        };
        let wrong = |why: &str| invalid("endpoint", &config.endpoint, why);
        let endpoint: Uri = config.endpoint.trim_end_matches('/').parse().map_err(|_| wrong("it is no URL"))?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.host().is_none() {
            return Err(wrong("write http://host or https://host"));
        }
        if endpoint.path() != "/" || endpoint.query().is_some() {
            return Err(wrong("it has a path or a query; write scheme, host and port only"));
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let mut builder = HttpsConnectorBuilder::new().with_tls_config(config.tls).https_or_http();
        if let Some(name) = config.server_name {
            let parsed = ServerName::try_from(name.clone());
            let parsed = parsed.map_err(|error| invalid("tls.serverName", &name, &error.to_string()))?;
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(parsed));
        }
        let connector = builder.enable_http1().wrap_connector(connector);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        let (http, instance_id) = (client.build(connector), config.instance_id);
        let shared = Shared { http, endpoint, instance_id, timeout: config.timeout };
        Ok(Self { shared: Arc::new(shared), credentials: Arc::new(RwLock::new(config.credentials)) })
    }

    /// The same endpoint with other credentials; this client keeps its own.
    #[must_use]
    pub fn with_credentials(&self, credentials: Credentials) -> Self {
        Self { shared: Arc::clone(&self.shared), credentials: Arc::new(RwLock::new(credentials)) }
    }

    /// Signs with `credentials` from now on.
    pub fn set_credentials(&self, credentials: Credentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// Publishes a message; the answer is its id. A failure that may pass is tried again, up to three times in all, so that a
    /// message whose answer was lost may be stored twice.
    ///
    /// # Errors
    /// The message cannot be carried, or the service does not take it.
    pub async fn publish(&self, message: &Message) -> Result<String> {
        let body = Bytes::from(message::encode(message)?);
        let resource = request::publication(&message.topic, self.instance());
        let subject = format!("topic {}", message.topic);
        let mut pause = SENDS.1;
        for _ in 1..SENDS.0 {
            match self.publish_once(&resource, body.clone(), &subject).await {
                Err(error) if error.is_retriable() && error.kind() != ErrorKind::TopicNotFound => {
                    tracing::debug!(%error, subject, "publishing again");
                }
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.publish_once(&resource, body, &subject).await
    }

    async fn publish_once(&self, resource: &str, body: Bytes, subject: &str) -> Result<String> {
        let answer = self.send(Method::POST, resource, body, Duration::ZERO, subject).await;
        let stored = xml::parse(&answer.map_err(|failed| failed.error(subject))?.body)?;
        stored.get("MessageId").map(str::to_owned).ok_or_else(|| {
            let message =
                format!("the endpoint's answer for {subject} has no MessageId, so the message may not be stored");
            Error::new(ErrorKind::Protocol, message)
        })
    }

    /// Waits for messages; empty when none came in time. Beside them, how far this clock is ahead of the service's in seconds.
    ///
    /// # Errors
    /// The service refuses, or did not answer.
    pub async fn poll(&self, poll: &Poll) -> Result<(Vec<Received>, i64)> {
        let subject = format!("topic {} and group {}", poll.topic, poll.group);
        let resource = poll.resource(self.instance())?;
        let wait = Duration::from_secs(poll.wait_seconds);
        match self.send(Method::GET, &resource, Bytes::new(), wait, &subject).await {
            Ok(answer) => {
                let messages = message::decode(&poll.topic, &xml::parse(&answer.body)?)?;
                Ok((messages, answer.skew_seconds.unwrap_or(0)))
            }
            Err(Failed::Fault(fault, _)) if fault.is_no_message() => Ok((Vec::new(), fault.skew_seconds.unwrap_or(0))),
            Err(failed) => Err(failed.error(&subject)),
        }
    }

    /// Acknowledges messages of a topic, at most 16, with their receipts; gives back those that are not valid. A failure that
    /// may pass is tried again: an acknowledgement may come twice.
    ///
    /// # Errors
    /// The service refuses all of them, or did not answer: each message comes again.
    pub async fn acknowledge(&self, topic: &str, group: &str, receipts: &[String]) -> Result<Vec<RefusedReceipt>> {
        let fields: Vec<_> = receipts.iter().map(|receipt| ("ReceiptHandle", receipt.as_str())).collect();
        let body = Bytes::from(xml::document("ReceiptHandles", &fields)?);
        let (resource, subject) = (request::acknowledgement(topic, group, self.instance()), format!("topic {topic}"));
        let mut pause = SENDS.1;
        for attempt in 1.. {
            let failed = match self.send(Method::DELETE, &resource, body.clone(), Duration::ZERO, &subject).await {
                Ok(_) => return Ok(Vec::new()),
                Err(failed) => failed,
            };
            if let Some(refused) = failed.refused_receipts(&subject) {
                return Ok(refused);
            }
            let error = failed.error(&subject);
            if attempt >= ACKNOWLEDGEMENTS || !error.is_retriable() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(Vec::new())
    }

    /// Whether the service takes the credentials. There is no request for that: it is asked to acknowledge a receipt that
    /// nobody has, which changes nothing and is refused only after the signature was found right. Without a topic only the
    /// connection is tried.
    ///
    /// # Errors
    /// It does not, or did not answer.
    pub async fn probe(&self, topic: Option<&str>, group: &str) -> Result<()> {
        let Some(topic) = topic else {
            return match self.send(Method::GET, "/", Bytes::new(), Duration::ZERO, "the endpoint").await {
                Ok(_) => Ok(()),
                Err(Failed::Fault(fault, _))
                    if fault.status < 500 && fault.error("").kind() != ErrorKind::AccessDenied =>
                {
                    Ok(())
                }
                Err(failed) => Err(failed.error("the endpoint")),
            };
        };
        let body = Bytes::from(xml::document("ReceiptHandles", &[("ReceiptHandle", "no-receipt")])?);
        let resource = request::acknowledgement(topic, group, self.instance());
        match self.send(Method::DELETE, &resource, body, Duration::ZERO, "a question").await {
            Ok(_) => Ok(()),
            Err(failed) if failed.refused_receipts("").is_some() => Ok(()),
            Err(Failed::Fault(fault, _)) if fault.proves_credentials() => Ok(()),
            Err(failed) => Err(failed.error(&format!("topic {topic} and group {group}"))),
        }
    }

    fn instance(&self) -> Option<&str> {
        self.shared.instance_id.as_deref()
    }

    async fn send(
        &self,
        method: Method,
        resource: &str,
        body: Bytes,
        wait: Duration,
        subject: &str,
    ) -> std::result::Result<Answer, Failed> {
        let request = self.request(method, resource, body).map_err(Failed::Error)?;
        let limit = self.shared.timeout + wait;
        let exchange = async {
            let response = self.shared.http.request(request).await.map_err(|error| unanswered(&error, subject))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await;
            let body = body.map_err(|error| {
                let message = format!("the answer for {subject} broke off: {error}");
                Error::new(ErrorKind::ConnectionLost, message)
            })?;
            Ok::<_, Error>((parts, body.to_bytes()))
        };
        let (parts, body) = tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
            let millis = limit.as_millis();
            let remedy = "check the network between here and the endpoint, and proxies that delay answers";
            let message = format!("the endpoint did not answer for {subject} within {millis} ms");
            Err(Error::with_remedy(ErrorKind::Timeout, message, Some(remedy.to_owned())))
        })?;
        let date = parts.headers.get(DATE).and_then(|date| date.to_str().ok());
        let skew_seconds = date.and_then(|date| fault::skew_seconds(date, Timestamp::now()));
        if parts.status.is_success() {
            return Ok(Answer { body, skew_seconds });
        }
        let fault = Fault { skew_seconds, ..read_fault(parts.status, &parts.headers, &body) };
        Err(Failed::Fault(Box::new(fault), body))
    }

    /// A signed request, with the headers of the SDK for Python.
    fn request(&self, method: Method, resource: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let unusable = |error: &dyn std::fmt::Display| {
            let message = format!("accessKey, securityToken or endpoint cannot be sent: {error}");
            Error::new(ErrorKind::InvalidConfig, message)
        };
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let content_type = if body.is_empty() { "" } else { XML };
        let text = signature::string_to_sign(method.as_str(), content_type, &date, resource);
        let mut signature =
            HeaderValue::from_str(&signature::authorization(&credentials, &text)).map_err(|error| unusable(&error))?;
        signature.set_sensitive(true);
        let mut builder = Uri::builder().path_and_query(resource);
        if let (Some(scheme), Some(authority)) = (self.shared.endpoint.scheme(), self.shared.endpoint.authority()) {
            builder = builder.scheme(scheme.clone()).authority(authority.clone());
        }
        let uri = builder.build().map_err(|error| unusable(&error))?;
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        let headers = request.headers_mut();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(XML));
        }
        headers.insert(MQ_VERSION, HeaderValue::from_static(VERSION));
        headers.insert(DATE, HeaderValue::from_str(&date).map_err(|error| unusable(&error))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("rocketmq-connector/", env!("CARGO_PKG_VERSION"))));
        headers.insert(AUTHORIZATION, signature);
        if let Some(token) = &credentials.security_token {
            let mut token = HeaderValue::from_str(token.expose_secret()).map_err(|error| unusable(&error))?;
            token.set_sensitive(true);
            headers.insert(SECURITY_TOKEN, token);
        }
        Ok(request)
    }
}

impl Failed {
    fn error(self, subject: &str) -> Error {
        match self {
            Self::Fault(fault, _) => fault.error(subject),
            Self::Error(error) => error,
        }
    }

    /// The receipts of `<Errors><Error><ErrorCode>…</ErrorCode><ErrorMessage>…</ErrorMessage><ReceiptHandle>…`.
    fn refused_receipts(&self, subject: &str) -> Option<Vec<RefusedReceipt>> {
        let Self::Fault(fault, body) = self else { return None };
        let answer = xml::parse(body).ok().filter(|answer| answer.name == "Errors")?;
        let refused = answer.children.iter().filter(|child| child.name == "Error").map(|error| {
            let get = |name: &str| error.get(name).unwrap_or_default().to_owned();
            let fault = Fault { code: get("ErrorCode"), message: get("ErrorMessage"), ..(**fault).clone() };
            RefusedReceipt { receipt: get("ReceiptHandle"), error: fault.error(subject) }
        });
        Some(refused.collect())
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn read_fault(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Fault {
    let id = headers.get("x-mq-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    match xml::parse(body) {
        Ok(error) if error.name == "Error" => {
            let fault = Fault::from_xml(status.as_u16(), &error);
            let request_id = if fault.request_id.is_empty() { id } else { fault.request_id.clone() };
            Fault { request_id, ..fault }
        }
        _ => {
            let message: String = String::from_utf8_lossy(body).chars().take(TOLD).collect();
            Fault { status: status.as_u16(), message, request_id: id, ..Fault::default() }
        }
    }
}

/// Why a request got no answer.
fn unanswered(error: &ClientError, subject: &str) -> Error {
    let mut text = error.to_string();
    let mut is_tls = false;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        is_tls |= is_of_tls(cause);
        source = cause.source();
    }
    let (kind, remedy) = match (is_tls, error.is_connect()) {
        (true, _) => (
            ErrorKind::Tls,
            "put the PEM of the authority that signed the endpoint's certificate into spec.tls.ca, check spec.tls.serverName, and \
             whether the endpoint speaks TLS (https)",
        ),
        (false, true) => (
            ErrorKind::Connect,
            "check spec.endpoint, that its host is known and its port reachable from here (DNS, NetworkPolicy, proxy, firewall)",
        ),
        (false, false) => (
            ErrorKind::ConnectionLost,
            "check proxies and devices between here and the endpoint that end connections; the operation is tried again",
        ),
    };
    Error::with_remedy(kind, format!("no answer for {subject}: {text}"), Some(remedy.to_owned()))
}

/// Whether the handshake failed: libraries wrap its error into others, more than once.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_of_tls(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> HttpClientConfig {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        HttpClientConfig {
            endpoint: endpoint.to_owned(),
            instance_id: None,
            credentials: Credentials {
                access_key: "ak".into(),
                secret_key: "sk".into(),
                security_token: Some("st".into()),
            },
            tls,
            server_name: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for wrong in ["mq.example.com", "ftp://mq.example.com", "http://", "http://mq.example.com/path", "http://h?x=1"]
        {
            let error = HttpClient::new(config(wrong)).err().unwrap();
            assert!(error.to_string().contains("endpoint: "), "{wrong}: {error}");
        }
        for right in ["http://mq.example.com", "https://mq.example.com:8443/", "http://[::1]:80"] {
            assert!(HttpClient::new(config(right)).is_ok(), "{right}");
        }
    }

    #[test]
    fn only_requests_with_a_body_have_a_content_type_and_secrets_are_hidden() {
        let client = HttpClient::new(config("http://mq.example.com")).unwrap();
        let get = client.request(Method::GET, "/topics/t/messages?consumer=g", Bytes::new()).unwrap();
        assert!(!get.headers().contains_key(CONTENT_TYPE));
        assert_eq!(get.uri(), "http://mq.example.com/topics/t/messages?consumer=g");
        let post = client.request(Method::POST, "/topics/t/messages", Bytes::from_static(b"x")).unwrap();
        assert_eq!(post.headers()[CONTENT_TYPE], "text/xml;charset=UTF-8");
        assert_eq!(post.headers()["security-token"], "st");
        let shown = format!("{:?}", post.headers());
        assert!(!shown.contains("\"st\"") && !shown.contains("MQ ak"), "{shown}");
    }
}
