//! The request that carries records: a JSON list, with headers by which a receiver can check and deduplicate it.

use crate::rocketmq::Properties;
use bytestring::ByteString;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::super::super::config::TokenFile;
use super::super::super::error::{Error, Result};
use super::super::super::format::{self, operation_name};
use super::super::super::record::{Invalid, Position, Record};
use crate::worker_config::sync::{Format, HttpTargetConfig};

/// Header with the time and the signature of a request.
pub const SIGNATURE_HEADER: &str = "x-signature";
/// Header that is the same for each try to deliver the same records (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// Bytes of the digest that are the key of a request.
const KEY_BYTES: usize = 16;

/// Makes requests of records.
pub struct Composer {
    format: Format,
    sync: String,
    headers: HeaderMap,
    token: Option<TokenFile>,
    signing_key: Option<TokenFile>,
}

/// A record as the endpoint gets it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    /// Where it stands in its source: the same however often it comes.
    id: String,
    partition: &'a str,
    offset: u64,
    topic: &'a str,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "<[ByteString]>::is_empty")]
    keys: &'a [ByteString],
    #[serde(skip_serializing_if = "Properties::is_empty")]
    properties: &'a Properties,
    #[serde(skip_serializing_if = "Option::is_none")]
    sharding_key: Option<&'a str>,
    message_id: &'a str,
    born_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl Composer {
    /// A composer for a pipeline.
    ///
    /// # Errors
    /// A header cannot be sent, or a credential file cannot be read.
    pub fn new(sync: &str, format: Format, target: &HttpTargetConfig) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("rocketmq-connector/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &target.headers {
            let unusable =
                |why: String| Error::InvalidConfig { field: "target.http.headers", value: name.clone(), why };
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| unusable(error.to_string()))?;
            let value = HeaderValue::from_str(value).map_err(|error| unusable(error.to_string()))?;
            headers.insert(parsed, value);
        }
        let open = |what, path: &Option<String>| path.as_deref().map(|path| TokenFile::open_as(what, path)).transpose();
        Ok(Self {
            format,
            sync: sync.to_owned(),
            headers,
            token: open("the token", &target.token_file)?,
            signing_key: open("the signing key", &target.signing_key_file)?,
        })
    }

    /// The body with one record.
    ///
    /// # Errors
    /// The body of the record cannot be written as JSON.
    pub fn envelope(&self, record: &Record) -> std::result::Result<Vec<u8>, Invalid> {
        let bytes = format::encode(self.format, record)?;
        let invalid = |error: serde_json::Error| {
            let message = format!("body: cannot be written as JSON: {error}");
            Invalid::new("InvalidBody", message, "correct the sender, or set spec.format to Raw")
        };
        let is_raw = self.format == Format::Raw;
        let body = if is_raw { None } else { Some(serde_json::from_slice(&bytes).map_err(invalid)?) };
        let parts = &record.message;
        let envelope = Envelope {
            id: id(&record.position),
            partition: &record.position.partition,
            offset: record.position.offset,
            topic: &record.entity,
            operation: operation_name(record.operation),
            tag: parts.tag.as_deref(),
            keys: &parts.keys,
            properties: &parts.properties,
            sharding_key: parts.sharding_key.as_deref(),
            message_id: &parts.id,
            born_time: parts.born_millis,
            body,
            body_base64: is_raw.then(|| STANDARD.encode(&bytes)),
        };
        serde_json::to_vec(&envelope).map_err(invalid)
    }

    /// The headers of a request with `records` in `body`, sent `seconds` after the Unix epoch.
    pub fn headers<'a>(&self, records: impl Iterator<Item = &'a Record>, body: &[u8], seconds: i64) -> HeaderMap {
        let mut headers = self.headers.clone();
        insert(&mut headers, IDEMPOTENCY_HEADER, &key(&self.sync, records));
        if let Some(key) = &self.signing_key {
            let signature = signature(key.get().expose_secret().as_bytes(), seconds, body);
            insert(&mut headers, SIGNATURE_HEADER, &signature);
        }
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.get().expose_secret()));
            if let Ok(mut value) = value {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
        }
        headers
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // Hexadecimal digits and punctuation are always a header's value.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A JSON list of values.
#[must_use]
pub fn list(values: &[Vec<u8>]) -> Bytes {
    let mut body = Vec::with_capacity(values.iter().map(|value| value.len() + 1).sum::<usize>() + 1);
    for (number, value) in values.iter().enumerate() {
        body.push(if number == 0 { b'[' } else { b',' });
        body.extend_from_slice(value);
    }
    body.push(b']');
    body.into()
}

