//! One call of the binding, whichever protocol it came by: the checks in daprd's order and in daprd's words.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::super::binding::encoding::Data;
use super::super::binding::link::{Place, Stored};
use super::super::binding::output::{PublishError, TopicOutcome};
use super::super::binding::render::Rendered;
use super::super::binding::request::Publication;
use super::super::binding::trace::TraceContext;
use super::api::Api;
use super::read::{Acknowledged, parse_read, parse_receipts};
use crate::rocketmq::ReceivedMessage;

/// What a binding can be asked for.
const OPERATIONS: &str = "create read ack";
/// What the names of an answer's metadata begin with, as Dapr's headers do.
pub const METADATA: &str = "metadata.";
const MESSAGE_ID: &str = "metadata.rocketmq-message-id";
const BROKER_NAME: &str = "metadata.rocketmq-broker-name";
const QUEUE_ID: &str = "metadata.rocketmq-queue-id";
const QUEUE_OFFSET: &str = "metadata.rocketmq-queue-offset";
/// Message ids that fit into the metadata of an answer, which are headers over HTTP.
const MAX_LISTED_IDS: usize = 64;

/// A call.
#[derive(Debug)]
pub struct Call<'a> {
    /// Name of the binding.
    pub name: &'a str,
    /// Operation.
    pub operation: &'a str,
    /// What is asked for, apart from the body.
    pub metadata: &'a BTreeMap<String, String>,
    /// The body.
    pub data: Data,
    /// Trace context of the caller.
    pub trace: TraceContext,
}

/// The answer to a call that succeeded.
#[derive(Debug, Default)]
pub struct Answer {
    /// JSON, or nothing.
    pub data: Bytes,
    /// What is said about it; the names begin with [`METADATA`].
    pub metadata: Vec<(&'static str, String)>,
    /// Memory that `data` takes, when it is much.
    pub share: Option<OwnedSemaphorePermit>,
}

/// A call that failed.
#[derive(Debug)]
pub struct Failed {
    /// daprd's words, the broker's, and the remedy.
    pub message: String,
    /// What became of each topic, when there were several.
    pub topics: Vec<TopicResult>,
}

/// What became of the message for one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicResult {
    /// The topic.
    pub topic: String,
    /// Id of the stored message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Broker that stored it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_name: Option<String>,
    /// Queue that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<i32>,
    /// Its place in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_offset: Option<i64>,
    /// Why it was not stored, with the remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Api {
    /// Carries out a call.
    ///
    /// # Errors
    /// The binding or the operation is not there, the request is invalid, or a broker refused.
    pub async fn invoke(&self, call: Call<'_>) -> Result<Answer, Failed> {
        let name = call.name;
        if call.operation.is_empty() {
            return Err(failed(name, "operation field is missing from request; send \"operation\": \"create\""));
        }
        let known = &self.binding().name;
        if name != known {
            return Err(failed(name, format_args!("couldn't find output binding {name}; this worker serves {known}")));
        }
        match call.operation {
            "create" => self.create(call).await,
            "read" => self.read(call).await,
            "ack" => self.acknowledge(call).await,
            operation => Err(failed(
                name,
                format_args!(
                    "binding {name} does not support operation {operation}. supported operations:{OPERATIONS}"
                ),
            )),
        }
    }

    async fn create(&self, call: Call<'_>) -> Result<Answer, Failed> {
        let refused = |error: PublishError| failed(call.name, format_args!("binding-rocketmq: {error}"));
        let publication = Publication::parse(call.metadata, call.trace).map_err(|error| refused(error.into()))?;
        let body = call
            .data
            .into_body(publication.encoding.unwrap_or(self.settings.data_encoding))
            .map_err(|error| refused(error.into()))?;
        let outcomes = self.output.publish(&publication, body).await.map_err(refused)?;
        answer(call.name, outcomes)
    }
}

