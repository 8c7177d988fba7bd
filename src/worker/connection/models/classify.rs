//! What a message body is, when it is not a JSON object.

use crate::worker_config::models::Format;

/// First bytes of an Avro object container file.
const AVRO_FILE: &[u8] = b"Obj\x01";
/// Bytes of a schema id in front of a record, as schema registries have it: zero, and four bytes of the id.
const REGISTRY_HEADER: usize = 5;

/// What the body is; a JSON object is not looked for here.
pub fn classify(body: &[u8]) -> Format {
    if body.starts_with(AVRO_FILE) {
        return Format::Avro;
    }
    if let Some(record) = body.get(REGISTRY_HEADER..).filter(|record| body[0] == 0 && !record.is_empty()) {
        return registered(record);
    }
    match std::str::from_utf8(body) {
        Ok(text) if is_text(text) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Format::JsonValue,
            Err(_) => Format::Text,
        },
        _ if is_protobuf(body) => Format::Protobuf,
        _ => Format::Binary,
    }
}

fn is_text(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'))
}

/// Behind a schema id, Protocol Buffers begin with the index of the message in its file, which is nearly always 0.
fn registered(record: &[u8]) -> Format {
    match record.split_first() {
        Some((0, message)) if message.is_empty() || is_protobuf(message) => Format::Protobuf,
        _ => Format::Avro,
    }
}

/// Whether the whole body reads as fields of Protocol Buffers.
fn is_protobuf(body: &[u8]) -> bool {
    let mut rest = body;
    while !rest.is_empty() {
        match skip_field(rest) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    !body.is_empty()
}

fn skip_field(body: &[u8]) -> Option<&[u8]> {
    let (key, rest) = varint(body)?;
    let number = key >> 3;
    if !(1..1 << 29).contains(&number) {
        return None;
    }
    match key & 7 {
        0 => varint(rest).map(|(_, rest)| rest),
        1 => rest.get(8..),
        2 => {
            let (length, rest) = varint(rest)?;
            rest.get(usize::try_from(length).ok()?..)
        }
        5 => rest.get(4..),
        _ => None,
    }
}

fn varint(body: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in body.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(at).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &body[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bodies_are_told_apart() {
        let table: [(&[u8], Format); 12] = [
            (b"[1, 2]", Format::JsonValue),
            (b"42", Format::JsonValue),
            (b"hello", Format::Text),
            ("Grüße\n".as_bytes(), Format::Text),
            (b"{\"a\":", Format::Text),
            (b"Obj\x01\x04\x14avro.codec", Format::Avro),
            (b"\x00\x00\x00\x00\x07\x02\x06foo", Format::Avro),
            (b"\x00\x00\x00\x00\x07\x00\x0a\x03foo", Format::Protobuf),
            // Field 1 is 150, field 2 is "testing".
            (b"\x08\x96\x01\x12\x07testing", Format::Protobuf),
            (b"\xff\xfe\x00\x01", Format::Binary),
            (b"\x00", Format::Binary),
            (b"", Format::Text),
        ];
        for (body, expected) in table {
            assert_eq!(classify(body), expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_something(body in prop::collection::vec(any::<u8>(), 0..300)) {
            classify(&body);
        }
    }
}
