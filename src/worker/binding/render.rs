//! A message as JSON: its body as JSON where it is JSON, as text where it is text, else as base64.

use std::collections::BTreeMap;

use base64::Engine;
use serde::Serialize;
use serde_json::value::RawValue;

use super::attributes::attributes;
use super::encoding::BASE64;
use super::trace::TraceContext;
use crate::rocketmq::ReceivedMessage;

/// A message as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendered<'a> {
    /// What the body is: `application/json`, `text/plain` or `application/octet-stream`.
    content_type: &'static str,
    /// The body, unless it is binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Text<'a>>,
    /// A binary body.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    metadata: BTreeMap<String, String>,
    /// The sender's own properties.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'a str, &'a str>,
    /// What acknowledges the message; none when it is acknowledged already.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a str>,
}

/// A body for JSON: as `data`, or as `data_base64` when it is binary.
#[derive(Debug)]
pub struct Content<'a> {
    /// `application/json`, `text/plain` or `application/octet-stream`.
    pub content_type: &'static str,
    /// JSON or text.
    pub data: Option<Text<'a>>,
    /// Base64.
    pub data_base64: Option<String>,
}

impl<'a> Content<'a> {
    /// What `body` is.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(body) else {
            let data_base64 = Some(BASE64.encode(body));
            return Self { content_type: "application/octet-stream", data: None, data_base64 };
        };
        let (content_type, text) = match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => ("application/json", Text::Json(json)),
            Err(_) => ("text/plain", Text::Plain(text)),
        };
        Self { content_type, data: Some(text), data_base64: None }
    }
}

/// JSON, or text that becomes a JSON string.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Text<'a> {
    /// JSON as it is.
    Json(&'a RawValue),
    /// A string.
    Plain(&'a str),
}

impl<'a> Rendered<'a> {
    /// The message, with the receipt that acknowledges it.
    #[must_use]
    pub fn new(message: &'a ReceivedMessage, receipt: Option<&'a str>) -> Self {
        let Content { content_type, data, data_base64 } = Content::new(&message.body);
        let trace = TraceContext::from_properties(&message.properties);
        let properties = message.properties.iter().map(|(name, value)| (&**name, &**value));
        Self {
            content_type,
            data,
            data_base64,
            metadata: attributes(message, u32::try_from(message.reconsume_times).unwrap_or(0), &trace),
            properties: properties.filter(|(name, _)| !matches!(*name, "traceparent" | "tracestate")).collect(),
            receipt,
        }
    }
}