impl Api {
    async fn read(&self, call: Call<'_>) -> Result<Answer, Failed> {
        let failed = |why: &dyn std::fmt::Display| failed(call.name, format_args!("binding-rocketmq: {why}"));
        let request = parse_read(call.metadata).map_err(|error| failed(&error))?;
        // Text and numbers are always JSON, so that no message is left out.
        let render = |messages: &[(&ReceivedMessage, Option<String>)]| {
            let rendered = messages.iter().map(|(message, receipt)| Rendered::new(message, receipt.as_deref()));
            Bytes::from(serde_json::to_vec(&rendered.collect::<Vec<_>>()).unwrap_or_default())
        };
        let (data, share) = self.reader.read(request, render).await.map_err(|error| failed(&error))?;
        Ok(Answer { data, metadata: Vec::new(), share })
    }

    async fn acknowledge(&self, call: Call<'_>) -> Result<Answer, Failed> {
        let failed = |why: &dyn std::fmt::Display| failed(call.name, format_args!("binding-rocketmq: {why}"));
        let receipts = parse_receipts(call.metadata, &call.data).map_err(|error| failed(&error))?;
        let total = receipts.len();
        let unknown = self.reader.acknowledge(receipts).await.map_err(|error| failed(&error))?;
        let acknowledged = Acknowledged { acknowledged: total - unknown.len(), unknown };
        Ok(Answer { data: acknowledged.to_json(), ..Answer::default() })
    }
}

fn failed(name: &str, why: impl std::fmt::Display) -> Failed {
    Failed { message: format!("error invoking output binding {name}: {why}"), topics: Vec::new() }
}

/// daprd's empty answer for one topic, with the message's id and place in the metadata; a list for several.
fn answer(name: &str, outcomes: Vec<TopicOutcome>) -> Result<Answer, Failed> {
    if outcomes.iter().any(|(_, outcome)| outcome.is_err()) {
        return Err(partly_failed(name, outcomes));
    }
    let ids =
        outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).map(|receipt| receipt.message_id.as_str());
    let mut metadata = Vec::with_capacity(4);
    if outcomes.len() <= MAX_LISTED_IDS {
        metadata.push((MESSAGE_ID, ids.collect::<Vec<_>>().join(",")));
    }
    if let [(_, Ok(Stored { place, .. }))] = outcomes.as_slice() {
        if let Some(Place { broker_name, queue_id, queue_offset }) = place {
            metadata.push((BROKER_NAME, broker_name.clone()));
            metadata.push((QUEUE_ID, queue_id.to_string()));
            metadata.push((QUEUE_OFFSET, queue_offset.to_string()));
        }
        return Ok(Answer { metadata, ..Answer::default() });
    }
    let topics: Vec<_> = outcomes.into_iter().map(topic_result).collect();
    // Strings and numbers are always JSON.
    Ok(Answer { data: serde_json::to_vec(&topics).unwrap_or_default().into(), metadata, share: None })
}

fn partly_failed(name: &str, outcomes: Vec<TopicOutcome>) -> Failed {
    let is_single = outcomes.len() == 1;
    let lines = outcomes.iter().map(|(topic, outcome)| match outcome {
        Err(error) if is_single => format!("{error}; {}", error.remedy()),
        Err(error) => format!("topic {topic}: {error}; {}", error.remedy()),
        Ok(receipt) => format!("topic {topic}: stored as {}", receipt.message_id),
    });
    let lines: Vec<_> = lines.collect();
    let mut failed = failed(name, format_args!("binding-rocketmq: send failed err:{}", lines.join("; ")));
    if !is_single {
        failed.topics = outcomes.into_iter().map(topic_result).collect();
    }
    failed
}

fn topic_result((topic, outcome): TopicOutcome) -> TopicResult {
    match outcome {
        Ok(Stored { message_id, place }) => TopicResult {
            topic,
            message_id: Some(message_id),
            queue_id: place.as_ref().map(|place| place.queue_id),
            queue_offset: place.as_ref().map(|place| place.queue_offset),
            broker_name: place.map(|place| place.broker_name),
            error: None,
        },
        Err(error) => {
            TopicResult { topic, error: Some(format!("{error}; {}", error.remedy())), ..TopicResult::default() }
        }
    }
}
