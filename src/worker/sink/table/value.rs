//! How a JSON value is written into a column.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::super::super::record::Invalid;
use super::schema::{Column, Dialect, Kind};

/// Reason of a value that cannot be written.
pub const INVALID_VALUE: &str = "InvalidValue";

/// A value on its way to the server, which reads texts as values of the column's type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// The text of a value.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

impl Cell<'_> {
    /// The text; none of nothing, or of bytes.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            Cell::Null | Cell::Bytes(_) => None,
        }
    }

    /// The bytes; none of nothing, or of a text.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Cell::Bytes(bytes) => Some(bytes),
            Cell::Null | Cell::Text(_) => None,
        }
    }

    /// The same, apart from the record that it is of.
    #[must_use]
    pub fn into_owned(self) -> Cell<'static> {
        match self {
            Cell::Null => Cell::Null,
            Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Cell::Bytes(bytes) => Cell::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }

    /// Bytes of its value.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Cell::Null => 0,
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
        }
    }
}

fn owned(text: impl Into<String>) -> Cell<'static> {
    Cell::Text(Cow::Owned(text.into()))
}

/// The cell of a value.
///
/// # Errors
/// The column can never hold the value; what only the server can tell, it tells.
pub fn cell<'a>(value: &'a Value, column: &Column, dialect: Dialect) -> Result<Cell<'a>, Invalid> {
    Ok(match (column.kind, value) {
        (_, Value::Null) => Cell::Null,
        (Kind::Bytes, Value::String(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Cell::Bytes(Cow::Owned(bytes)),
            Err(error) => return Err(not_base64(&column.name, &error.to_string())),
        },
        (Kind::Bytes, _) => return Err(not_base64(&column.name, "it is no text")),
        (Kind::Json, Value::String(text)) => json_text(text),
        (Kind::Timestamp | Kind::Moment | Kind::Date, Value::String(text)) => moment_text(text, column.kind, dialect),
        (Kind::Timestamp | Kind::Moment | Kind::Date, Value::Number(number)) => {
            let read = number.as_i64().and_then(|number| moment_of(number, column.kind));
            let Some(moment) = read else {
                return Err(Invalid::new(
                    INVALID_VALUE,
                    format!("field {}: {number} is no time since the Unix epoch", column.name),
                    "send RFC 3339, or whole milliseconds, microseconds or nanoseconds",
                ));
            };
            owned(moment_as(moment, column.kind, dialect))
        }
        (Kind::Array, Value::Array(elements)) => {
            let mut text = String::new();
            array_literal(elements, &mut text);
            owned(text)
        }
        (Kind::Integer | Kind::Unsigned, Value::Bool(flag)) => owned(if *flag { "1" } else { "0" }),
        (Kind::Integer | Kind::Unsigned, Value::Number(number)) => match number.as_f64() {
            // 5.0 is a whole number; beyond 53 bits a floating-point number tells nothing about its last digits.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                owned(format!("{float:.0}"))
            }
            _ => owned(number.to_string()),
        },
        (_, Value::String(text)) => Cell::Text(Cow::Borrowed(text)),
        (_, Value::Bool(flag)) => Cell::Text(Cow::Borrowed(if *flag { "true" } else { "false" })),
        (_, Value::Number(number)) => owned(number.to_string()),
        (_, Value::Array(_) | Value::Object(_)) => owned(value.to_string()),
    })
}

/// A text that already is an object or array stays as it is: Debezium sends JSON columns so.
fn json_text(text: &str) -> Cell<'_> {
    let is_json =
        text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
    if is_json { Cell::Text(Cow::Borrowed(text)) } else { owned(Value::from(text).to_string()) }
}

/// RFC 3339 becomes what every server reads; what is written otherwise is left to the server.
fn moment_text(text: &str, kind: Kind, dialect: Dialect) -> Cell<'_> {
    match text.parse::<Timestamp>() {
        // PostgreSQL reads RFC 3339 itself, but would not heed the offset where the column has none.
        Ok(_) if dialect == Dialect::Postgres && kind != Kind::Timestamp => Cell::Text(Cow::Borrowed(text)),
        Ok(moment) => owned(moment_as(moment, kind, dialect)),
        Err(_) => Cell::Text(Cow::Borrowed(text)),
    }
}

/// Milliseconds, microseconds or nanoseconds since the Unix epoch, told by their size; days where a date wants a small one.
fn moment_of(number: i64, kind: Kind) -> Option<Timestamp> {
    const DAY: i64 = 86_400;
    match number.unsigned_abs() {
        days if kind == Kind::Date && days < 1_000_000 => Timestamp::from_second(number.checked_mul(DAY)?).ok(),
        size if size < 100_000_000_000_000 => Timestamp::from_millisecond(number).ok(),
        size if size < 100_000_000_000_000_000 => Timestamp::from_microsecond(number).ok(),
        _ => Timestamp::from_nanosecond(i128::from(number)).ok(),
    }
}

