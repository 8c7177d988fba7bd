//! Models: topics with the schema of their messages, as a connection's worker serves them on `/models`.

use serde::{Deserialize, Serialize};

/// A topic and what its messages look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// The topic.
    pub topic: String,
    /// Queues that can be read.
    pub queues: u32,
    /// Messages that the brokers hold.
    pub messages: u64,
    /// Messages that were looked at.
    pub sampled: u32,
    /// What most of them are.
    pub format: Format,
    /// Sampled messages by format, when there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixed: Vec<FormatCount>,
    /// Fields of the messages that are JSON objects, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// Why the topic could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Format {
    /// A JSON object, with fields.
    Json,
    /// Other JSON: an array, a number, a text.
    JsonValue,
    /// Text that is not JSON.
    Text,
    /// Avro: an object container file, or a schema id before the record.
    Avro,
    /// Protocol Buffers.
    Protobuf,
    /// Anything else.
    Binary,
    /// There are no messages.
    Empty,
    /// Messages were not looked at: the connection is a target, or its user may not read.
    NotSampled,
}

/// Sampled messages of one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormatCount {
    /// What they are.
    pub format: Format,
    /// How many.
    pub count: u32,
}

/// A field of JSON objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Path with `.` between names; `[]` stands for the items of an array.
    pub path: String,
    /// Types of its values; several when messages differ.
    #[serde(rename = "type")]
    pub types: Vec<FieldType>,
    /// Whether it was null in a message.
    pub nullable: bool,
    /// Share of the objects around it that have the field, from 0 to 1.
    pub presence: f64,
}

/// Type of a field, with TapData's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FieldType {
    /// An object.
    Object,
    /// An array.
    Array,
    /// A number that is not an [`Integer`](Self::Integer).
    Number,
    /// A whole number of 32 bits.
    Integer,
    /// True or false.
    Boolean,
    /// Text of at most 200 characters.
    String,
    /// Longer text.
    Text,
}

/// A part of all models, as `/models?after=<topic>&maxBytes=<n>` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelPage {
    /// Changes when a model changes.
    pub revision: String,
    /// Models in the order of their topics.
    pub models: Vec<ModelWithSchema>,
    /// Topic to give as `after` for the next part; none when this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A model and the JSON Schema that says the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelWithSchema {
    /// The model.
    #[serde(flatten)]
    pub model: Model,
    /// JSON Schema (draft 2020-12) of its messages.
    pub schema: serde_json::Value,
}
