//! Values of MySQL as JSON, the same whether they come out of a table or out of the binary log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mysql_async::Value as Given;
use serde_json::{Number, Value};

/// Digits that a floating-point number of 64 bits always keeps.
const EXACT_DIGITS: usize = 15;

/// What kind of values a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers, years included.
    Integer,
    /// Floating-point numbers of 32 bits.
    Float,
    /// Floating-point numbers of 64 bits.
    Double,
    /// Decimal numbers.
    Decimal,
    /// Dates.
    Date,
    /// Dates with times, of no time zone.
    DateTime,
    /// Moments.
    Timestamp,
    /// Times, which are durations as well.
    Time,
    /// Text; values of enumerations and sets, too.
    Text,
    /// JSON.
    Json,
    /// Bytes, which are base64 in JSON.
    Bytes,
    /// Bits, which are a number.
    Bits,
}

impl Kind {
    /// By `data_type` of `information_schema.columns`; none for a type that is not read.
    #[must_use]
    pub fn of(data_type: &str) -> Option<Self> {
        Some(match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Self::Integer,
            "float" => Self::Float,
            "double" => Self::Double,
            "decimal" => Self::Decimal,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "timestamp" => Self::Timestamp,
            "time" => Self::Time,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => Self::Text,
            "json" => Self::Json,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry" | "point"
            | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon" | "geometrycollection"
            | "geomcollection" => Self::Bytes,
            "bit" => Self::Bits,
            _ => return None,
        })
    }
}

/// A value of a table's row, as the binary protocol has it, and about how many bytes it takes.
#[must_use]
pub fn json(kind: Kind, given: Given) -> (Value, usize) {
    let value = match given {
        Given::NULL => Value::Null,
        Given::Int(number) => number.into(),
        Given::UInt(number) => number.into(),
        Given::Float(number) => float(number),
        Given::Double(number) => double(number),
        Given::Date(year, month, day, hour, minute, second, micros) => match kind {
            Kind::Date => date(year.into(), month.into(), day.into()).into(),
            _ => {
                let (day, time) =
                    ((year.into(), month.into(), day.into()), (hour.into(), minute.into(), second.into()));
                moment(day, time, micros, if kind == Kind::Timestamp { "Z" } else { "" })
            }
        },
        Given::Time(is_negative, days, hours, minutes, seconds, micros) => {
            time(is_negative, days * 24 + u32::from(hours), minutes.into(), seconds.into(), micros)
        }
        Given::Bytes(bytes) => {
            let size = bytes.len();
            return (of_bytes(kind, bytes), size);
        }
    };
    (value, 8)
}

fn of_bytes(kind: Kind, bytes: Vec<u8>) -> Value {
    match kind {
        Kind::Bytes => base64(&bytes),
        Kind::Bits => bits(&bytes),
        Kind::Decimal => decimal(&String::from_utf8_lossy(&bytes)),
        Kind::Json => document(&String::from_utf8_lossy(&bytes)),
        _ => text(bytes),
    }
}

/// Text, which is UTF-8.
pub fn text(bytes: Vec<u8>) -> Value {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()).into()
}

/// Bytes.
pub fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// Up to 64 bits, the highest first.
pub fn bits(bytes: &[u8]) -> Value {
    bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).into()
}

/// JSON as text.
pub fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// A number of 32 bits, with the digits that it has and not those of the 64 bits around it.
pub fn float(number: f32) -> Value {
    double(number.to_string().parse().unwrap_or(f64::from(number)))
}

/// A number of 64 bits.
pub fn double(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

/// A decimal number: a JSON number where that keeps each digit, else a text.
pub fn decimal(text: &str) -> Value {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let number = if digits <= EXACT_DIGITS { text.parse::<f64>().ok() } else { None };
    match (text.parse::<i64>(), number.and_then(Number::from_f64)) {
        (Ok(whole), _) => whole.into(),
        (Err(_), Some(number)) => Value::Number(number),
        (Err(_), None) => text.into(),
    }
}

/// `2026-11-26`.
pub fn date(year: u32, month: u32, day: u32) -> String {
    format!("{year:04}-{month:02}-{day:02}")
}

/// A date with a time, in the form of RFC 3339; as MySQL shows it where month or day is zero, which no calendar has.
pub fn moment(
    (year, month, day): (u32, u32, u32),
    (hour, minute, second): (u32, u32, u32),
    micros: u32,
    zone: &str,
) -> Value {
    let (date, fraction) = (date(year, month, day), fraction(micros));
    if month == 0 || day == 0 {
        return format!("{date} {hour:02}:{minute:02}:{second:02}{fraction}").into();
    }
    format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}").into()
}

/// A time, which may be negative and longer than a day.
pub fn time(is_negative: bool, hours: u32, minutes: u32, seconds: u32, micros: u32) -> Value {
    let sign = if is_negative { "-" } else { "" };
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(micros)).into()
}

/// `.5`, without zeros at its end.
fn fraction(micros: u32) -> String {
    if micros == 0 { String::new() } else { format!(".{micros:06}").trim_end_matches('0').to_owned() }
}

/// A value as text by which keys are compared and kept.
#[must_use]
pub fn key_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::json as of;
    use super::*;

    #[test]
    fn values_keep_what_they_say() {
        let bytes = |text: &str| Given::Bytes(text.into());
        for (kind, given, expected) in [
            (Kind::Integer, Given::UInt(u64::MAX), json!(u64::MAX)),
            (Kind::Float, Given::Float(1.1), json!(1.1)),
            (Kind::Double, Given::Double(0.1), json!(0.1)),
            (Kind::Decimal, bytes("12.50"), json!(12.5)),
            (Kind::Decimal, bytes("12345678901234567890.12"), json!("12345678901234567890.12")),
            (Kind::Date, Given::Date(2026, 11, 26, 0, 0, 0, 0), json!("2026-11-26")),
            (Kind::Date, Given::Date(0, 0, 0, 0, 0, 0, 0), json!("0000-00-00")),
            (Kind::DateTime, Given::Date(2026, 11, 26, 8, 0, 0, 500_000), json!("2026-11-26T08:00:00.5")),
            (Kind::Timestamp, Given::Date(2026, 11, 26, 8, 0, 0, 0), json!("2026-11-26T08:00:00Z")),
            (Kind::DateTime, Given::Date(0, 0, 0, 0, 0, 0, 0), json!("0000-00-00 00:00:00")),
            (Kind::Time, Given::Time(true, 34, 22, 59, 59, 0), json!("-838:59:59")),
            (Kind::Json, bytes(r#"{"a": [1]}"#), json!({"a": [1]})),
            (Kind::Bits, Given::Bytes(vec![1, 2]), json!(258)),
            (Kind::Bytes, Given::Bytes(vec![10, 255]), json!("Cv8=")),
            (Kind::Text, bytes("it's"), json!("it's")),
        ] {
            assert_eq!(of(kind, given).0, expected, "{kind:?}");
        }
    }
}
