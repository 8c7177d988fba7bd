//! Dapr's HTTP routes for bindings, health and metadata.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::super::binding::encoding::Data;
use super::super::binding::trace::{TRACEPARENT as TRACE_KEY, TraceContext};
use super::super::grpc::frame::hold;
use super::api::{Api, BODY_TIMEOUT, Metadata};
use super::create::BindingRequest;
use super::error::ApiError;
use super::invoke::{Answer, Call};

/// Bytes of a body that is too large which are still read.
const DISCARD: usize = 16 * 1024 * 1024;
/// Longest time to read them.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

const TRACEPARENT: HeaderName = HeaderName::from_static(TRACE_KEY);
/// What daprd sends when the request has no trace context and tracing is off.
const NO_TRACE: HeaderValue = HeaderValue::from_static("00-00000000000000000000000000000000-0000000000000000-00");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

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
    if is_health || api.admits(request.headers().get("dapr-api-token").map(HeaderValue::as_bytes)) {
        return next.run(request).await;
    }
    let refused = (StatusCode::UNAUTHORIZED, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], "invalid api token\n");
    with_trace(request.headers(), refused.into_response())
}

async fn not_found(request: Request) -> Response {
    with_trace(request.headers(), ApiError::not_found().into_response())
}

async fn invoke(State(api): State<Arc<Api>>, Path(name): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let response = match call(&api, &name, &parts.headers, body).await {
        Ok(answer) => answered(answer),
        Err(error) => error.into_response(),
    };
    with_trace(&parts.headers, response)
}

async fn call(api: &Api, name: &str, headers: &HeaderMap, body: Body) -> Result<Answer, ApiError> {
    let (body, _share) = read_body(api, headers, body).await?;
    let request = BindingRequest::parse(&body)?;
    let call = Call {
        name,
        operation: &request.operation,
        metadata: &request.metadata,
        data: Data::Json(request.data),
        trace: TraceContext::from_headers(headers),
    };
    api.invoke(call).await.map_err(ApiError::from)
}

/// Reads a body of at most the configured size. Its share of the budget is taken before the first byte is read, so that
/// no two half-read bodies wait for each other.
async fn read_body(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    let limit = api.max_body_bytes();
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let size: usize = announced.unwrap_or(limit);
    if size > limit {
        discard(body, size).await;
        return Err(ApiError::too_large(limit));
    }
    let share = api.share(size).await;
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

/// daprd's answer: what the operation returns, mostly nothing, and the metadata as headers `metadata.…`.
fn answered(answer: Answer) -> Response {
    let length = answer.data.len();
    let mut response = Response::new(Body::from(hold(answer.data, answer.share)));
    let headers = response.headers_mut();
    headers.reserve(3 + answer.metadata.len());
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CONTENT_LENGTH, length.into());
    for (name, value) in answer.metadata {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn with_trace(request: &HeaderMap, mut response: Response) -> Response {
    let trace = request.get(&TRACEPARENT).cloned().unwrap_or(NO_TRACE);
    response.headers_mut().insert(TRACEPARENT, trace);
    response
}

async fn metadata(State(api): State<Arc<Api>>) -> Json<serde_json::Value> {
    let Metadata { name, version, capabilities, extended } = api.metadata();
    let component = json!({"name": name, "type": "bindings.rocketmq", "version": "v1", "capabilities": capabilities});
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
    match api.set_metadata(key, body) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => ApiError::malformed(why).into_response(),
    }
}
