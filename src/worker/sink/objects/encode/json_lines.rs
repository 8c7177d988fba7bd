//! JSON lines. What is compressed is compressed in pieces that follow each other (members of gzip, frames of Zstandard), as both
//! formats allow: so a compressor and its memory are needed for a moment, not for each open object.

use crate::rocketmq::Properties;
use bytestring::ByteString;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::write::{GzEncoder, MultiGzDecoder};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::super::super::record::Invalid;
use super::super::row::Row;
use crate::worker_config::sync::{Compression, Format};

/// Level of Zstandard: its default.
const ZSTD_LEVEL: i32 = 3;
/// What a line takes that is not text of the message, about.
const LINE_OVERHEAD: usize = 256;

/// Lines that are not compressed yet.
pub struct JsonLines {
    format: Format,
    compression: Compression,
    lines: Vec<u8>,
}

/// A line. The names are those of the columns of Parquet.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    broker: &'a str,
    queue: i32,
    offset: i64,
    message_id: &'a str,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "<[ByteString]>::is_empty")]
    keys: &'a [ByteString],
    #[serde(skip_serializing_if = "Option::is_none")]
    sharding_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Properties::is_empty")]
    properties: &'a Properties,
    born_time: i64,
    store_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Body<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl JsonLines {
    /// No lines yet.
    pub fn new(format: Format, compression: Compression) -> Self {
        Self { format, compression, lines: Vec::new() }
    }

    /// Bytes of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Adds a line.
    ///
    /// # Errors
    /// The body is no JSON.
    pub fn add(&mut self, row: &Row<'_>) -> Result<(), Invalid> {
        let invalid = |error: serde_json::Error| {
            let message = format!("body: cannot be written as JSON: {error}");
            Invalid::new("InvalidBody", message, "correct the sender, or set spec.format to Raw")
        };
        let (body, body_base64) = if self.format == Format::Raw {
            match std::str::from_utf8(&row.body) {
                Ok(text) => (Some(Body::Text(text)), None),
                Err(_) => (None, Some(STANDARD.encode(&row.body))),
            }
        } else {
            (Some(Body::Json(serde_json::from_slice(&row.body).map_err(invalid)?)), None)
        };
        let line = Line {
            topic: row.topic,
            broker: row.broker,
            queue: row.queue,
            offset: row.offset,
            message_id: row.message_id,
            operation: row.operation,
            tag: row.tag,
            keys: row.keys,
            sharding_key: row.sharding_key,
            properties: row.properties,
            born_time: row.born_millis,
            store_time: row.stored_millis,
            body,
            body_base64,
        };
        let start = self.lines.len();
        self.lines.reserve(row.body.len() + LINE_OVERHEAD);
        serde_json::to_writer(&mut self.lines, &line).map_err(|error| {
            self.lines.truncate(start);
            invalid(error)
        })?;
        // A body stays as it came, and JSON may have line breaks between its parts; within texts they are escaped.
        self.lines[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        self.lines.push(b'\n');
        Ok(())
    }

    /// Moves the lines to `encoded`, compressed.
    ///
    /// # Errors
    /// In words what is wrong.
    pub fn flush(&mut self, encoded: &mut Vec<u8>) -> Result<(), String> {
        if self.lines.is_empty() {
            return Ok(());
        }
        match self.compression {
            Compression::None | Compression::Snappy => encoded.append(&mut self.lines),
            Compression::Gzip => gzip(&self.lines, encoded).map_err(|error| format!("gzip: {error}"))?,
            Compression::Zstd => {
                let frame = zstd::bulk::compress(&self.lines, ZSTD_LEVEL).map_err(|error| format!("zstd: {error}"))?;
                encoded.extend_from_slice(&frame);
            }
        }
        self.lines = Vec::new();
        Ok(())
    }
}

fn gzip(lines: &[u8], encoded: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(encoded, flate2::Compression::default());
    encoder.write_all(lines)?;
    encoder.finish().map(|_| ())
}

/// Finds the last line of an object, whose bytes are given to it one piece after the other.
pub struct LastLine {
    decoder: Decoder,
}

enum Decoder {
    Plain(Tail),
    Gzip(Box<MultiGzDecoder<Tail>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Tail>>),
}

/// The last whole line, and the beginning of the next one.
#[derive(Default)]
struct Tail {
    whole: Vec<u8>,
    begun: Vec<u8>,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.iter().rposition(|byte| *byte == b'\n') {
            None => self.begun.extend_from_slice(bytes),
            Some(end) => {
                match bytes[..end].iter().rposition(|byte| *byte == b'\n') {
                    Some(start) => self.whole = bytes[start + 1..end].to_vec(),
                    None => {
                        self.whole = std::mem::take(&mut self.begun);
                        self.whole.extend_from_slice(&bytes[..end]);
                    }
                }
                self.begun = bytes[end + 1..].to_vec();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct OffsetOnly {
    offset: u64,
}

impl LastLine {
    /// A reader of objects of this compression.
    ///
    /// # Errors
    /// No decoder can be made.
    pub fn new(compression: Compression) -> io::Result<Self> {
        let decoder = match compression {
            Compression::None | Compression::Snappy => Decoder::Plain(Tail::default()),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(Tail::default()))),
            Compression::Zstd => Decoder::Zstd(Box::new(zstd::stream::write::Decoder::new(Tail::default())?)),
        };
        Ok(Self { decoder })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// It is not compressed so.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.decoder {
            Decoder::Plain(tail) => tail.write_all(bytes),
            Decoder::Gzip(decoder) => decoder.write_all(bytes),
            Decoder::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// The offset in the last line; none when there is no such line.
    ///
    /// # Errors
    /// The end is missing.
    pub fn offset(self) -> io::Result<Option<u64>> {
        let tail = match self.decoder {
            Decoder::Plain(tail) => tail,
            Decoder::Gzip(decoder) => decoder.finish()?,
            Decoder::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok(serde_json::from_slice::<OffsetOnly>(&tail.whole).ok().map(|line| line.offset))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;

    fn row<'a>(offset: i64, body: &'static [u8], properties: &'a Properties) -> Row<'a> {
        Row {
            topic: "orders",
            broker: "broker-a",
            queue: 3,
            offset,
            message_id: "ID",
            operation: "insert",
            tag: Some("paid"),
            keys: &[],
            sharding_key: None,
            properties,
            born_millis: 98,
            stored_millis: 99,
            body: Bytes::from_static(body),
        }
    }

    fn lines(format: Format, body: &'static [u8]) -> String {
        let mut lines = JsonLines::new(format, Compression::None);
        lines.add(&row(17, body, &Properties::new())).unwrap();
        String::from_utf8(lines.lines).unwrap()
    }

    #[test]
    fn a_record_is_one_line() {
        let text = lines(Format::Json, b"{\"a\":\r\n  \"x\\ny\"}");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let expected = json!({
            "topic": "orders", "broker": "broker-a", "queue": 3, "offset": 17, "message_id": "ID", "operation": "insert",
            "tag": "paid", "born_time": 98, "store_time": 99, "body": {"a": "x\ny"},
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        let text: Value = serde_json::from_str(&lines(Format::Raw, b"two\nlines")).unwrap();
        assert_eq!((text["body"].as_str(), text.get("body_base64")), (Some("two\nlines"), None));
        let binary: Value = serde_json::from_str(&lines(Format::Raw, b"\xff\x00")).unwrap();
        assert_eq!((binary.get("body"), binary["body_base64"].as_str()), (None, Some("/wA=")));
    }

    #[test]
    fn the_last_offset_is_found_in_each_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (mut lines, mut encoded, properties) =
                (JsonLines::new(Format::Json, compression), Vec::new(), Properties::new());
            for offset in 0..100 {
                lines.add(&row(offset, br#"{"id":1}"#, &properties)).unwrap();
                if offset % 40 == 39 {
                    lines.flush(&mut encoded).unwrap();
                }
            }
            lines.flush(&mut encoded).unwrap();
            for size in [1, 7, 100_000] {
                let mut last = LastLine::new(compression).unwrap();
                encoded.chunks(size).for_each(|piece| last.push(piece).unwrap());
                assert_eq!(last.offset().unwrap(), Some(99), "{compression:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn compressed_pieces_are_one_file() {
        let (mut lines, mut encoded, properties) =
            (JsonLines::new(Format::Json, Compression::Gzip), Vec::new(), Properties::new());
        for offset in 0..3 {
            lines.add(&row(offset, br#"{"id":1}"#, &properties)).unwrap();
            lines.flush(&mut encoded).unwrap();
        }
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&encoded[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 3);
    }
}
