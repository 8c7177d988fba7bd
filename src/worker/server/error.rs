//! Errors of the API with daprd's statuses, codes and body.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::invoke::{Failed, TopicResult};

/// Why a call of a binding failed, in daprd's words.
pub const INVOKE_FAILED: &str = "ERR_INVOKE_OUTPUT_BINDING";

/// An error in daprd's shape: `{"errorCode":"…","message":"…"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    topics: Vec<TopicResult>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    error_code: &'static str,
    message: &'a str,
    /// What became of each topic, when there were several: ours, daprd has no such thing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    topics: &'a [TopicResult],
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        let Failed { message, topics } = failed;
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: INVOKE_FAILED, message, topics }
    }
}

impl ApiError {
    /// The request's body is not what a binding takes.
    #[must_use]
    pub fn malformed(why: impl std::fmt::Display) -> Self {
        let message = format!("failed deserializing HTTP body: {why}");
        Self { status: StatusCode::BAD_REQUEST, code: "ERR_MALFORMED_REQUEST", message, topics: Vec::new() }
    }

    /// The body is larger than `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::malformed(format_args!(
            "stream too large: the limit is {limit} bytes; send less, or raise spec.api.maxBodySize together with the \
             broker's maxMessageSize"
        ))
    }

    /// No such path or method. daprd takes such a request for a service invocation and says so.
    #[must_use]
    pub fn not_found() -> Self {
        let message = "failed getting app id either from the URL path or the header dapr-app-id; \
                       this worker serves POST and PUT /v1.0/bindings/{name}, and GET /v1.0/healthz and /v1.0/metadata";
        Self {
            status: StatusCode::NOT_FOUND,
            code: "ERR_DIRECT_INVOKE",
            message: message.to_owned(),
            topics: Vec::new(),
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&Body { error_code: self.code, message: &self.message, topics: &self.topics })
            .unwrap_or_default();
        (self.status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }
}
