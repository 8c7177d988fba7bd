//! Formats of objects: rows go in, bytes come out in pieces, so that an object may be larger than memory.

mod json_lines;
mod parquet;

use bytes::Bytes;

use self::parquet::ParquetRows;
use super::super::super::record::Invalid;
use super::row::Row;
use crate::worker_config::sync::{Compression, FileFormat, Format, ObjectStorageTargetConfig};
use json_lines::JsonLines;

pub use json_lines::LastLine;
pub use parquet::last_offset as last_offset_of_parquet;

/// Bytes of lines that are compressed together.
const LINES_BYTES: usize = 256 * 1024;
/// Bytes of rows that become a row group of Parquet.
const ROW_GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What is told of an object in itself, where its format has a place for it.
#[derive(Debug, Clone)]
pub struct About {
    /// The pipeline, `namespace/name`.
    pub sync: String,
    /// `topic@broker@queue`.
    pub partition: String,
    /// First and last offset.
    pub first: u64,
    /// See `first`.
    pub last: u64,
}

/// Writes one object.
pub struct Encoder {
    rows: Rows,
    /// Encoded, and not taken yet.
    encoded: Vec<u8>,
    /// Bytes that were encoded in all.
    total: u64,
}

enum Rows {
    JsonLines(JsonLines),
    Parquet(Box<ParquetRows>),
}

impl Encoder {
    /// An encoder for an object of a target.
    ///
    /// # Errors
    /// Never for the formats that there are; in words what is wrong.
    pub fn new(format: Format, config: &ObjectStorageTargetConfig) -> Result<Self, String> {
        let rows = match config.file_format {
            FileFormat::JsonLines => Rows::JsonLines(JsonLines::new(format, config.compression)),
            FileFormat::Parquet => Rows::Parquet(Box::new(ParquetRows::new(format, config.compression)?)),
        };
        Ok(Self { rows, encoded: Vec::new(), total: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// It cannot be written in the format; nothing was added.
    pub fn add(&mut self, row: &Row<'_>) -> Result<(), Invalid> {
        let is_full = match &mut self.rows {
            Rows::JsonLines(lines) => {
                lines.add(row)?;
                lines.len() >= LINES_BYTES
            }
            Rows::Parquet(rows) => {
                rows.add(row);
                rows.len() >= ROW_GROUP_BYTES
            }
        };
        if is_full {
            self.flush().map_err(|why| Invalid::new("InvalidBody", why, "this is a defect; tell it to the project"))
        } else {
            Ok(())
        }
    }

    /// Encodes what was added.
    ///
    /// # Errors
    /// In words what is wrong.
    pub fn flush(&mut self) -> Result<(), String> {
        let before = self.encoded.len();
        match &mut self.rows {
            Rows::JsonLines(lines) => lines.flush(&mut self.encoded)?,
            Rows::Parquet(rows) => rows.flush(&mut self.encoded)?,
        }
        self.total += (self.encoded.len() - before) as u64;
        Ok(())
    }

    /// Encodes the rest and the end of the object; no row follows.
    ///
    /// # Errors
    /// In words what is wrong.
    pub fn end(&mut self, about: &About) -> Result<(), String> {
        self.flush()?;
        if let Rows::Parquet(rows) = &mut self.rows {
            rows.end(about, &mut self.encoded)?;
        }
        Ok(())
    }

    /// Encoded bytes that were not taken.
    #[must_use]
    pub fn encoded(&self) -> usize {
        self.encoded.len()
    }

    /// Takes what is encoded.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.encoded).into()
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.rows_len() + self.encoded.capacity()
    }

    /// About how many bytes the object has: what is encoded, and what waits to be, as if that were not compressed.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.total + self.rows_len() as u64
    }

    fn rows_len(&self) -> usize {
        match &self.rows {
            Rows::JsonLines(lines) => lines.len(),
            Rows::Parquet(rows) => rows.len(),
        }
    }
}

/// Which compressions a format has.
#[must_use]
pub fn is_possible(format: FileFormat, compression: Compression) -> bool {
    match format {
        FileFormat::JsonLines => compression != Compression::Snappy,
        FileFormat::Parquet => compression != Compression::Gzip,
    }
}
