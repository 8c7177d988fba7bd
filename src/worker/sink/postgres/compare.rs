//! Rows of PostgreSQL beside what they should hold: in a transaction that reads one snapshot and can write nothing.

use std::sync::Arc;

use super::super::super::database::{Failure, FailureKind};
use super::super::table::compare::{Compare, Seen, Wanted};
use super::super::table::connection::Connection;
use super::super::table::positions::Positions;
use super::super::table::schema::Keyed;
use super::super::table::value::Cell;
use super::{Array, PostgresConnection, array, sql};

impl Compare for PostgresConnection {
    async fn look(&mut self, sync: &str, _: &[Arc<Keyed>]) -> Result<Positions, Failure> {
        self.run("failed to begin to compare", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        self.positions(sync).await
    }

    async fn compare(&mut self, keyed: &Keyed, _: usize, rows: &[Wanted<'_>]) -> Result<Vec<Seen>, Failure> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let what = format!("failed to compare with {}", keyed.table.quoted);
        let columns: Vec<u16> = keyed.key.iter().copied().chain(first.compared()).collect();
        let cell = |row: &Wanted<'_>, place: usize| -> Option<Cell<'static>> {
            let value = |place: usize| row.values.get(place).map(|(_, cell)| cell.clone());
            place.checked_sub(keyed.key.len()).map_or_else(|| row.key.get(place).cloned(), value)
        };
        let cells: Vec<Vec<Cell<'static>>> = (0..columns.len())
            .map(|place| rows.iter().map(|row| cell(row, place).unwrap_or(Cell::Null)).collect())
            .collect();
        let arrays: Vec<Array<'_>> =
            columns.iter().zip(&cells).map(|(number, cells)| array(keyed, *number, cells.iter())).collect();
        let statement = self.prepared(&what, sql::compare(keyed, &columns)).await?;
        let parameters: Vec<_> = arrays.iter().map(Array::parameter).collect();
        self.run(&what, "SAVEPOINT compared").await?;
        let found = match self.client.query(&statement, &parameters).await.map_err(self.failed(&what)) {
            Ok(found) => found,
            Err(failure) => {
                if failure.kind == FailureKind::Data {
                    self.run(&what, "ROLLBACK TO SAVEPOINT compared").await?;
                }
                return Err(failure);
            }
        };
        self.run(&what, "RELEASE SAVEPOINT compared").await?;
        let mut seen = vec![Seen::Missing; rows.len()];
        for row in &found {
            let place = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
            if let Some(seen) = seen.get_mut(place) {
                *seen = Seen::of(row.get(1), row.get(2));
            }
        }
        Ok(seen)
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        self.roll_back().await
    }
}