fn moment_as(moment: Timestamp, kind: Kind, dialect: Dialect) -> String {
    let format = match (kind, dialect) {
        (Kind::Date, _) => "%Y-%m-%d",
        (Kind::Moment, Dialect::Postgres) => "%Y-%m-%d %H:%M:%S%.6f+00",
        _ => "%Y-%m-%d %H:%M:%S%.6f",
    };
    moment.strftime(format).to_string()
}

/// An array as PostgreSQL reads it.
fn array_literal(elements: &[Value], text: &mut String) {
    text.push('{');
    for (number, element) in elements.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        match element {
            Value::Null => text.push_str("NULL"),
            Value::Array(inner) => array_literal(inner, text),
            Value::String(inner) => quote_element(inner, text),
            Value::Object(_) => quote_element(&element.to_string(), text),
            Value::Bool(_) | Value::Number(_) => text.push_str(&element.to_string()),
        }
    }
    text.push('}');
}

fn quote_element(element: &str, text: &mut String) {
    text.push('"');
    for character in element.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

fn not_base64(field: &str, why: &str) -> Invalid {
    let message = format!("field {field}: is no base64, which a column of bytes wants: {why}");
    Invalid::new(INVALID_VALUE, message, "send base64, or give the column a type for text")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn column(kind: Kind) -> Column {
        let (name, sql_type, stored_type) = ("c".to_owned(), String::new(), String::new());
        Column { name, kind, sql_type, stored_type, is_generated: false }
    }

    fn text(kind: Kind, value: Value, dialect: Dialect) -> String {
        let column = column(kind);
        cell(&value, &column, dialect).unwrap().text().unwrap_or("NULL").to_owned()
    }

    #[test]
    fn values_become_texts_that_the_column_reads() {
        let postgres = |kind, value| text(kind, value, Dialect::Postgres);
        assert_eq!(postgres(Kind::Text, json!("a\"b")), "a\"b");
        assert_eq!(postgres(Kind::Text, json!({"a": 1})), r#"{"a":1}"#);
        assert_eq!(postgres(Kind::Json, json!("a")), "\"a\"");
        assert_eq!(postgres(Kind::Json, json!(r#"{"a": 1}"#)), r#"{"a": 1}"#);
        assert_eq!(postgres(Kind::Json, json!("[no json")), "\"[no json\"");
        assert_eq!(postgres(Kind::Integer, json!(5.0)), "5");
        assert_eq!(postgres(Kind::Integer, json!(5.5)), "5.5");
        assert_eq!(postgres(Kind::Integer, json!(true)), "1");
        assert_eq!(postgres(Kind::Boolean, json!(true)), "true");
        assert_eq!(postgres(Kind::Array, json!(["a\"", null, [1]])), r#"{"a\"",NULL,{1}}"#);
        assert_eq!(postgres(Kind::Text, Value::Null), "NULL");
    }

    #[test]
    fn moments_are_utc_whatever_the_column() {
        let at = json!("2026-01-02T03:04:05+02:00");
        assert_eq!(text(Kind::Moment, at.clone(), Dialect::Postgres), "2026-01-02T03:04:05+02:00");
        assert_eq!(text(Kind::Timestamp, at.clone(), Dialect::Postgres), "2026-01-02 01:04:05.000000");
        assert_eq!(text(Kind::Timestamp, at, Dialect::MySql), "2026-01-02 01:04:05.000000");
        assert_eq!(text(Kind::Timestamp, json!("yesterday"), Dialect::MySql), "yesterday");
        assert_eq!(
            text(Kind::Moment, json!(1_700_000_000_123_i64), Dialect::Postgres),
            "2023-11-14 22:13:20.123000+00"
        );
        assert_eq!(text(Kind::Moment, json!(1_700_000_000_123_456_i64), Dialect::MySql), "2023-11-14 22:13:20.123456");
        assert_eq!(text(Kind::Date, json!(19_000), Dialect::MySql), "2022-01-08");
    }

    #[test]
    fn bytes_are_base64() {
        let column = column(Kind::Bytes);
        assert_eq!(cell(&json!("AQI="), &column, Dialect::Postgres).unwrap().bytes(), Some(&[1, 2][..]));
        let invalid = cell(&json!("no base64"), &column, Dialect::Postgres).unwrap_err();
        assert!(invalid.message.starts_with("field c: is no base64"), "{}", invalid.message);
    }
}
