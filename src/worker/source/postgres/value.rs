//! Values of PostgreSQL, in the text form of their types, as JSON. The sessions have `datestyle = ISO`, `timezone = UTC`,
//! `bytea_output = hex` and `intervalstyle = iso_8601`, so that full load and change capture give the same.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

/// Digits that a floating-point number of 64 bits always keeps.
const EXACT_DIGITS: usize = 15;

/// A value as JSON, by the object id of its type (`pg_type.dat`).
#[must_use]
pub fn json(type_oid: u32, text: &str) -> Value {
    match type_oid {
        16 => Value::Bool(text == "t"),
        // int8, int2, int4, oid
        20 | 21 | 23 | 26 => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        // float4, float8: NaN and infinities are texts
        700 | 701 => text.parse().ok().and_then(Number::from_f64).map_or_else(|| text.into(), Value::Number),
        1700 => numeric(text),
        // json, jsonb
        114 | 3802 => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        17 => bytes(text),
        1114 => moment(text, ""),
        1184 => moment(text, "Z"),
        array => match element(array) {
            Some(element) => list(element, text).unwrap_or_else(|| text.into()),
            None => text.into(),
        },
    }
}

/// A value as JSON; none is null.
#[must_use]
pub fn json_or_null(type_oid: u32, text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| json(type_oid, text))
}

/// A decimal number: a JSON number where that keeps each digit, else a text.
fn numeric(text: &str) -> Value {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let number = if digits <= EXACT_DIGITS { text.parse::<f64>().ok() } else { None };
    match (text.parse::<i64>(), number.and_then(Number::from_f64)) {
        (Ok(whole), _) => whole.into(),
        (Err(_), Some(number)) => Value::Number(number),
        (Err(_), None) => text.into(),
    }
}

/// `\x0a1b` as base64.
fn bytes(text: &str) -> Value {
    let digits = text.strip_prefix("\\x").unwrap_or_default().as_bytes();
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.filter(|_| text.starts_with("\\x")).map_or_else(|| text.into(), |bytes| STANDARD.encode(bytes).into())
}

/// `2026-11-26 08:00:00.5+00` as RFC 3339; `infinity`, and years before Christ, stay as they are.
fn moment(text: &str, zone: &str) -> Value {
    let local = text.strip_suffix("+00").unwrap_or(text);
    match local.split_once(' ') {
        Some((date, time)) if !time.contains([' ', '+', '-']) => format!("{date}T{time}{zone}").into(),
        _ => text.into(),
    }
}

/// Whether values of a type are ordered here as the server does: not where that depends on a collation.
#[must_use]
pub fn is_ordered_here(type_oid: u32) -> bool {
    // int8, int2, int4, uuid
    matches!(type_oid, 20 | 21 | 23 | 2950)
}

/// The order of two keys of such types.
#[must_use]
pub fn key_order(type_oids: &[u32], left: &[String], right: &[String]) -> Ordering {
    let parts = type_oids.iter().zip(left.iter().zip(right));
    let order = |(type_oid, (left, right)): (&u32, (&String, &String))| match type_oid {
        // The text form of a UUID is in the order of its bytes.
        2950 => left.cmp(right),
        _ => left.parse::<i64>().unwrap_or_default().cmp(&right.parse().unwrap_or_default()),
    };
    parts.map(order).find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
}

/// The element type of an array type.
fn element(array: u32) -> Option<u32> {
    Some(match array {
        1000 => 16,
        1001 => 17,
        1005 => 21,
        1007 => 23,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1231 => 1700,
        199 => 114,
        3807 => 3802,
        1115 => 1114,
        1185 => 1184,
        // text, varchar, bpchar, date, time, uuid, name
        1009 | 1015 | 1014 | 1182 | 1183 | 2951 | 1003 => 25,
        _ => return None,
    })
}

/// `{1,NULL,"a b",{2}}` as a JSON list; none where the text is no array, or has bounds of its own.
fn list(element: u32, text: &str) -> Option<Value> {
    let mut rest = text.chars().peekable();
    let value = items(element, &mut rest)?;
    rest.next().is_none().then_some(value)
}

fn items(element: u32, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Value> {
    if rest.next()? != '{' {
        return None;
    }
    let mut values = Vec::new();
    if rest.next_if_eq(&'}').is_some() {
        return Some(Value::Array(values));
    }
    loop {
        values.push(match rest.peek()? {
            '{' => items(element, rest)?,
            '"' => {
                rest.next();
                let mut item = String::new();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => item.push(rest.next()?),
                        other => item.push(other),
                    }
                }
                json(element, &item)
            }
            _ => {
                let mut item = String::new();
                while let Some(character) = rest.next_if(|character| !matches!(character, ',' | '}')) {
                    item.push(character);
                }
                if item == "NULL" { Value::Null } else { json(element, &item) }
            }
        });
        match rest.next()? {
            ',' => {}
            '}' => return Some(Value::Array(values)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::json as of;
    use super::*;

    #[test]
    fn values_keep_what_they_say() {
        let max = "9223372036854775807";
        for (oid, text, expected) in [
            (16, "t", json!(true)),
            (20, max, json!(i64::MAX)),
            (701, "1.5", json!(1.5)),
            (701, "NaN", json!("NaN")),
            (1700, "12.50", json!(12.5)),
            (1700, "12345678901234567890.12", json!("12345678901234567890.12")),
            (1700, "0.1000000000000000000001", json!("0.1000000000000000000001")),
            (3802, r#"{"a": [1]}"#, json!({"a": [1]})),
            (17, "\\x0aff", json!("Cv8=")),
            (1184, "2026-11-26 08:00:00.123456+00", json!("2026-11-26T08:00:00.123456Z")),
            (1114, "2026-11-26 08:00:00", json!("2026-11-26T08:00:00")),
            (1184, "infinity", json!("infinity")),
            (1082, "2026-11-26", json!("2026-11-26")),
            (2950, "00000000-0000-0000-0000-000000000001", json!("00000000-0000-0000-0000-000000000001")),
            (1007, "{1,NULL,{2}}", json!([1, null, [2]])),
            (1009, r#"{a,"b \"c\", d",NULL,"NULL",""}"#, json!(["a", "b \"c\", d", null, "NULL", ""])),
            (1009, "{}", json!([])),
            (1007, "[2:3]={1,2}", json!("[2:3]={1,2}")),
            (600, "(1,2)", json!("(1,2)")),
        ] {
            assert_eq!(of(oid, text), expected, "{oid} {text}");
        }
    }

    #[test]
    fn keys_are_ordered_as_the_server_does() {
        let key = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(key_order(&[20], &key(&["9"]), &key(&["10"])), Ordering::Less);
        assert_eq!(key_order(&[23, 20], &key(&["1", "-2"]), &key(&["1", "-10"])), Ordering::Greater);
        assert_eq!(key_order(&[2950], &key(&["0a"]), &key(&["0a"])), Ordering::Equal);
        assert!(!is_ordered_here(25));
    }
}
