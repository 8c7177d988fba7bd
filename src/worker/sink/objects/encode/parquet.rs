//! Parquet, written column by column without Arrow: one schema for all topics, with the body as it is.

use bytestring::ByteString;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FooterTail, KeyValue, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::super::row::Row;
use super::About;
use crate::worker_config::sync::{Compression, Format};

/// Key of the last offset in the metadata of a file.
const LAST_OFFSET: &str = "rocketmq.last_offset";
/// Bytes at the end of a file that tell where its metadata begins.
pub const FOOTER: usize = 8;
/// What a text takes besides its bytes: its place in a column, which has room to grow, and what the allocator adds.
const PIECE_OVERHEAD: usize = size_of::<ByteArray>() * 3 / 2 + 16;
/// What a row takes besides its texts, about.
const ROW_OVERHEAD: usize = 160;

/// Rows of a file; they become a row group together.
pub struct ParquetRows {
    file: SerializedFileWriter<Vec<u8>>,
    columns: Columns,
    bytes: usize,
}

/// The columns in the order of the schema.
#[derive(Default)]
struct Columns {
    topic: Vec<ByteArray>,
    broker: Vec<ByteArray>,
    queue: Vec<i32>,
    offset: Vec<i64>,
    message_id: Vec<ByteArray>,
    operation: Vec<ByteArray>,
    tag: Optional,
    keys: Nested,
    sharding_key: Optional,
    property_names: Vec<ByteArray>,
    properties: Nested,
    born_time: Vec<i64>,
    store_time: Vec<i64>,
    body: Vec<ByteArray>,
}

/// Values, some of which are missing: the level of those that are there is 1.
#[derive(Default)]
struct Optional {
    values: Vec<ByteArray>,
    levels: Vec<i16>,
}

/// Lists of values. The level of a value is 1, that of an empty list 0; all values of a list but the first repeat at level 1.
#[derive(Default)]
struct Nested {
    values: Vec<ByteArray>,
    levels: Vec<i16>,
    repetitions: Vec<i16>,
}

impl Optional {
    fn push(&mut self, value: Option<&str>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value.map(text));
    }
}

impl Nested {
    fn push<'a>(&mut self, values: impl Iterator<Item = &'a ByteString>) {
        let before = self.values.len();
        for value in values {
            self.repetitions.push(i16::from(self.values.len() > before));
            self.levels.push(1);
            self.values.push(text(value));
        }
        if self.values.len() == before {
            self.repetitions.push(0);
            self.levels.push(0);
        }
    }
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(Bytes::copy_from_slice(text.as_bytes()))
}

/// The schema; bodies that are not looked into are binary.
fn schema(format: Format) -> Result<TypePtr, ParquetError> {
    let body = if format == Format::Raw { "required binary body" } else { "required binary body (STRING)" };
    let schema = format!(
        "message record {{
            required binary topic (STRING);
            required binary broker (STRING);
            required int32 queue;
            required int64 offset;
            required binary message_id (STRING);
            required binary operation (STRING);
            optional binary tag (STRING);
            required group keys (LIST) {{ repeated group list {{ required binary element (STRING); }} }}
            optional binary sharding_key (STRING);
            required group properties (MAP) {{
                repeated group key_value {{ required binary key (STRING); required binary value (STRING); }}
            }}
            required int64 born_time (TIMESTAMP(MILLIS,true));
            required int64 store_time (TIMESTAMP(MILLIS,true));
            {body};
        }}"
    );
    parse_message_type(&schema).map(Arc::new)
}

