//! Rows of a chunk on their way to the pipeline.

use super::super::super::record::{Operation, Record};
use super::Result;
use super::row::{Cells, Shape};
use super::run::{Pipe, now_millis};

/// Rows of a chunk when it is read first.
pub const CHUNK: usize = 4_096;
/// Records and bytes that are handed on together.
const PARCEL: usize = 256;
const PARCEL_BYTES: usize = 1 << 20;

/// The rows of a chunk that is being read.
pub struct Rows<'a, Snapshot> {
    pipe: &'a Pipe<Snapshot>,
    table: &'a str,
    shape: Shape,
    /// Position of the chunk.
    offset: u64,
    count: usize,
    parcel: Vec<Record>,
    bytes: usize,
}

impl<'a, Snapshot: Clone> Rows<'a, Snapshot> {
    /// Nothing was read yet of the chunk at `offset` of a table.
    pub fn new(pipe: &'a Pipe<Snapshot>, table: &'a str, shape: Shape, offset: u64) -> Self {
        Self { pipe, table, shape, offset, count: 0, parcel: Vec::new(), bytes: 0 }
    }

    /// Takes a row, and hands on what has gathered.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub async fn push(&mut self, cells: Cells) -> Result<()> {
        let index = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.bytes += cells.size;
        self.parcel.push(self.shape.record((self.offset, index), Operation::Insert, cells, None, now_millis()));
        self.count += 1;
        if self.parcel.len() >= PARCEL || self.bytes >= PARCEL_BYTES { self.hand_on().await } else { Ok(()) }
    }

    /// Hands on the rest: the chunk was read.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub async fn finish(mut self) -> Result<()> {
        self.hand_on().await?;
        self.pipe.shared.lock().finish_chunk();
        self.pipe.shared.acknowledged.notify_one();
        Ok(())
    }

    async fn hand_on(&mut self) -> Result<()> {
        self.bytes = 0;
        let parcel = std::mem::take(&mut self.parcel);
        if parcel.is_empty() {
            return Ok(());
        }
        let rows = parcel.len() as u64;
        self.pipe
            .hand_on(parcel, |inner| {
                if let Some(open) = &mut inner.open {
                    open.rows += rows;
                }
            })
            .await?;
        self.pipe.shared.note_table(self.table, |progress| progress.rows += rows);
        Ok(())
    }
}