/// A record's place as a text: `orders@broker-a@3@17`.
fn id(position: &Position) -> String {
    match position.index {
        0 => format!("{}@{}", position.partition, position.offset),
        index => format!("{}@{}.{index}", position.partition, position.offset),
    }
}

/// The key of a request: a digest of the sync's name and of what it carries of each partition.
fn key<'a>(sync: &str, records: impl Iterator<Item = &'a Record>) -> String {
    let mut digest = Sha256::new();
    digest.update(sync);
    for record in records {
        let Position { partition, offset, index, .. } = &record.position;
        digest.update([0]);
        digest.update(partition.as_bytes());
        digest.update([0]);
        digest.update(offset.to_le_bytes());
        digest.update(index.to_le_bytes());
    }
    hex(&digest.finalize()[..KEY_BYTES])
}

/// `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>" in hexadecimal digits>`.
fn signature(key: &[u8], seconds: i64, body: &[u8]) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    format!("t={seconds},v1={}", hex(&mac.finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Newest position of each partition that the endpoint has of the batch that is being tried.
#[derive(Default)]
pub struct Done(HashMap<Arc<str>, Position>);

impl Done {
    /// Whether the endpoint has a record.
    #[must_use]
    pub fn has(&self, record: &Record) -> bool {
        self.0.get(&record.position.partition).is_some_and(|done| record.position <= *done)
    }

    /// Notes that it has a record.
    pub fn note(&mut self, record: &Record) {
        self.0.insert(Arc::clone(&record.position.partition), record.position.clone());
    }

    /// Forgets the batch.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::super::record::{MessageParts, Operation, Payload};
    use super::*;

    fn record(offset: u64) -> Record {
        let body = Bytes::from_static(br#"{"id": 1}"#);
        let Value::Object(fields) = json!({"id": 1}) else { panic!("an object") };
        Record {
            position: Position { partition: "orders@broker-a@3".into(), offset, index: 0, epoch: 0 },
            entity: "orders".into(),
            operation: Operation::Insert,
            payload: Payload::Fields { fields, size: body.len() },
            before: None,
            key_fields: Arc::from([]),
            message: MessageParts {
                id: "ID".into(),
                tag: Some("paid".into()),
                born_millis: 99,
                ..MessageParts::default()
            },
            at_millis: 5,
            original: Some(body),
            is_changed: false,
        }
    }

    fn target() -> HttpTargetConfig {
        HttpTargetConfig {
            url: "http://localhost".into(),
            timeout_millis: 1_000,
            headers: std::collections::BTreeMap::from([("X-Team".to_owned(), "shop".to_owned())]),
            token_file: None,
            signing_key_file: None,
            tls: None,
        }
    }

    #[test]
    fn a_record_is_an_object_with_its_place_and_its_body_as_it_came() {
        let composer = Composer::new("shop/copy", Format::Json, &target()).unwrap();
        let text = String::from_utf8(composer.envelope(&record(17)).unwrap()).unwrap();
        assert!(text.ends_with(r#""body":{"id": 1}}"#), "{text}");
        let expected = json!({
            "id": "orders@broker-a@3@17", "partition": "orders@broker-a@3", "offset": 17, "topic": "orders",
            "operation": "insert", "tag": "paid", "messageId": "ID", "bornTime": 99, "body": {"id": 1},
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        let raw = Composer::new("shop/copy", Format::Raw, &target()).unwrap();
        let value: Value = serde_json::from_slice(&raw.envelope(&record(17)).unwrap()).unwrap();
        assert_eq!((value["bodyBase64"].as_str(), value.get("body")), (Some("eyJpZCI6IDF9"), None));
        assert_eq!(list(&[b"1".to_vec(), b"2".to_vec()]), "[1,2]");
    }

    #[test]
    fn the_signature_is_that_of_the_documented_example() {
        let body = br#"[{"id":"orders@broker-a@3@17"}]"#;
        let expected = "t=1796112000,v1=a61a7d5e31ff526de1e259d52352010caa173cb1825ca66b6cbdbd0a080db130";
        assert_eq!(signature(b"whsec-example", 1_796_112_000, body), expected);
    }

    #[test]
    fn the_key_is_that_of_the_records_and_of_the_sync() {
        let (one, two) = (record(1), record(2));
        let same = key("shop/copy", [&one, &two].into_iter());
        assert_eq!(key("shop/copy", [&one, &two].into_iter()), same);
        assert_ne!(key("shop/copy", [&one].into_iter()), same);
        assert_ne!(key("shop/other", [&one, &two].into_iter()), same);
        assert_eq!(same.len(), 32);
    }
}
