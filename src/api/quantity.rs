//! Durations, times of day and sizes as text, with the rule that the API server checks them by.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration as text: whole numbers with the units `ms`, `s`, `m` and `h`, for instance `10s` or `1h30m`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

impl Duration {
    /// The duration, or nothing when the text is not one or is longer than 2^64 milliseconds.
    #[must_use]
    pub fn to_std(&self) -> Option<std::time::Duration> {
        let mut rest = self.0.as_str();
        let mut millis: u64 = 0;
        while !rest.is_empty() {
            let (number, after) = leading_number(rest)?;
            let (unit, after) = leading_unit(after)?;
            millis = millis.checked_add(number.checked_mul(unit)?)?;
            rest = after;
        }
        (!self.0.is_empty()).then(|| std::time::Duration::from_millis(millis))
    }
}

impl From<&str> for Duration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

fn leading_unit(text: &str) -> Option<(u64, &str)> {
    // `ms` stands before `m`, which is its prefix.
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    units.into_iter().find_map(|(name, millis)| Some((millis, text.strip_prefix(name)?)))
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_schema(
            32,
            "self.matches('^([0-9]{1,9}(ms|s|m|h))+$')",
            "must be a duration of whole numbers with the units ms, s, m, h, such as 500ms, 10s, 5m or 1h30m",
        )
    }
}

/// A number of bytes as text: a whole number, or one with the unit `k`, `Ki`, `M`, `Mi`, `G` or `Gi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub String);

impl ByteSize {
    /// The number of bytes, or nothing when the text is not a size or does not fit.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let (number, unit) = leading_number(&self.0)?;
        let factor = match unit {
            "" => 1,
            "k" => 1_000,
            "Ki" => 1 << 10,
            "M" => 1_000_000,
            "Mi" => 1 << 20,
            "G" => 1_000_000_000,
            "Gi" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(factor)
    }
}

impl From<&str> for ByteSize {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_schema(
            16,
            "self.matches('^[1-9][0-9]{0,11}(k|Ki|M|Mi|G|Gi)?$')",
            "must be a number of bytes such as 65536, 512Ki, 4Mi or 1Gi, in quotes when it has no unit",
        )
    }
}

/// A time of day as text, `HH:MM` from `00:00` to `23:59`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeOfDay(pub String);

impl From<&str> for TimeOfDay {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for TimeOfDay {
    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_schema(
            5,
            "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",
            "must be a time of day from 00:00 to 23:59, such as \"02:30\", in quotes",
        )
    }
}

fn text_schema(max_length: u32, rule: &str, message: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": max_length,
        "x-kubernetes-validations": [{ "rule": rule, "message": message }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |text: &str| Duration::from(text).to_std().map(|duration| duration.as_millis());
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("10s"), Some(10_000));
        for wrong in ["", "10", "s", "1d", "1.5s", "-1s", "10 s", "18446744073709551615h"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        let bytes = |text: &str| ByteSize::from(text).bytes();
        assert_eq!(bytes("4Mi"), Some(4_194_304));
        assert_eq!(bytes("65536"), Some(65_536));
        assert_eq!(bytes("1k"), Some(1_000));
        for wrong in ["", "Mi", "4MB", "4 Mi", "1.5Gi", "-1"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
