//! Failures as daprd tells them over gRPC: a status with `google.rpc.ErrorInfo` in its details.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

/// Domain of Dapr's error infos.
const DOMAIN: &str = "dapr.io";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// The status code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The message.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Details.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Detail {
    /// Which message it is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ErrorInfo {
    /// Why, such as `ERR_INVOKE_OUTPUT_BINDING`.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Who says so.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// More about it.
    #[prost(map = "string, string", tag = "3")]
    pub metadata: HashMap<String, String>,
}

/// A status whose details say `reason`.
#[must_use]
pub fn with_reason(code: Code, reason: &str, message: &str, metadata: HashMap<String, String>) -> Status {
    let info = ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned(), metadata };
    let detail = Detail { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec().into() };
    let details = RpcStatus { code: code.into(), message: message.to_owned(), details: vec![detail] };
    Status::with_details(code, message, details.encode_to_vec().into())
}
