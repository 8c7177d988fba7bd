//! An app that speaks HTTP: messages are posted to it with the headers that daprd sends, and a few more.
//!
//! Only a 2xx answer takes a message; redirects are not followed, as daprd does not.

use std::collections::BTreeMap;

use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};

use super::super::super::config::TokenFile;
use super::super::super::error::{Error, Result};
use super::super::cloud_event::CloudEvent;
use super::super::render::Rendered;
use super::super::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use super::Failure;
use super::connect::{self, AppClient};
use crate::rocketmq::ReceivedMessage;
use crate::worker_config::binding::{BindingConfig, InputConfig, Payload};

/// The answer's body is read, so that the connection can be used again, up to this size.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Tags and keys longer than this are left out of the headers: many servers refuse a request whose headers exceed 8 KiB.
const HEADER_LIMIT: usize = 2 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLOUD_EVENT: HeaderValue = HeaderValue::from_static("application/cloudevents+json");
const CLOUD_EVENTS: HeaderValue = HeaderValue::from_static("application/cloudevents-batch+json");

/// A client of an app.
pub struct HttpApp {
    client: AppClient,
    uri: Uri,
    /// Where the messages of some topics go instead.
    routes: BTreeMap<String, Uri>,
    payload: Payload,
    token: Option<TokenFile>,
    group: HeaderValue,
    expressions: BTreeMap<String, HeaderValue>,
}

impl HttpApp {
    /// See [`App::new`](super::App::new).
    ///
    /// # Errors
    /// See [`App::new`](super::App::new).
    pub fn new(binding: &BindingConfig, input: &InputConfig) -> Result<Self> {
        let uri = parse_uri(input, &input.path)?;
        let routes = input.routes.iter().map(|(topic, path)| Ok((topic.clone(), parse_uri(input, path)?)));
        let expressions = binding.topics.iter().map(|topic| {
            (
                topic.topic.clone(),
                header(topic.expression.as_deref().unwrap_or("*")).unwrap_or(HeaderValue::from_static("")),
            )
        });
        Ok(Self {
            client: connect::client(uri.scheme_str() == Some("https"), false, input.max_concurrency)?,
            uri,
            routes: routes.collect::<Result<_>>()?,
            payload: input.payload,
            token: input.api_token_file.as_deref().map(TokenFile::open).transpose()?,
            group: header(&binding.group).unwrap_or(HeaderValue::from_static("")),
            expressions: expressions.collect(),
        })
    }

    /// The URL that messages are posted to, unless their topic has a route.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL that messages of `topic` are posted to.
    #[must_use]
    pub fn route(&self, topic: &str) -> &Uri {
        self.routes.get(topic).unwrap_or(&self.uri)
    }

    /// Posts a message; `redeliveries` is how often it has been delivered before.
    ///
    /// # Errors
    /// Anything but a 2xx answer.
    pub async fn deliver(&self, message: &ReceivedMessage, redeliveries: u32) -> std::result::Result<(), Failure> {
        let (body, content_type) = match self.payload {
            Payload::Raw => (message.body.clone(), JSON),
            Payload::CloudEvents => (json(&CloudEvent::new(message, redeliveries)), CLOUD_EVENT),
        };
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = self.route(&message.topic).clone();
        *request.headers_mut() = self.headers(message, redeliveries);
        self.post(request, content_type).await
    }

