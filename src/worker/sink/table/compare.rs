//! What verification asks of a database: rows as they are at one moment, beside what they should hold. The database compares,
//! after it has made values of the texts as it does when they are written, and no table of anybody's is written to.

use std::future::Future;
use std::sync::Arc;

use super::super::super::database::Failure;
use super::change::Row;
use super::connection::Connection;
use super::positions::Positions;
use super::schema::Keyed;
use super::value::Cell;

/// A row that is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Values of the columns that identify it, in the order of the key.
    pub key: &'a [Cell<'static>],
    /// Values of other columns that it should hold.
    pub values: &'a Row<'static>,
}

impl Wanted<'_> {
    /// Numbers of the columns whose values are compared.
    #[must_use]
    pub fn compared(&self) -> Vec<u16> {
        self.values.iter().map(|(number, _)| *number).collect()
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is no such row.
    Missing,
    /// It holds the values.
    Same,
    /// It holds other values in the columns of these numbers.
    Different(Vec<u16>),
}

impl Seen {
    /// What an answer of the database means: whether the row is there, and numbers of columns joined by commas.
    #[must_use]
    pub fn of(is_there: bool, differing: &str) -> Self {
        let numbers: Vec<u16> = differing.split(',').filter_map(|number| number.parse().ok()).collect();
        match (is_there, numbers.is_empty()) {
            (false, _) => Self::Missing,
            (true, true) => Self::Same,
            (true, false) => Self::Different(numbers),
        }
    }
}

/// A session that compares.
pub trait Compare: Connection {
    /// Begins to look: until [`leave`](Self::leave) all answers are of one moment, of which these are the positions of `sync`.
    fn look(&mut self, sync: &str, tables: &[Arc<Keyed>]) -> impl Future<Output = Result<Positions, Failure>> + Send;

    /// What is found of rows of the table with this number among those of [`look`](Self::look). All have values of the same
    /// columns. After a failure of kind `Data`, values that the table can never hold, it can be asked again.
    fn compare(
        &mut self,
        keyed: &Keyed,
        number: usize,
        rows: &[Wanted<'_>],
    ) -> impl Future<Output = Result<Vec<Seen>, Failure>> + Send;

    /// Ends to look.
    fn leave(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        assert_eq!(Seen::of(false, ""), Seen::Missing);
        assert_eq!(Seen::of(false, ",1,2"), Seen::Missing, "nothing is compared of a row that is not there");
        assert_eq!(Seen::of(true, ""), Seen::Same);
        assert_eq!(Seen::of(true, ",1,12"), Seen::Different(vec![1, 12]));
    }
}