fn properties(compression: Compression) -> WriterProperties {
    let codec = match compression {
        Compression::None | Compression::Gzip => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    };
    let body = ColumnPath::from("body");
    WriterProperties::builder()
        .set_created_by(concat!("rocketmq-connector version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // No two bodies are alike, and nobody asks for a range of them.
        .set_column_dictionary_enabled(body.clone(), false)
        .set_column_statistics_enabled(body, EnabledStatistics::None)
        .build()
}

impl ParquetRows {
    /// A file without rows.
    ///
    /// # Errors
    /// In words what is wrong.
    pub fn new(format: Format, compression: Compression) -> Result<Self, String> {
        let file = schema(format)
            .and_then(|schema| SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties(compression))));
        Ok(Self { file: file.map_err(words)?, columns: Columns::default(), bytes: 0 })
    }

    /// Bytes that rows take.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Row<'_>) {
        let columns = &mut self.columns;
        columns.topic.push(text(row.topic));
        columns.broker.push(text(row.broker));
        columns.queue.push(row.queue);
        columns.offset.push(row.offset);
        columns.message_id.push(text(row.message_id));
        columns.operation.push(text(row.operation));
        columns.tag.push(row.tag);
        columns.keys.push(row.keys.iter());
        columns.sharding_key.push(row.sharding_key);
        columns.property_names.extend(row.properties.keys().map(|name| text(name)));
        columns.properties.push(row.properties.values());
        columns.born_time.push(row.born_millis);
        columns.store_time.push(row.stored_millis);
        // A copy: the body as it came is a part of what the broker sent at once, which would be held as a whole.
        columns.body.push(ByteArray::from(Bytes::copy_from_slice(&row.body)));
        let texts = row.topic.len() + row.broker.len() + row.message_id.len() + row.operation.len() + row.body.len();
        let entries = row.keys.iter().chain(row.properties.keys()).chain(row.properties.values());
        let pieces = 5 + row.keys.len() + 2 * row.properties.len();
        self.bytes += texts + entries.map(|text| text.len()).sum::<usize>() + pieces * PIECE_OVERHEAD + ROW_OVERHEAD;
    }

    /// Makes a row group of the rows and moves it to `encoded`.
    ///
    /// # Errors
    /// In words what is wrong.
    pub fn flush(&mut self, encoded: &mut Vec<u8>) -> Result<(), String> {
        if !self.columns.offset.is_empty() {
            let columns = std::mem::take(&mut self.columns);
            self.bytes = 0;
            self.row_group(&columns).map_err(words)?;
        }
        self.drain(encoded)
    }

    /// Writes the end of the file.
    ///
    /// # Errors
    /// In words what is wrong.
    pub fn end(&mut self, about: &About, encoded: &mut Vec<u8>) -> Result<(), String> {
        let entries = [
            ("rocketmq.sync", about.sync.clone()),
            ("rocketmq.partition", about.partition.clone()),
            ("rocketmq.first_offset", about.first.to_string()),
            (LAST_OFFSET, about.last.to_string()),
        ];
        for (key, value) in entries {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.file.finish().map_err(words)?;
        self.drain(encoded)
    }

    fn row_group(&mut self, columns: &Columns) -> Result<(), ParquetError> {
        let mut writer = self.file.next_row_group()?;
        let group = &mut writer;
        let Columns { tag, keys, sharding_key, properties, .. } = columns;
        let (names, nested) = (&columns.property_names, (&properties.levels, &properties.repetitions));
        write::<ByteArrayType>(group, &columns.topic, None, None)?;
        write::<ByteArrayType>(group, &columns.broker, None, None)?;
        write::<Int32Type>(group, &columns.queue, None, None)?;
        write::<Int64Type>(group, &columns.offset, None, None)?;
        write::<ByteArrayType>(group, &columns.message_id, None, None)?;
        write::<ByteArrayType>(group, &columns.operation, None, None)?;
        write::<ByteArrayType>(group, &tag.values, Some(&tag.levels), None)?;
        write::<ByteArrayType>(group, &keys.values, Some(&keys.levels), Some(&keys.repetitions))?;
        write::<ByteArrayType>(group, &sharding_key.values, Some(&sharding_key.levels), None)?;
        write::<ByteArrayType>(group, names, Some(nested.0), Some(nested.1))?;
        write::<ByteArrayType>(group, &properties.values, Some(nested.0), Some(nested.1))?;
        write::<Int64Type>(group, &columns.born_time, None, None)?;
        write::<Int64Type>(group, &columns.store_time, None, None)?;
        write::<ByteArrayType>(group, &columns.body, None, None)?;
        writer.close().map(|_| ())
    }

    fn drain(&mut self, encoded: &mut Vec<u8>) -> Result<(), String> {
        self.file.flush().map_err(|error| error.to_string())?;
        // Its room goes with it: of each open object as much as a row group would stay.
        let written = std::mem::take(self.file.inner_mut());
        if encoded.is_empty() {
            *encoded = written;
        } else {
            encoded.extend_from_slice(&written);
        }
        Ok(())
    }
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    levels: Option<&Vec<i16>>,
    repetitions: Option<&Vec<i16>>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns than are written".to_owned()));
    };
    column.typed::<T>().write_batch(values, levels.map(Vec::as_slice), repetitions.map(Vec::as_slice))?;
    column.close()
}

