//! An object that is being made, and the objects of one queue, which begin and end together.

use bytestring::ByteString;
use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use super::super::super::record::Invalid;
use super::super::super::record::Position;
use super::encode::{About, Encoder};
use super::existing::last_offset;
use super::row::Row;
use super::store::{Created, Failure, Store, Upload};
use crate::worker_config::sync::{Format, ObjectStorageTargetConfig};

/// Memory that an object takes besides its content, about.
const OVERHEAD: usize = 16 * 1024;

/// An object that is being made.
pub struct OpenObject {
    key: String,
    first: u64,
    last: u64,
    records: u64,
    encoder: Encoder,
    is_ended: bool,
    upload: Upload,
    /// Taken from the encoder and not uploaded yet.
    piece: Option<Bytes>,
    /// Whether the store was asked to create it and did not say whether it has.
    is_unanswered: bool,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was created.
    Created,
    /// There was one with the same records.
    Existed,
    /// There was one that ends elsewhere: what comes behind it has to be found out by reading again.
    Differs,
}

impl OpenObject {
    /// An object of this name without records.
    ///
    /// # Errors
    /// In words what is wrong.
    pub fn new(store: &Store, key: String, format: Format, config: &ObjectStorageTargetConfig) -> Result<Self, String> {
        let (encoder, upload) = (Encoder::new(format, config)?, store.begin(&key));
        let (first, last, records) = (0, 0, 0);
        Ok(Self { key, first, last, records, encoder, is_ended: false, upload, piece: None, is_unanswered: false })
    }

    /// Adds the record of an offset.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, offset: u64, row: &Row<'_>) -> Result<(), Invalid> {
        self.encoder.add(row)?;
        if self.records == 0 {
            self.first = offset;
        }
        self.last = offset;
        self.records += 1;
        Ok(())
    }

    /// Uploads what is encoded when that is at least `least` bytes.
    ///
    /// # Errors
    /// It is kept.
    pub async fn send(&mut self, least: usize) -> Result<(), Failure> {
        if self.piece.is_none() && self.encoder.encoded() >= least.max(1) {
            self.piece = Some(self.encoder.take());
        }
        if let Some(piece) = &self.piece {
            self.upload.send(piece).await?;
            self.piece = None;
        }
        Ok(())
    }

    /// Encodes what waits to be, and uploads it when it is at least `least` bytes.
    ///
    /// # Errors
    /// See [`send`](Self::send).
    pub async fn shed(&mut self, least: usize) -> Result<(), Failure> {
        self.encoder.flush().map_err(|why| defect(&self.key, &why))?;
        self.send(least).await
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// It is kept, and this is called again; unless it [is lost](Failure::is_lost).
    pub async fn finish(
        &mut self,
        store: &Store,
        config: &ObjectStorageTargetConfig,
        about: (&str, &str),
    ) -> Result<End, Failure> {
        if !self.is_ended {
            let (sync, partition) = (about.0.to_owned(), about.1.to_owned());
            let about = About { sync, partition, first: self.first, last: self.last };
            self.encoder.end(&about).map_err(|why| defect(&self.key, &why))?;
            self.is_ended = true;
        }
        while self.piece.is_some() || self.encoder.encoded() > 0 {
            self.send(0).await?;
        }
        let created = match self.upload.finish().await {
            Ok(created) => created,
            Err(failure) => {
                self.is_unanswered = true;
                return Err(failure);
            }
        };
        if created == Created::Now {
            tracing::debug!(key = self.key, records = self.records, "an object was created");
            return Ok(End::Created);
        }
        let size = store.size(&self.key).await?.unwrap_or_default();
        let last = last_offset(store, &self.key, size, config.file_format, config.compression).await?;
        if last == self.last {
            self.upload.abort().await;
        }
        Ok(match (last == self.last, self.is_unanswered) {
            // The answer to an earlier try was lost.
            (true, true) => End::Created,
            (true, false) => End::Existed,
            (false, _) => End::Differs,
        })
    }

    /// Gives it up: it cannot be finished any more.
    pub async fn abort(&mut self) {
        self.upload.abort().await;
    }

    /// Name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Number of records.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// About how many bytes it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.encoder.size()
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        OVERHEAD + self.encoder.memory() + self.piece.as_ref().map_or(0, Bytes::len) + self.upload.memory()
    }
}

fn defect(key: &str, why: &str) -> Failure {
    Failure::new("StoreFailed", format!("{key}: {why}"), "this is a defect; tell it to the project")
}

/// The objects of a queue that are being made, one a topic: several only where a route says so. They end together, because the queue
/// is acknowledged as a whole: what comes again after a crash begins where all of them have begun.
pub struct Group {
    /// The first record.
    pub first: Position,
    /// When it was taken.
    pub began: Instant,
    /// Folder of the records' time.
    pub slot: i64,
    /// The source's time of the newest record.
    pub newest_millis: i64,
    /// Records of all objects, finished ones too.
    pub records: u64,
    /// Whether no more records are added.
    pub is_closing: bool,
    /// By topic.
    pub objects: BTreeMap<ByteString, OpenObject>,
}

impl Group {
    /// Gives its objects up.
    pub async fn abort(&mut self) {
        for object in self.objects.values_mut() {
            object.abort().await;
        }
    }

    /// Bytes of memory that its objects take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.objects.values().map(OpenObject::memory).sum()
    }

    /// Whether a bound is reached.
    #[must_use]
    pub fn is_full(&self, config: &ObjectStorageTargetConfig) -> bool {
        config.roll_records.is_some_and(|most| self.records >= most)
            || self.objects.values().any(|object| object.size() >= config.roll_bytes)
    }
}
