//! What verification asks of a database that is a source: its rows as they are at one moment, and whether the sync has
//! acknowledged everything that those rows can have seen. It changes nothing, and keeps no worker from its work.

use std::future::Future;

use super::Result;
use super::row::{Cells, Shape};
use crate::worker_config::sync::Mode;

/// Reason of a sync that has not read its tables in full yet.
pub const NOT_LOADED: &str = "NotLoaded";

/// What is done with each row.
pub type Each<'a> = &'a mut (dyn FnMut(Cells) + Send);

/// A session that looks at the tables of a sync.
pub trait Inspect: Sized + Send {
    /// The source.
    type Config: Sync;

    /// Connects, and looks at the tables, for the pipeline `name`.
    ///
    /// # Errors
    /// The database cannot be reached, or lacks a table.
    fn open(config: &Self::Config, mode: Mode, name: &str) -> impl Future<Output = Result<Self>> + Send;

    /// What the records of each table share.
    fn shapes(&self) -> Vec<Shape>;

    /// Checks that the sync has begun, and has loaded what it loads.
    ///
    /// # Errors
    /// It has not, with the reason [`NOT_LOADED`] while it loads; or the database cannot be asked.
    fn is_ready(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Begins to look: until [`leave`](Self::leave) all rows are of one moment.
    ///
    /// # Errors
    /// The database cannot be asked.
    fn look(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Gives rows of the table with this number to `each`, those behind a key or from the first on, in the order of the key. Gives
    /// the key of the last one, behind which there may be more; none when there are no more.
    ///
    /// # Errors
    /// The table cannot be read.
    fn rows(
        &mut self,
        table: usize,
        behind: Option<&[String]>,
        each: Each<'_>,
    ) -> impl Future<Output = Result<Option<Vec<String>>>> + Send;

    /// Ends to look.
    ///
    /// # Errors
    /// The database cannot be asked.
    fn leave(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Whether the sync has acknowledged everything that the rows can have seen since they were looked at first.
    ///
    /// # Errors
    /// The database cannot be asked, or has lost what the sync needs.
    fn is_acknowledged(&mut self) -> impl Future<Output = Result<bool>> + Send;
}
