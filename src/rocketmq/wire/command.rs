//! A remoting command and its frame.
//!
//! A frame is `u32 length | u32 (serializer << 24 | header length) | header | body`, big endian; the header is RocketMQ's
//! binary form (serializer 1, what we send) or JSON (serializer 0, what a peer may send). See `RemotingCommand` and
//! `RocketMQSerializable` of Apache RocketMQ. Nothing is allocated from a length field alone here: a frame is cut from bytes that
//! have arrived.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Deserialize;

use super::loose_json;

/// Largest frame that is accepted, in bytes; RocketMQ's own default limit is 16 MiB.
pub const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONE_WAY: i32 = 2;
/// Language code `OTHER`: known to every broker version, unlike `RUST`, which 4.9 does not have.
const LANGUAGE_OTHER: u8 = 7;
/// Ordinal of a 4.9 client version in RocketMQ's `MQVersion`; brokers only compare it with older ones.
const CLIENT_VERSION: i16 = 407;

/// Name and value of a header field.
type Field = (Cow<'static, str>, String);

/// A request or response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Request code, or response code in a response.
    pub code: i16,
    /// Ordinal of the sender's version in RocketMQ's `MQVersion`; what is sent always carries our own.
    pub version: i16,
    /// Correlates a response with its request.
    pub opaque: i32,
    /// Bit 0: response; bit 1: one-way.
    pub flag: i32,
    /// Words of the server in a response.
    pub remark: String,
    /// Header fields in the order in which they are sent.
    pub fields: Vec<Field>,
    /// Body; empty when there is none.
    pub body: Bytes,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is beyond the limit or too short for a header.
    #[error("frame length {0} is not between 4 and {MAX_FRAME_BYTES}")]
    Length(usize),
    /// The header length is beyond the frame.
    #[error("header length {header} is beyond the frame of {frame} bytes")]
    HeaderLength {
        /// Length that the frame claims for its header.
        header: usize,
        /// Length of the frame.
        frame: usize,
    },
    /// The header does not decode.
    #[error("header does not decode: {0}")]
    Header(&'static str),
}

impl Command {
    /// A request with an empty body.
    #[must_use]
    pub fn request(code: i16) -> Self {
        Self { code, ..Self::default() }
    }

    /// The successful answer to a request.
    #[must_use]
    pub fn response_to(request: &Self, code: i16) -> Self {
        Self { code, opaque: request.opaque, flag: FLAG_RESPONSE, ..Self::default() }
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((Cow::Borrowed(name), value.to_string()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Marks the request as one that is not answered.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.flag |= FLAG_ONE_WAY;
        self
    }

    /// Whether this is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether the sender expects no answer.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.flag & FLAG_ONE_WAY != 0
    }

    /// Value of a header field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Value of a header field as a whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.field(name)?.parse().ok()
    }

    /// Appends the frame with a binary header.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(out);
        out.put_slice(&self.body);
    }

    /// Appends everything of the frame that stands before the body.
    pub fn encode_head(&self, out: &mut BytesMut) {
        let start = out.len();
        out.reserve(64 + self.fields.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>());
        out.put_u64(0);
        out.put_i16(self.code);
        out.put_u8(LANGUAGE_OTHER);
        out.put_i16(CLIENT_VERSION);
        out.put_i32(self.opaque);
        out.put_i32(self.flag);
        put_sized(out, self.remark.as_bytes());
        let fields_at = out.len();
        out.put_u32(0);
        // brokers read an empty value as none, and would then compute another signature than we did
        for (name, value) in self.fields.iter().filter(|(_, value)| !value.is_empty()) {
            out.put_u16(name.len() as u16);
            out.put_slice(name.as_bytes());
            put_sized(out, value.as_bytes());
        }
        let fields_length = (out.len() - fields_at - 4) as u32;
        out[fields_at..fields_at + 4].copy_from_slice(&fields_length.to_be_bytes());
        let header_length = (out.len() - start - 8) as u32;
        let frame_length = (out.len() - start - 4 + self.body.len()) as u32;
        out[start..start + 4].copy_from_slice(&frame_length.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&(header_length | 1 << 24).to_be_bytes());
    }

    /// Bytes that are missing of the frame at the front of `input`, as far as its length is known.
    #[must_use]
    pub fn missing(input: &[u8]) -> usize {
        let length = input.first_chunk::<4>().map_or(0, |prefix| u32::from_be_bytes(*prefix) as usize);
        (4 + length.min(MAX_FRAME_BYTES)).saturating_sub(input.len())
    }

    /// Cuts the next whole frame from `input`, or returns `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not a frame; the connection cannot be used any more.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some(prefix) = input.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if !(4..=MAX_FRAME_BYTES).contains(&length) {
            return Err(FrameError::Length(length));
        }
        if input.len() < 4 + length {
            return Ok(None);
        }
        input.advance(4);
        let mut frame = input.split_to(length).freeze();
        let marker = frame.get_u32();
        let (serializer, header_length) = (marker >> 24, (marker & 0x00ff_ffff) as usize);
        if header_length > frame.len() {
            return Err(FrameError::HeaderLength { header: header_length, frame: frame.len() });
        }
        let header = frame.split_to(header_length);
        let mut command = match serializer {
            0 => decode_json_header(&header)?,
            1 => decode_binary_header(header)?,
            _ => return Err(FrameError::Header("unknown serializer")),
        };
        command.body = frame;
        Ok(Some(command))
    }
}

