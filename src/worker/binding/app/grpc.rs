//! An app that speaks gRPC: Dapr's `AppCallback`, with the metadata that daprd sends, and a little more.

use std::collections::BTreeMap;

use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, Uri};
use http_body_util::Full;
use prost::Message;

use super::super::super::config::TokenFile;
use super::super::super::error::{Error, Result};
use super::super::super::grpc::proto::{BindingEventRequest, BindingEventResponse, ListInputBindingsResponse};
use super::super::super::grpc::{LIST_INPUT_BINDINGS, ON_BINDING_EVENT, frame};
use super::super::attributes::attributes;
use super::super::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use super::connect::{self, AppClient};
use super::{Failure, Reply};
use crate::rocketmq::ReceivedMessage;
use crate::worker_config::binding::{BindingConfig, InputConfig};

/// Largest answer of an app that is read.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

/// A client of an app.
pub struct GrpcApp {
    client: AppClient,
    uri: Uri,
    /// Tells the app how long its answer is waited for.
    timeout: HeaderValue,
    token: Option<TokenFile>,
    name: String,
    group: String,
    expressions: BTreeMap<String, String>,
}

impl GrpcApp {
    /// See [`App::new`](super::App::new).
    ///
    /// # Errors
    /// See [`App::new`](super::App::new).
    pub fn new(binding: &BindingConfig, input: &InputConfig) -> Result<Self> {
        let uri = parse_uri(input)?;
        let expressions =
            binding.topics.iter().filter_map(|topic| Some((topic.topic.clone(), topic.expression.clone()?)));
        Ok(Self {
            client: connect::client(uri.scheme_str() == Some("https"), true, input.max_concurrency)?,
            uri,
            timeout: HeaderValue::try_from(format!("{}m", input.timeout_millis))
                .unwrap_or(HeaderValue::from_static("30S")),
            token: input.api_token_file.as_deref().map(TokenFile::open).transpose()?,
            name: binding.name.clone(),
            group: binding.group.clone(),
            expressions: expressions.collect(),
        })
    }

    /// The app's address as a URL.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Calls `OnBindingEvent`.
    ///
    /// # Errors
    /// Anything but status OK.
    pub async fn deliver(
        &self,
        message: &ReceivedMessage,
        redeliveries: u32,
    ) -> std::result::Result<Option<Reply>, Failure> {
        let trace = TraceContext::from_properties(&message.properties).or_derived(&message.message_id);
        let event = BindingEventRequest {
            name: self.name.clone(),
            data: message.body.clone(),
            metadata: self.metadata(message, redeliveries, &trace),
        };
        let answer: BindingEventResponse = self.call(ON_BINDING_EVENT, &event, &trace).await?;
        let BindingEventResponse { to, data, .. } = answer;
        Ok((!to.is_empty()).then_some(Reply { to, data }))
    }

    /// Calls `ListInputBindings`, and looks for this binding in the answer.
    ///
    /// # Errors
    /// It is not there, or the app could not be asked.
    pub async fn wants_messages(&self) -> std::result::Result<(), Failure> {
        let answer: ListInputBindingsResponse = self.call(LIST_INPUT_BINDINGS, &(), &TraceContext::default()).await?;
        if answer.bindings.contains(&self.name) {
            return Ok(());
        }
        let listed = answer.bindings.join(", ");
        Err(Failure::NotSubscribed(format!(
            "the app's ListInputBindings at {} lists [{listed}] and not {}",
            self.uri, self.name
        )))
    }

    async fn call<Answer: Message + Default>(
        &self,
        path: &'static str,
        message: &impl Message,
        trace: &TraceContext,
    ) -> std::result::Result<Answer, Failure> {
        let mut request = Request::new(Full::new(frame::encode(message)));
        *request.method_mut() = Method::POST;
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        // Scheme and authority are those of a URL, so the parts always fit.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        self.insert_headers(request.headers_mut(), trace);
        let response = self.client.request(request).await.map_err(|error| connect::failure(&error))?;
        frame::read_answer(response, ANSWER_LIMIT)
            .await
            .map_err(|status| Failure::Refused(format!("{:?} ({})", status.code(), status.message())))
    }

    fn insert_headers(&self, headers: &mut HeaderMap, trace: &TraceContext) {
        headers.reserve(7);
        connect::insert_common(headers, self.token.as_ref());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(HeaderName::from_static("grpc-timeout"), self.timeout.clone());
        for (name, value) in [(TRACEPARENT, &trace.parent), (TRACESTATE, &trace.state)] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    fn metadata(&self, message: &ReceivedMessage, redeliveries: u32, trace: &TraceContext) -> BTreeMap<String, String> {
        let mut metadata = attributes(message, redeliveries, trace);
        let mut insert = |name: &str, value: String| metadata.insert(name.to_owned(), value);
        // daprd's own, in daprd's spelling.
        insert("rocketmq-consumerGroup", self.group.clone());
        insert(
            "rocketmq-sub-expression",
            self.expressions.get(&*message.topic).cloned().unwrap_or_else(|| "*".to_owned()),
        );
        insert("rocketmq-sub-type", String::new());
        metadata
    }
}

fn parse_uri(input: &InputConfig) -> Result<Uri> {
    let invalid = |why: String| Error::InvalidConfig { field: "input.appUrl", value: input.app_url.clone(), why };
    let text = match input.app_url.split_once("://") {
        Some(("grpc", rest)) => format!("http://{rest}"),
        Some(("grpcs", rest)) => format!("https://{rest}"),
        _ => return Err(invalid("write grpc://host:port or grpcs://host:port".to_owned())),
    };
    let uri: Uri = text.parse().map_err(|error| invalid(format!("it is no URL: {error}; write grpc://host:port")))?;
    match uri.host() {
        Some(_) if matches!(uri.path(), "/" | "") => Ok(uri),
        _ => Err(invalid("write grpc://host:port or grpcs://host:port, without a path".to_owned())),
    }
}
