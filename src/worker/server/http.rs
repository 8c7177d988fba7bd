//! Dapr's HTTP routes for bindings, health and metadata.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::binding::app::is_traceparent;
use super::super::binding::output::{Output, PublishError};
use super::super::binding::request::Publication;
use super::super::config::TokenFile;
use super::create::BindingRequest;
use super::error::ApiError;
use crate::rocketmq::SendReceipt;

/// Bytes of request bodies held at one time; a request waits for its share. One body of the largest size always fits.
pub const BODY_BUDGET: usize = 64 * 1024 * 1024;
/// Longest time to send a body once it was asked for.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a body that is too large which are still read.
const DISCARD: usize = 16 * 1024 * 1024;
/// Longest time to read them.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// The budget is counted in units of this many bytes.
const BUDGET_UNIT: usize = 1024;
/// Entries that `PUT /v1.0/metadata/{key}` may add.
const MAX_EXTENDED: usize = 100;
/// Message ids that fit into a response's headers.
const MAX_LISTED_IDS: usize = 64;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What daprd sends when the request has no trace context and tracing is off.
const NO_TRACE: HeaderValue = HeaderValue::from_static("00-00000000000000000000000000000000-0000000000000000-00");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the routes share.
pub struct Api {
    output: Arc<Output>,
    token: Option<TokenFile>,
    max_body_bytes: usize,
    budget: Arc<Semaphore>,
    extended: Mutex<BTreeMap<String, String>>,
}

impl Api {
    /// An API that publishes through `output`; callers must send `token` if there is one.
    #[must_use]
    pub fn new(output: Arc<Output>, token: Option<TokenFile>, max_body_bytes: u64) -> Self {
        let max_body_bytes = usize::try_from(max_body_bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(BODY_BUDGET.max(max_body_bytes).div_ceil(BUDGET_UNIT)));
        Self { output, token, max_body_bytes, budget, extended: Mutex::default() }
    }

    fn binding_name(&self) -> &str {
        &self.output.binding().name
    }
}

/// The routes.
pub fn router(api: Arc<Api>) -> Router {
    let no_content = || async { StatusCode::NO_CONTENT };
    Router::new()
        .route("/v1.0/bindings/{name}", post(invoke).put(invoke))
        .route("/v1.0/healthz", get(no_content))
        .route("/v1.0/healthz/outbound", get(no_content))
        .route("/v1.0/metadata", get(metadata))
        .route("/v1.0/metadata/{key}", put(set_metadata))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), check_token))
        .with_state(api)
}

/// 401 as daprd answers when `dapr-api-token` is not the configured one; its health routes need none.
async fn check_token(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let is_health = request.method() == Method::GET && request.uri().path().starts_with("/v1.0/healthz");
    let Some(token) = api.token.as_ref().filter(|_| !is_health) else { return next.run(request).await };
    // Digests are compared, so that the time it takes tells nothing about the token.
    let sent = request.headers().get("dapr-api-token").map(|sent| Sha256::digest(sent.as_bytes()));
    if sent == Some(Sha256::digest(token.get().expose_secret())) {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, "invalid api token\n").into_response()
}

async fn not_found(headers: HeaderMap) -> Response {
    with_trace(&headers, ApiError::not_found().into_response())
}

async fn invoke(State(api): State<Arc<Api>>, Path(name): Path<String>, headers: HeaderMap, body: Body) -> Response {
    let response = match create(&api, &name, &headers, body).await {
        Ok(receipts) => created(&receipts),
        Err(error) => error.into_response(),
    };
    with_trace(&headers, response)
}

async fn create(api: &Api, name: &str, headers: &HeaderMap, body: Body) -> Result<Vec<SendReceipt>, ApiError> {
    let (body, _share) = read_body(api, headers, body).await?;
    let request = BindingRequest::parse(&body)?;
    // The order of the checks is daprd's.
    if request.operation.is_empty() {
        return Err(ApiError::invoke(name, "operation field is missing from request; send \"operation\": \"create\""));
    }
    let known = api.binding_name();
    if name != known {
        return Err(ApiError::invoke(
            name,
            format_args!("couldn't find output binding {name}; this worker serves {known}"),
        ));
    }
    if request.operation != "create" {
        let why =
            format!("binding {name} does not support operation {}. supported operations:create", request.operation);
        return Err(ApiError::invoke(name, why));
    }
    let failed = |error: PublishError| ApiError::invoke(name, format_args!("binding-rocketmq: {error}"));
    let publication =
        Publication::parse(&request.metadata, trace_to_store(headers)).map_err(|error| failed(error.into()))?;
    api.output.publish(&publication, request.data).await.map_err(failed)
}