fn put_sized(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn decode_binary_header(mut header: Bytes) -> Result<Command, FrameError> {
    const SHORT: FrameError = FrameError::Header("binary header is too short");
    if header.len() < 21 {
        return Err(SHORT);
    }
    let mut command = Command { code: header.get_i16(), ..Command::default() };
    header.advance(1);
    command.version = header.get_i16();
    command.opaque = header.get_i32();
    command.flag = header.get_i32();
    command.remark = take_string(&mut header, 4).ok_or(SHORT)?;
    let fields_length = if header.len() >= 4 { header.get_u32() as usize } else { 0 };
    if fields_length > header.len() {
        return Err(SHORT);
    }
    let mut fields = header.split_to(fields_length);
    while !fields.is_empty() {
        let name = take_string(&mut fields, 2).ok_or(SHORT)?;
        let value = take_string(&mut fields, 4).ok_or(SHORT)?;
        command.fields.push((Cow::Owned(name), value));
    }
    Ok(command)
}

/// Takes a string with a length prefix of two or four bytes; `None` when the input is shorter than the prefix says.
fn take_string(input: &mut Bytes, prefix: usize) -> Option<String> {
    if input.len() < prefix {
        return None;
    }
    let length = if prefix == 2 { usize::from(input.get_u16()) } else { input.get_u32() as usize };
    (length <= input.len()).then(|| String::from_utf8_lossy(&input.split_to(length)).into_owned())
}

fn decode_json_header(header: &[u8]) -> Result<Command, FrameError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Header {
        code: i16,
        #[serde(default)]
        version: i16,
        #[serde(default)]
        opaque: i32,
        #[serde(default)]
        flag: i32,
        #[serde(default)]
        remark: Option<String>,
        #[serde(default)]
        ext_fields: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let value = loose_json::parse(header).map_err(|_| FrameError::Header("JSON header does not parse"))?;
    let parsed: Header =
        serde_json::from_value(value.into_json()).map_err(|_| FrameError::Header("JSON header lacks a field"))?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(Command {
        code: parsed.code,
        version: parsed.version,
        opaque: parsed.opaque,
        flag: parsed.flag,
        remark: parsed.remark.unwrap_or_default(),
        fields: parsed
            .ext_fields
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (Cow::Owned(name), text(value)))
            .collect(),
        body: Bytes::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(bytes: &[u8]) -> Result<Option<Command>, FrameError> {
        Command::decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn a_json_header_with_fastjson_looseness_decodes() {
        let header = br#"{"code":0,"extFields":{"offset":"5","n":7},"flag":1,"language":"JAVA","opaque":9,"serializeTypeCurrentRPC":"JSON","version":407}"#;
        let mut bytes = BytesMut::new();
        bytes.put_u32(4 + header.len() as u32 + 2);
        bytes.put_u32(header.len() as u32);
        bytes.put_slice(header);
        bytes.put_slice(b"hi");
        let command = Command::decode(&mut bytes).unwrap().unwrap();
        assert_eq!((command.opaque, command.field("offset"), command.number("n")), (9, Some("5"), Some(7)));
        assert_eq!(command.version, 407);
        assert!(command.is_response());
        assert_eq!(command.body.as_ref(), b"hi");
    }

    #[test]
    fn a_length_beyond_the_limit_is_an_error_and_not_an_allocation() {
        assert_eq!(decode_all(&[0xff, 0xff, 0xff, 0xff, 0]), Err(FrameError::Length(u32::MAX as usize)));
        assert_eq!(decode_all(&[0, 0, 0, 4, 1, 0, 0, 9]), Err(FrameError::HeaderLength { header: 9, frame: 0 }));
    }

    proptest! {
        #[test]
        fn frames_survive_a_round_trip(code in any::<i16>(), opaque in any::<i32>(), flag in 0..4i32, remark in ".{0,40}",
            fields in prop::collection::vec(("[a-zA-Z]{1,12}", ".{1,30}"), 0..8), body in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
            let command = Command { code, version: CLIENT_VERSION, opaque, flag, remark, body: body.into(),
                fields: fields.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect() };
            let mut bytes = BytesMut::new();
            command.encode(&mut bytes);
            let whole = bytes.clone();
            prop_assert_eq!(Command::decode(&mut bytes).unwrap().unwrap(), command);
            prop_assert!(bytes.is_empty());
            prop_assert_eq!(Command::missing(&whole), 0);
            if cut < whole.len() {
                let missing = if cut < 4 { 4 - cut } else { whole.len() - cut };
                prop_assert_eq!(Command::missing(&whole[..cut]), missing);
                prop_assert_eq!(Command::decode(&mut BytesMut::from(&whole[..cut])).unwrap(), None);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&bytes);
        }

        #[test]
        fn arbitrary_headers_never_panic(serializer in 0u32..3, header in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = BytesMut::new();
            bytes.put_u32(4 + header.len() as u32);
            bytes.put_u32(serializer << 24 | header.len() as u32);
            bytes.put_slice(&header);
            let _ = decode_all(&bytes);
        }

        #[test]
        fn json_headers_are_read(code in any::<i16>(), opaque in any::<i32>(), fields in prop::collection::btree_map("[a-zA-Z]{1,8}", ".{0,20}", 0..6)) {
            let header = serde_json::json!({ "code": code, "opaque": opaque, "flag": 1, "extFields": fields }).to_string();
            let mut bytes = BytesMut::new();
            bytes.put_u32(4 + header.len() as u32);
            bytes.put_u32(header.len() as u32);
            bytes.put_slice(header.as_bytes());
            let command = Command::decode(&mut bytes).unwrap().unwrap();
            prop_assert_eq!((command.code, command.opaque), (code, opaque));
            prop_assert!(fields.iter().all(|(name, value)| command.field(name) == Some(value.as_str())));
        }
    }
}
