//! Conversion of a field to a type.

use serde_json::{Number, Value};

use super::super::record::Invalid;
use crate::worker_config::sync::Cast;

/// The value as another type; null stays null.
///
/// # Errors
/// The value has no counterpart in the type.
pub fn convert(field: &str, value: &Value, cast: Cast) -> Result<Value, Invalid> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let (converted, name) = match cast {
        Cast::String => (Some(Value::String(text(value))), "a text"),
        Cast::Integer => (integer(value).map(Value::from), "a whole number"),
        Cast::Number => (number(value).and_then(Number::from_f64).map(Value::Number), "a number"),
        Cast::Boolean => (boolean(value).map(Value::Bool), "true or false"),
        Cast::Timestamp => (timestamp(value).map(Value::String), "a time"),
    };
    converted.ok_or_else(|| {
        let remedy = "correct the sender, or leave such records out with a filter before the cast";
        Invalid::new("InvalidField", format!("cast.{field}: {value} cannot become {name}"), remedy)
    })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        _ => None,
    }
}

/// A floating-point number without a fraction that 64 bits can hold.
fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= LIMIT).then_some(number as i64)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_i64() == Some(0) => Some(false),
        Value::Number(number) if number.as_i64() == Some(1) => Some(true),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "1" => Some(true),
            "false" | "f" | "no" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// RFC 3339 out of itself, of milliseconds since the Unix epoch, or of a date and time without a zone, which is UTC.
fn timestamp(value: &Value) -> Option<String> {
    let moment = match value {
        Value::Number(number) => jiff::Timestamp::from_millisecond(number.as_i64()?).ok()?,
        Value::String(text) => {
            let text = text.trim();
            let zoned = || text.parse::<jiff::Timestamp>().ok();
            let millis = || jiff::Timestamp::from_millisecond(text.parse().ok()?).ok();
            let plain = || {
                let plain = text.parse::<jiff::civil::DateTime>().ok()?;
                Some(plain.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
            };
            zoned().or_else(millis).or_else(plain)?
        }
        _ => return None,
    };
    Some(moment.to_string())
}
