//! Documents of MySQL's binary JSON format.
//!
//! Source: MySQL's `sql-common/json_binary.h`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::binary::{Input, decimal, packed_datetime, packed_time};
use super::value;

/// Documents in documents, beyond which MySQL refuses them itself.
const DEEPEST: usize = 101;

/// Reads a document; none where it does not follow the format.
#[must_use]
pub fn document(bytes: &[u8]) -> Option<Value> {
    // MySQL reads nothing as null, too.
    let Some((kind, content)) = bytes.split_first() else { return Some(Value::Null) };
    read(*kind, content, DEEPEST)
}

fn read(kind: u8, bytes: &[u8], deeper: usize) -> Option<Value> {
    let input = &mut Input(bytes);
    Some(match kind {
        0x00 | 0x01 => Value::Object(object(bytes, kind == 0x01, deeper.checked_sub(1)?)?),
        0x02 | 0x03 => Value::Array(array(bytes, kind == 0x03, deeper.checked_sub(1)?)?),
        0x04 => match input.unsigned(1)? {
            1 => Value::Bool(true),
            2 => Value::Bool(false),
            _ => Value::Null,
        },
        0x05 => input.signed(2)?.into(),
        0x06 => input.unsigned(2)?.into(),
        0x07 => input.signed(4)?.into(),
        0x08 => input.unsigned(4)?.into(),
        0x09 => input.signed(8)?.into(),
        0x0a => input.unsigned(8)?.into(),
        0x0b => value::double(f64::from_bits(input.unsigned(8)?)),
        0x0c => {
            let length = length(input)?;
            value::text(input.take(length)?.to_vec())
        }
        0x0f => {
            let field = u8::try_from(input.unsigned(1)?).ok()?;
            let length = length(input)?;
            opaque(field, input.take(length)?)?
        }
        _ => return None,
    })
}

/// A length in groups of seven bits, the lowest first.
fn length(input: &mut Input<'_>) -> Option<usize> {
    let mut length = 0_usize;
    for group in 0..5 {
        let byte = usize::try_from(input.unsigned(1)?).ok()?;
        length |= (byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

/// Where the parts of an object or array are: all offsets count from its beginning.
fn counted<'a>(bytes: &'a [u8], width: usize) -> Option<(usize, Input<'a>)> {
    let mut input = Input(bytes);
    let count = usize::try_from(input.unsigned(width)?).ok()?;
    input.unsigned(width)?;
    Some((count, input))
}

fn object(bytes: &[u8], is_large: bool, deeper: usize) -> Option<Map<String, Value>> {
    let width = if is_large { 4 } else { 2 };
    let (count, mut entries) = counted(bytes, width)?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let (offset, length) = (entries.size(width)?, entries.size(2)?);
        keys.push(String::from_utf8_lossy(bytes.get(offset..offset + length)?).into_owned());
    }
    keys.into_iter().map(|key| Some((key, entry(bytes, &mut entries, width, deeper)?))).collect()
}

fn array(bytes: &[u8], is_large: bool, deeper: usize) -> Option<Vec<Value>> {
    let width = if is_large { 4 } else { 2 };
    let (count, mut entries) = counted(bytes, width)?;
    (0..count).map(|_| entry(bytes, &mut entries, width, deeper)).collect()
}

/// A value of an object or array, which stands in its entry when it is short enough.
fn entry(bytes: &[u8], entries: &mut Input<'_>, width: usize, deeper: usize) -> Option<Value> {
    let kind = u8::try_from(entries.unsigned(1)?).ok()?;
    let is_inline = matches!(kind, 0x04..=0x06) || (width == 4 && matches!(kind, 0x07 | 0x08));
    let content = entries.take(width)?;
    if is_inline {
        return read(kind, content, deeper);
    }
    read(kind, bytes.get(Input(content).size(width)?..)?, deeper)
}

/// A value of a type that JSON does not have, as MySQL shows it.
fn opaque(field: u8, bytes: &[u8]) -> Option<Value> {
    let input = &mut Input(bytes);
    Some(match field {
        246 => {
            let (precision, scale) = (input.size(1)?, input.size(1)?);
            value::decimal(&decimal(input, precision, scale)?)
        }
        10 | 14 => {
            let ((year, month, day), ..) = packed_datetime(input.signed(8)?);
            value::date(year, month, day).into()
        }
        7 | 12 | 17 | 18 => {
            let (day, time, micros) = packed_datetime(input.signed(8)?);
            value::moment(day, time, micros, "")
        }
        11 | 19 => packed_time(input.signed(8)?),
        other => format!("base64:type{other}:{}", STANDARD.encode(bytes)).into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_read() {
        let small = [0x00, 1, 0, 12, 0, 11, 0, 1, 0, 0x05, 1, 0, b'a'];
        assert_eq!(document(&small), Some(json!({"a": 1})));
        // [null, "ab", -1.5]
        let mut list = vec![0x02, 3, 0, 24, 0, 0x04, 0, 0, 0x0c, 13, 0, 0x0b, 16, 0, 2, b'a', b'b'];
        list.extend((-1.5_f64).to_le_bytes());
        assert_eq!(document(&list), Some(json!([null, "ab", -1.5])));
        assert_eq!(document(&[]), Some(Value::Null));
        assert_eq!(document(&[0x00, 9, 0, 12, 0]), None, "it ends too early");
        let decimal = [0x0f, 246, 4, 3, 1, 0x80 + 12, 5];
        assert_eq!(document(&decimal), Some(json!(12.5)));
    }
}