    /// Posts messages as one JSON list.
    ///
    /// # Errors
    /// Anything but a 2xx answer.
    pub async fn deliver_batch(
        &self,
        messages: impl Iterator<Item = &ReceivedMessage>,
    ) -> std::result::Result<(), Failure> {
        let redeliveries = |message: &ReceivedMessage| u32::try_from(message.reconsume_times).unwrap_or(0);
        let (body, content_type) = match self.payload {
            Payload::Raw => (json(&messages.map(|message| Rendered::new(message, None)).collect::<Vec<_>>()), JSON),
            Payload::CloudEvents => {
                let events = messages.map(|message| CloudEvent::new(message, redeliveries(message)));
                (json(&events.collect::<Vec<_>>()), CLOUD_EVENTS)
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = self.uri.clone();
        connect::insert_common(request.headers_mut(), self.token.as_ref());
        request.headers_mut().insert(HeaderName::from_static("rocketmq-consumergroup"), self.group.clone());
        self.post(request, content_type).await
    }

    async fn post(
        &self,
        mut request: Request<Full<Bytes>>,
        content_type: HeaderValue,
    ) -> std::result::Result<(), Failure> {
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        let status = self.send(request).await?;
        if status.is_success() { Ok(()) } else { Err(Failure::Refused(status.to_string())) }
    }

    /// Asks `OPTIONS`: 2xx and 405 mean yes.
    ///
    /// # Errors
    /// The app does not want messages, or could not be asked.
    pub async fn wants_messages(&self) -> std::result::Result<(), Failure> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = self.uri.clone();
        connect::insert_common(request.headers_mut(), self.token.as_ref());
        let status = self.send(request).await?;
        if status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED {
            return Ok(());
        }
        Err(Failure::NotSubscribed(format!("the app answered {status} to OPTIONS {}", self.uri)))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> std::result::Result<StatusCode, Failure> {
        let response = self.client.request(request).await.map_err(|error| connect::failure(&error))?;
        let status = response.status();
        // What the app says is of no use here; a body over the limit only costs the connection.
        let _ = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        Ok(status)
    }

    fn headers(&self, message: &ReceivedMessage, redeliveries: u32) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(18);
        connect::insert_common(&mut headers, self.token.as_ref());
        let mut insert = |name: &'static str, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        // daprd's own headers.
        // A message that came over HTTP has no place that is known.
        let has_place = message.queue_id >= 0;
        insert("rocketmq-broker-name", has_place.then(|| header(&message.broker_name)).flatten());
        insert("rocketmq-consumergroup", Some(self.group.clone()));
        let expression = self.expressions.get(&*message.topic).cloned();
        insert("rocketmq-sub-expression", expression.or(Some(HeaderValue::from_static("*"))));
        insert("rocketmq-sub-type", Some(HeaderValue::from_static("")));
        let trace = TraceContext::from_properties(&message.properties).or_derived(&message.message_id);
        insert(TRACEPARENT, trace.parent.as_deref().and_then(header));
        insert(TRACESTATE, trace.state.as_deref().and_then(header));
        // Ours.
        insert("rocketmq-topic", header(&message.topic));
        insert("rocketmq-message-id", header(&message.message_id));
        insert("rocketmq-tag", message.tag.as_deref().and_then(header));
        insert(
            "rocketmq-keys",
            Some(&message.keys).filter(|keys| !keys.is_empty()).and_then(|keys| header(&keys.join(" "))),
        );
        insert("rocketmq-queue-id", has_place.then(|| message.queue_id.into()));
        insert("rocketmq-queue-offset", has_place.then(|| message.queue_offset.into()));
        insert("rocketmq-born-time", Some(message.born_timestamp.into()));
        insert("rocketmq-store-time", Some(message.store_timestamp.into()));
        insert("rocketmq-redelivery-count", Some(redeliveries.into()));
        headers
    }
}

fn parse_uri(input: &InputConfig, path: &str) -> Result<Uri> {
    let text = format!("{}{path}", input.app_url.trim_end_matches('/'));
    let invalid = |why: String| Error::InvalidConfig { field: "input.appUrl", value: text.clone(), why };
    let uri: Uri = text.parse().map_err(|error| invalid(format!("it is no URL: {error}; write http://host:port")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(invalid("write http://host:port or https://host:port".to_owned())),
    }
}

/// Text and numbers are always JSON.
fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_escapes_control_characters_and_leaves_out_what_is_too_long() {
        assert_eq!(header("a\r\nX-Evil: 1").unwrap(), "a%0D%0AX-Evil: 1");
        assert_eq!(header("ключ").unwrap().as_bytes(), "ключ".as_bytes());
        assert_eq!(header(&"x".repeat(HEADER_LIMIT + 1)), None);
    }
}
