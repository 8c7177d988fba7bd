//! Formats of message bodies: how a body becomes fields, and fields become a body.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::record::{Fields, Invalid, Operation, Payload, Record};
use crate::worker_config::sync::Format;

/// Property that tells the operation in `TapData`'s format.
pub const OPERATION_PROPERTY: &str = "mqOp";
const INVALID_BODY: &str = "InvalidBody";

/// Turns a raw body into fields; false when the record is nothing to be passed on (a change of a definition).
///
/// # Errors
/// The body is not of the format.
pub fn decode(format: Format, record: &mut Record) -> Result<bool, Invalid> {
    let Payload::Raw(body) = &record.payload else { return Ok(true) };
    match format {
        Format::Raw => Ok(true),
        Format::Json => {
            record.payload = fields(object(body)?, body.len());
            Ok(true)
        }
        Format::Tapdata => decode_tapdata(record),
        Format::Debezium => decode_debezium(record),
    }
}

fn decode_tapdata(record: &mut Record) -> Result<bool, Invalid> {
    let Payload::Raw(body) = &record.payload else { return Ok(true) };
    let operation = match record.message.properties.get(OPERATION_PROPERTY).map(|name| &**name) {
        Some("update") => Operation::Update,
        Some("delete") => Operation::Delete,
        Some("ddl" | "truncate") => return Ok(false),
        // As TapData does: what is not told is an insert.
        _ => Operation::Insert,
    };
    let content = object(body)?;
    record.before = (operation == Operation::Delete).then(|| content.clone());
    (record.operation, record.payload) = (operation, fields(content, body.len()));
    Ok(true)
}

fn decode_debezium(record: &mut Record) -> Result<bool, Invalid> {
    let Payload::Raw(body) = &record.payload else { return Ok(true) };
    let mut event = object(body)?;
    if let Some(Value::Object(payload)) = event.get_mut("payload") {
        event = std::mem::take(payload);
    }
    let operation = match event.get("op").and_then(Value::as_str) {
        Some("c" | "r") => Operation::Insert,
        Some("u") => Operation::Update,
        Some("d") => Operation::Delete,
        // Truncations and messages of a log are no rows.
        Some("t" | "m") => return Ok(false),
        other => {
            let found = other.map_or("is missing".to_owned(), |op| format!("is {op:?}"));
            return Err(Invalid::new(
                INVALID_BODY,
                format!("body: op {found}, a Debezium change event has c, r, u or d"),
                "set spec.format to what the messages are: Json, Tapdata, Debezium or Raw",
            ));
        }
    };
    let before = row(&mut event, "before")?;
    let content = match operation {
        Operation::Delete => before.clone(),
        _ => row(&mut event, "after")?,
    };
    let Some(content) = content else {
        let field = if operation == Operation::Delete { "before" } else { "after" };
        return Err(Invalid::new(
            INVALID_BODY,
            format!("body: {field} is missing in a Debezium change event"),
            "let the connector send whole rows (REPLICA IDENTITY FULL), or correct the sender",
        ));
    };
    if let Some(at) = event.get("ts_ms").and_then(Value::as_i64) {
        record.at_millis = at;
    }
    let size = body.len();
    (record.operation, record.before, record.payload) = (operation, before, fields(content, size));
    Ok(true)
}

fn row(event: &mut Map<String, Value>, name: &str) -> Result<Option<Fields>, Invalid> {
    match event.get_mut(name).map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(row)) => Ok(Some(row)),
        Some(_) => Err(Invalid::new(
            INVALID_BODY,
            format!("body: {name} is not an object in a Debezium change event"),
            "correct the sender, or set spec.format to Raw to pass bodies on unchanged",
        )),
    }
}

fn fields(fields: Fields, size: usize) -> Payload {
    Payload::Fields { fields, size }
}

fn object(body: &Bytes) -> Result<Fields, Invalid> {
    let remedy = "correct the sender, or set spec.format to Raw to pass bodies on unchanged";
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "an array",
                Value::String(_) => "a text",
                Value::Null => "null",
                _ => "a single value",
            };
            Err(Invalid::new(INVALID_BODY, format!("body: is {kind}, not a JSON object"), remedy))
        }
        Err(error) => Err(Invalid::new(INVALID_BODY, format!("body: is not JSON: {error}"), remedy)),
    }
}

/// The body of a record in a format. What no transform has changed stays as it came, byte by byte.
///
/// # Errors
/// The fields cannot be written as JSON.
pub fn encode(format: Format, record: &Record) -> Result<Bytes, Invalid> {
    let fields = match (&record.payload, &record.original) {
        (Payload::Raw(body), _) => return Ok(body.clone()),
        (Payload::Fields { .. }, Some(original)) if !record.is_changed => return Ok(original.clone()),
        (Payload::Fields { fields, .. }, _) => fields,
    };
    let encoded = match format {
        Format::Debezium => serde_json::to_vec(&debezium(record, fields)),
        Format::Json | Format::Tapdata | Format::Raw => serde_json::to_vec(fields),
    };
    encoded.map(Bytes::from).map_err(|error| {
        Invalid::new(INVALID_BODY, format!("the fields cannot be written as JSON: {error}"), "correct the sender")
    })
}

