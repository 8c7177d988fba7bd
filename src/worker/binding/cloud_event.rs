//! A message as a CloudEvent 1.0 in JSON.

use serde::Serialize;

use super::render::Content;
use super::trace::TraceContext;
use crate::rocketmq::ReceivedMessage;

/// `type` of every event.
const TYPE: &str = "dev.rocketmq.connector.message";

/// A CloudEvent. Names of its attributes are lower case letters and digits, as the specification asks.
#[derive(Debug, Serialize)]
pub struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: &'static str,
    /// The tag, by which consumers filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// When the broker stored the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<jiff::Timestamp>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    rocketmqtopic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rocketmqkeys: Option<String>,
    /// None for a message that came over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    rocketmqqueueid: Option<i32>,
    /// Text, because the specification's integers have 32 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    rocketmqqueueoffset: Option<String>,
    rocketmqredeliverycount: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<super::render::Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> CloudEvent<'a> {
    /// The message as an event; `redeliveries` is how often it has been delivered before.
    #[must_use]
    pub fn new(message: &'a ReceivedMessage, redeliveries: u32) -> Self {
        let Content { content_type, data, data_base64 } = Content::new(&message.body);
        let TraceContext { parent, state } =
            TraceContext::from_properties(&message.properties).or_derived(&message.message_id);
        let has_place = message.queue_id >= 0;
        let broker = if has_place { &*message.broker_name } else { "http" };
        Self {
            specversion: "1.0",
            id: &message.message_id,
            source: format!("rocketmq/{broker}/{}", message.topic),
            r#type: TYPE,
            subject: message.tag.as_deref(),
            time: jiff::Timestamp::from_millisecond(message.store_timestamp).ok(),
            datacontenttype: content_type,
            traceparent: parent,
            tracestate: state,
            rocketmqtopic: &message.topic,
            rocketmqkeys: (!message.keys.is_empty()).then(|| message.keys.join(" ")),
            rocketmqqueueid: has_place.then_some(message.queue_id),
            rocketmqqueueoffset: has_place.then(|| message.queue_offset.to_string()),
            rocketmqredeliverycount: redeliveries,
            data,
            data_base64,
        }
    }
}
