//! What is known of a source: how far tables were loaded, what the chunks have seen, and how tables look.

use std::collections::BTreeMap;

/// A part of a table that the target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedChunk {
    /// `schema.table`.
    pub table: String,
    /// Number in its table, from 0.
    pub number: usize,
    /// Whether it is the last one.
    pub is_last: bool,
    /// Rows in it.
    pub rows: u64,
}

/// A part of a table: the rows behind the chunk before, up to and including `upper`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<Snapshot> {
    /// The key at its end; none for the last chunk, which goes on without end.
    pub upper: Option<Vec<String>>,
    /// The snapshot with which it was read first. When it is read again after a crash, this one still decides which changes
    /// are left out: of a row that was handed on then and is gone now, the deletion is still to come.
    pub snapshot: Snapshot,
    /// Whether all of it was handed on.
    pub is_read: bool,
}

/// What is known of a table.
#[derive(Debug, Clone)]
pub struct TableState<Snapshot> {
    /// Whether all of it was loaded.
    pub is_loaded: bool,
    /// Rows loaded.
    pub rows: u64,
    /// Chunks, as long as the log may repeat what they have.
    pub chunks: Vec<Chunk<Snapshot>>,
    /// Columns as the log had them last, as JSON.
    pub definition: Option<String>,
}

impl<Snapshot> Default for TableState<Snapshot> {
    fn default() -> Self {
        Self { is_loaded: false, rows: 0, chunks: Vec::new(), definition: None }
    }
}

/// What is known of a source.
#[derive(Debug, Clone)]
pub struct SlotState<Snapshot> {
    /// Whether the place in the log was taken: the slot was made.
    pub is_made: bool,
    /// Position of the log at the end of the load: what has committed behind it is in no chunk.
    pub load_end: Option<u64>,
    /// Its tables.
    pub tables: BTreeMap<String, TableState<Snapshot>>,
}

impl<Snapshot> Default for SlotState<Snapshot> {
    fn default() -> Self {
        Self { is_made: false, load_end: None, tables: BTreeMap::new() }
    }
}