/// Reads a body of at most the configured size. Its share of the budget is taken before the first byte is read, so that
/// no two half-read bodies wait for each other.
async fn read_body(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    let limit = api.max_body_bytes;
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let size: usize = announced.unwrap_or(limit);
    if size > limit {
        discard(body, size).await;
        return Err(ApiError::too_large(limit));
    }
    let units = u32::try_from(size.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX);
    // The semaphore is never closed, so there is always a share in the end.
    let share = Arc::clone(&api.budget).acquire_many_owned(units).await.ok();
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, limit)).await {
        Ok(collected) => Ok((collected?, share)),
        Err(_) => {
            let seconds = BODY_TIMEOUT.as_secs();
            Err(ApiError::malformed(format_args!("the body did not arrive within {seconds} s; send it at once")))
        }
    }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| ApiError::malformed(format_args!("unexpected EOF: {error}; send the whole body")))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > limit {
            drop(collected);
            discard(body, 0).await;
            return Err(ApiError::too_large(limit));
        }
        if collected.is_empty() && body.is_end_stream() {
            return Ok(data); // a small body comes in one piece: no copy
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

/// Reads on, without keeping anything, what a client is about to send: many look for the answer only when they have sent
/// all, and take a closed connection for a broken one. With more than [`DISCARD`] to come, or a slow client, it is closed.
async fn discard(mut body: Body, announced: usize) {
    let read = async {
        let mut rest = DISCARD;
        while rest > 0 && announced <= DISCARD {
            let Some(Ok(frame)) = body.frame().await else { return };
            rest = rest.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    };
    // Either way the answer follows.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, read).await;
}

/// daprd's empty answer; the message ids are in `metadata.rocketmq-message-id`, where Dapr puts a binding's metadata.
fn created(receipts: &[SendReceipt]) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if receipts.len() <= MAX_LISTED_IDS {
        let ids: Vec<&str> = receipts.iter().map(|receipt| receipt.message_id.as_str()).collect();
        if let Ok(ids) = HeaderValue::from_str(&ids.join(",")) {
            headers.insert(HeaderName::from_static("metadata.rocketmq-message-id"), ids);
        }
    }
    response
}

fn with_trace(request: &HeaderMap, mut response: Response) -> Response {
    let trace = request.get(&TRACEPARENT).cloned().unwrap_or(NO_TRACE);
    response.headers_mut().insert(TRACEPARENT, trace);
    response
}

fn trace_to_store(headers: &HeaderMap) -> Option<String> {
    let trace = headers.get(&TRACEPARENT)?.to_str().ok()?;
    is_traceparent(trace).then(|| trace.to_owned())
}

async fn metadata(State(api): State<Arc<Api>>) -> Json<serde_json::Value> {
    let version = env!("CARGO_PKG_VERSION");
    let mut extended = api.extended.lock().unwrap_or_else(PoisonError::into_inner).clone();
    extended.insert("daprRuntimeVersion".to_owned(), version.to_owned());
    let name = api.binding_name();
    let component =
        json!({"name": name, "type": "bindings.rocketmq", "version": "v1", "capabilities": ["OUTPUT_BINDING"]});
    let disabled = json!({"runtimeStatus": "DISABLED", "hostReady": false, "placement": ""});
    Json(json!({
        "id": name,
        "runtimeVersion": version,
        "enabledFeatures": [],
        "components": [component],
        "extended": extended,
        "appConnectionProperties": {},
        "actorRuntime": disabled,
    }))
}

async fn set_metadata(State(api): State<Arc<Api>>, Path(key): Path<String>, body: String) -> Response {
    let mut extended = api.extended.lock().unwrap_or_else(PoisonError::into_inner);
    if extended.len() >= MAX_EXTENDED && !extended.contains_key(&key) {
        return ApiError::malformed(format_args!("metadata has {MAX_EXTENDED} entries already; reuse a key"))
            .into_response();
    }
    extended.insert(key, body);
    StatusCode::NO_CONTENT.into_response()
}