/// A change event without schema, as Debezium's JSON converter writes it with `schemas.enable=false`.
fn debezium(record: &Record, fields: &Fields) -> Value {
    let (operation, after) = match record.operation {
        Operation::Insert => ("c", Some(fields)),
        Operation::Update => ("u", Some(fields)),
        Operation::Delete => ("d", None),
        Operation::Truncate => ("t", None),
        // Debezium's operation of what is no row; its readers leave it out.
        Operation::Definition => ("m", None),
    };
    let before = record.before.as_ref().or((record.operation == Operation::Delete).then_some(fields));
    let mut source = json!({"table": record.entity, "ts_ms": record.at_millis});
    if record.operation == Operation::Definition {
        source["definition"] = Value::Object(fields.clone());
    }
    json!({"before": before, "after": after, "op": operation, "ts_ms": record.at_millis, "source": source})
}

/// The operation as `TapData` names it.
#[must_use]
pub fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Truncate => "truncate",
        Operation::Definition => "ddl",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::record::{MessageParts, Position};
    use super::*;

    fn record(body: &str, operation: Option<&str>) -> Record {
        let mut message = MessageParts::default();
        if let Some(operation) = operation {
            message.properties.insert(OPERATION_PROPERTY, operation);
        }
        let body = Bytes::from(body.to_owned());
        Record {
            position: Position { partition: "orders@broker-a@0".into(), offset: 7, index: 0, epoch: 0 },
            entity: "orders".into(),
            operation: Operation::Insert,
            payload: Payload::Raw(body.clone()),
            before: None,
            key_fields: Arc::from([]),
            message,
            at_millis: 5,
            original: Some(body),
            is_changed: false,
        }
    }

    fn decoded(format: Format, body: &str, operation: Option<&str>) -> Option<(Operation, Value, Option<Value>)> {
        let mut record = record(body, operation);
        decode(format, &mut record).unwrap().then(|| {
            let fields = Value::Object(record.fields().unwrap().clone());
            (record.operation, fields, record.before.map(Value::Object))
        })
    }

    #[test]
    fn tapdata_tells_the_operation_in_a_property() {
        let row = json!({"id": 1});
        let of = |operation| decoded(Format::Tapdata, r#"{"id":1}"#, operation);
        assert_eq!(of(None), Some((Operation::Insert, row.clone(), None)));
        assert_eq!(of(Some("upsert")), Some((Operation::Insert, row.clone(), None)));
        assert_eq!(of(Some("update")), Some((Operation::Update, row.clone(), None)));
        assert_eq!(of(Some("delete")), Some((Operation::Delete, row.clone(), Some(row))));
        assert_eq!(of(Some("ddl")), None);
    }

    #[test]
    fn debezium_is_read_with_and_without_its_schema() {
        let event = r#"{"before":{"id":1,"n":1},"after":{"id":1,"n":2},"op":"u","ts_ms":99}"#;
        let expected = Some((Operation::Update, json!({"id": 1, "n": 2}), Some(json!({"id": 1, "n": 1}))));
        assert_eq!(decoded(Format::Debezium, event, None), expected);
        let with_schema = format!(r#"{{"schema":{{"type":"struct"}},"payload":{event}}}"#);
        assert_eq!(decoded(Format::Debezium, &with_schema, None), expected);
        let read = r#"{"before":null,"after":{"id":1},"op":"r"}"#;
        assert_eq!(decoded(Format::Debezium, read, None), Some((Operation::Insert, json!({"id": 1}), None)));
        let gone = r#"{"before":{"id":1},"after":null,"op":"d"}"#;
        let row = json!({"id": 1});
        assert_eq!(decoded(Format::Debezium, gone, None), Some((Operation::Delete, row.clone(), Some(row))));
        assert_eq!(decoded(Format::Debezium, r#"{"op":"t"}"#, None), None);
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said() {
        let why = |format, body: &str| decode(format, &mut record(body, None)).unwrap_err().message;
        assert!(why(Format::Json, "no json").starts_with("body: is not JSON: "));
        assert_eq!(why(Format::Json, "[1]"), "body: is an array, not a JSON object");
        assert_eq!(
            why(Format::Debezium, r#"{"id":1}"#),
            "body: op is missing, a Debezium change event has c, r, u or d"
        );
        assert_eq!(
            why(Format::Debezium, r#"{"op":"d","before":null}"#),
            "body: before is missing in a Debezium change event"
        );
    }

    #[test]
    fn a_changed_row_becomes_a_change_event_that_can_be_read_again() {
        let mut row = record(r#"{"id":1}"#, Some("delete"));
        decode(Format::Tapdata, &mut row).unwrap();
        (row.is_changed, row.original) = (true, None);
        let event = encode(Format::Debezium, &row).unwrap();
        let again = decoded(Format::Debezium, std::str::from_utf8(&event).unwrap(), None).unwrap();
        assert_eq!(again, (Operation::Delete, json!({"id": 1}), Some(json!({"id": 1}))));
    }
}