// Taken by value, because `map_err` gives it so.
#[allow(clippy::needless_pass_by_value)]
fn words(error: ParquetError) -> String {
    format!("Parquet: {error}")
}

/// The last offset of a file, of which these are the last bytes; none when a file does not tell, `Err` with the number of bytes that
/// are needed when these are too few.
///
/// # Errors
/// See above.
pub fn last_offset(end: &[u8]) -> Result<Option<u64>, usize> {
    let Some(tail) = end.len().checked_sub(FOOTER).map(|start| &end[start..]) else { return Ok(None) };
    let Ok(tail) = FooterTail::try_from(tail) else { return Ok(None) };
    let needed = tail.metadata_length() + FOOTER;
    let Some(start) = end.len().checked_sub(needed) else { return Err(needed) };
    let Ok(metadata) = ParquetMetaDataReader::decode_metadata(&end[start..end.len() - FOOTER]) else { return Ok(None) };
    let entries = metadata.file_metadata().key_value_metadata();
    let found = entries.and_then(|entries| entries.iter().find(|entry| entry.key == LAST_OFFSET));
    Ok(found.and_then(|entry| entry.value.as_ref()?.parse().ok()))
}

#[cfg(test)]
mod tests {

    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    fn file(compression: Compression, groups: &[std::ops::Range<i64>]) -> Vec<u8> {
        let (mut rows, mut encoded) = (ParquetRows::new(Format::Json, compression).unwrap(), Vec::new());
        let mut last = 0;
        for offset in groups.iter().cloned().flat_map(|group| group.map(Some).chain([None])) {
            let Some(offset) = offset else {
                rows.flush(&mut encoded).unwrap();
                continue;
            };
            let properties: crate::rocketmq::Properties =
                (0..offset % 3).map(|number| (format!("p{number}"), format!("v{offset}"))).collect();
            let keys: Vec<ByteString> = (0..offset % 4).map(|number| format!("k{number}").into()).collect();
            rows.add(&Row {
                topic: "orders",
                broker: "broker-a",
                queue: 3,
                offset,
                message_id: "ID",
                operation: "insert",
                tag: (offset % 2 == 0).then_some("paid"),
                keys: &keys,
                sharding_key: None,
                properties: &properties,
                born_millis: 98,
                stored_millis: 99 + offset,
                body: Bytes::from(format!("{{\"n\":{offset}}}")),
            });
            last = offset as u64;
        }
        let about = About { sync: "n/s".into(), partition: "orders@broker-a@3".into(), first: 0, last };
        rows.end(&about, &mut encoded).unwrap();
        encoded
    }

    #[test]
    fn rows_are_read_back() {
        for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
            let reader = SerializedFileReader::new(Bytes::from(file(compression, &[0..10, 10..11, 11..40]))).unwrap();
            assert_eq!(reader.num_row_groups(), 3);
            let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
            assert_eq!(rows.len(), 40);
            for part in ["offset: 7", "tag: null", r#"keys: ["k0", "k1", "k2"]"#, r#"properties: {"p0" -> "v7"}"#] {
                assert!(rows[7].contains(part), "{part}: {}", rows[7]);
            }
            assert!(rows[8].contains("keys: []") && rows[8].contains(r#"tag: "paid""#), "{}", rows[8]);
        }
    }

    #[test]
    fn the_last_offset_is_found_at_the_end() {
        let file = file(Compression::Snappy, &[0..60, 60..100]);
        assert_eq!(last_offset(&file), Ok(Some(99)));
        let needed = last_offset(&file[file.len() - FOOTER..]).unwrap_err();
        assert_eq!(last_offset(&file[file.len() - needed..]), Ok(Some(99)));
        assert_eq!(last_offset(b"no parquet at all"), Ok(None));
    }
}
