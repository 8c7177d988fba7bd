//! Rows of MySQL and MariaDB beside what they should hold. What they should hold is written into a temporary table, which only
//! this session sees, with columns of the same types: so the server makes the very values of it that it would store.

use std::sync::Arc;

use super::super::super::database::Failure;
use super::super::table::compare::{Compare, Seen, Wanted};
use super::super::table::connection::Connection;
use super::super::table::positions::Positions;
use super::super::table::schema::Keyed;
use super::{MySqlConnection, sql};

/// The session's own table for the table of this number.
fn own_table(number: usize) -> String {
    sql::quote(&format!("rocketmq_connector_verify_{number}"))
}

impl MySqlConnection {
    async fn write_expected(
        &mut self,
        what: &str,
        name: &str,
        keyed: &Keyed,
        rows: &[Wanted<'_>],
        columns: &[u16],
    ) -> Result<(), Failure> {
        let head = sql::insert_expected(name, &keyed.table, columns);
        let (mut statement, mut next) = (head.clone(), String::new());
        for (place, row) in rows.iter().enumerate() {
            next.clear();
            let cells = keyed.key.iter().copied().zip(row.key);
            let values = row.values.iter().map(|(number, cell)| (*number, cell));
            sql::expected_row(&keyed.table, place, cells.chain(values), &mut next);
            if statement.len() > head.len() {
                if statement.len() + next.len() >= self.longest {
                    self.run(what, &statement).await?;
                    statement.truncate(0);
                    statement.push_str(&head);
                } else {
                    statement.push(',');
                }
            }
            statement.push_str(&next);
        }
        self.run(what, &statement).await.map(|_| ())
    }
}

impl Compare for MySqlConnection {
    async fn look(&mut self, sync: &str, tables: &[Arc<Keyed>]) -> Result<Positions, Failure> {
        let what = "failed to begin to compare";
        // Before the transaction: servers with GTIDs make no temporary table in one.
        for (number, keyed) in tables.iter().enumerate() {
            let name = own_table(number);
            self.run(what, format!("DROP TEMPORARY TABLE IF EXISTS {name}")).await?;
            self.run(what, sql::create_expected(&name, &keyed.table)).await.map_err(|failure| {
                match failure.reason {
                    "PermissionDenied" => {
                        let remedy =
                            "grant CREATE TEMPORARY TABLES on the database: values are compared as a table holds them";
                        Failure { remedy: remedy.to_owned(), ..failure }
                    }
                    _ => failure,
                }
            })?;
        }
        self.run(what, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
        self.run(what, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
        self.positions(sync).await
    }

    async fn compare(&mut self, keyed: &Keyed, number: usize, rows: &[Wanted<'_>]) -> Result<Vec<Seen>, Failure> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let what = format!("failed to compare with {}", keyed.table.quoted);
        let (name, compared) = (own_table(number), first.compared());
        let columns: Vec<u16> = keyed.key.iter().chain(&compared).copied().collect();
        self.run(&what, format!("DELETE FROM {name}")).await?;
        self.write_expected(&what, &name, keyed, rows, &columns).await?;
        let statement = sql::compare(&name, keyed, &compared);
        let found: Vec<(usize, bool, String)> = self.session.query(&what, statement).await?;
        let mut seen = vec![Seen::Missing; rows.len()];
        for (place, is_there, differing) in found {
            if let Some(seen) = seen.get_mut(place) {
                *seen = Seen::of(is_there, &differing);
            }
        }
        Ok(seen)
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        self.roll_back().await
    }
}
