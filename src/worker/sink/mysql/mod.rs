//! Tables of a MySQL or MariaDB database as target.

mod compare;
mod session;
mod sql;

use std::collections::HashSet;
use std::sync::Arc;

use super::super::database::{Access, Failure};
use super::table::change::{Action, Row};
use super::table::connection::{Applied, Connection};
use super::table::positions::{Move, Positions, Stored};
use super::table::rounds::{Group, Removal, Rounds, Write};
use super::table::schema::{Column, Dialect, Keyed, Kind, NewColumn, Table};
use super::table::value::Cell;
use crate::worker_config::sync::DatabaseConfig;
use session::Session;

/// Rows that are named one by one in a statement.
const NAMED: usize = 100;
/// Bytes of the rows of one statement, unless the server takes less.
const STATEMENT: usize = 4 * 1024 * 1024;
/// Engines whose tables have no transactions.
const NOT_TRANSACTIONAL: [&str; 6] = ["MyISAM", "Aria", "MEMORY", "CSV", "ARCHIVE", "BLACKHOLE"];

/// A session with MySQL or MariaDB.
pub struct MySqlConnection {
    session: Session,
    /// Where names of tables without a database are.
    database: String,
    /// Longest statement in bytes.
    longest: usize,
}

type Keys<'a> = Vec<Vec<&'a Cell<'a>>>;

impl MySqlConnection {
    /// Runs a statement; the number of rows that it has changed.
    async fn run(&mut self, what: &str, statement: impl AsRef<str>) -> Result<u64, Failure> {
        self.session.run(what, statement).await
    }

    /// Writes rows of one shape by as many statements as their bytes ask for.
    async fn insert(&mut self, what: &str, keyed: &Keyed, action: Action, rows: &[&Row<'_>]) -> Result<u64, Failure> {
        let Some(first) = rows.first() else { return Ok(0) };
        let columns: Vec<u16> = first.iter().map(|(number, _)| *number).collect();
        let (head, tail) = sql::insert(keyed, action, &columns);
        let (mut statement, mut next, mut changed) = (head.clone(), String::new(), 0);
        for row in rows {
            next.clear();
            sql::row(&keyed.table, row, &mut next);
            if statement.len() > head.len() {
                if statement.len() + next.len() + tail.len() >= self.longest {
                    statement.push_str(&tail);
                    changed += self.run(what, &statement).await?;
                    statement.truncate(0);
                    statement.push_str(&head);
                } else {
                    statement.push(',');
                }
            }
            statement.push_str(&next);
        }
        statement.push_str(&tail);
        Ok(changed + self.run(what, &statement).await?)
    }

    /// Locks rows by their keys and gives the places of those that exist.
    async fn find(&mut self, what: &str, keyed: &Keyed, keys: &[Vec<&Cell<'_>>]) -> Result<HashSet<usize>, Failure> {
        let mut found = HashSet::new();
        for (chunk, keys) in keys.chunks(NAMED).enumerate() {
            let places: Vec<Option<usize>> = self.session.query(what, sql::find(keyed, keys)).await?;
            found.extend(places.into_iter().flatten().map(|place| chunk * NAMED + place));
        }
        Ok(found)
    }

    async fn remove(
        &mut self,
        what: &str,
        keyed: &Keyed,
        removals: &[Removal<'_>],
        names_missing: bool,
        applied: &mut Applied,
    ) -> Result<(), Failure> {
        let keys: Keys<'_> = removals.iter().map(|removal| removal.key.iter().collect()).collect();
        if names_missing {
            let found = self.find(what, keyed, &keys).await?;
            for (_, removal) in removals.iter().enumerate().filter(|(place, _)| !found.contains(place)) {
                applied.left_out += removal.weight;
                applied.missing.push((Action::Remove, removal.index));
            }
        }
        let mut deleted = 0;
        for keys in keys.chunks(NAMED) {
            deleted += self.run(what, sql::remove(keyed, keys)).await?;
        }
        if !names_missing {
            // Which ones were missing is not known, but how many: each stands for one record, or for none.
            let loud = removals.iter().filter(|removal| removal.weight > 0).count();
            applied.left_out += (removals.len() as u64).saturating_sub(deleted).min(loud as u64);
        }
        Ok(())
    }

    async fn write_group(
        &mut self,
        what: &str,
        keyed: &Keyed,
        group: &Group<'_>,
        applied: &mut Applied,
    ) -> Result<(), Failure> {
        let rows: Vec<&Row<'_>> = group.writes.iter().map(|write| &write.row).collect();
        match group.action {
            // The server takes any unique index for the key: where there are others, it must not choose.
            Action::Put | Action::Add if !keyed.is_only_key && !keyed.key.is_empty() => {
                let found = self.find(what, keyed, &keys_of(keyed, &group.writes)).await?;
                let (old, new): (Vec<_>, Vec<_>) =
                    rows.iter().enumerate().partition(|(place, _)| found.contains(place));
                let old: Vec<&Row<'_>> = old.into_iter().map(|(_, row)| *row).collect();
                let new: Vec<&Row<'_>> = new.into_iter().map(|(_, row)| *row).collect();
                if group.action == Action::Put {
                    self.update(what, keyed, &old).await?;
                } else {
                    applied.left_out += old.len() as u64;
                }
                self.insert(what, keyed, Action::New, &new).await?;
            }
            Action::Change => {
                let found = self.find(what, keyed, &keys_of(keyed, &group.writes)).await?;
                let mut old = Vec::with_capacity(rows.len());
                for (place, write) in group.writes.iter().enumerate() {
                    if found.contains(&place) {
                        old.push(&write.row);
                    } else {
                        applied.left_out += write.weight;
                        applied.missing.push((Action::Change, write.index));
                    }
                }
                self.update(what, keyed, &old).await?;
            }
            Action::Add => {
                let added = self.insert(what, keyed, Action::Add, &rows).await?;
                applied.left_out += (rows.len() as u64).saturating_sub(added);
            }
            action => _ = self.insert(what, keyed, action, &rows).await?,
        }
        Ok(())
    }

    async fn update(&mut self, what: &str, keyed: &Keyed, rows: &[&Row<'_>]) -> Result<(), Failure> {
        for rows in rows.chunks(NAMED) {
            let keys: Keys<'_> = rows.iter().map(|row| key_of(keyed, row)).collect();
            if let Some(statement) = sql::update(keyed, &keys, rows) {
                self.run(what, statement).await?;
            }
        }
        Ok(())
    }
}

fn key_of<'a>(keyed: &Keyed, row: &'a Row<'_>) -> Vec<&'a Cell<'a>> {
    let cell = |number: &u16| row.iter().find(|(at, _)| at == number).map(|(_, cell)| cell);
    keyed.key.iter().filter_map(cell).collect()
}

fn keys_of<'a>(keyed: &Keyed, writes: &'a [Write<'_>]) -> Keys<'a> {
    writes.iter().map(|write| key_of(keyed, &write.row)).collect()
}

impl Connection for MySqlConnection {
    const DIALECT: Dialect = Dialect::MySql;

    async fn open(config: &DatabaseConfig, access: &Access, _: &str) -> Result<Self, Failure> {
        let (session, longest) = Session::open(config, access).await?;
        // Half of it, so that one row more never is too much.
        let longest = longest.map_or(STATEMENT, |longest| (longest / 2).min(STATEMENT));
        let mut connection = Self { session, database: config.database.clone(), longest };
        let made = connection.run("failed to create the table of positions", sql::create_positions()).await;
        if let Err(failure) = made {
            let reading = connection.run("failed to read the positions", sql::read_positions("")).await;
            if reading.is_err() {
                let remedy = format!("grant CREATE on the database, or let somebody run: {}", sql::create_positions());
                return Err(Failure { remedy, ..failure });
            }
        }
        Ok(connection)
    }

    fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    async fn positions(&mut self, sync: &str) -> Result<Positions, Failure> {
        let what = "failed to read the positions";
        let rows: Vec<(String, u64, u32, i64)> = self.session.query(what, sql::read_positions(sync)).await?;
        let stored = rows.into_iter().map(|(partition, offset, index, newest_millis)| {
            (Arc::from(partition), Stored { offset, index, newest_millis })
        });
        Ok(Positions::new(stored))
    }

    async fn describe(&mut self, name: &str) -> Result<Option<Table>, Failure> {
        let what = format!("failed to look at table {name}");
        let (database, table) = name.split_once('.').unwrap_or((&self.database, name));
        let place = (database.to_owned(), table.to_owned());
        let columns: Vec<FoundColumn> = self.session.exec(&what, COLUMNS, place.clone()).await?;
        if columns.is_empty() {
            return Ok(None);
        }
        let engine = "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
        let engine: Vec<Option<String>> = self.session.exec(&what, engine, place.clone()).await?;
        if let Some(engine) = engine.iter().flatten().find(|engine| NOT_TRANSACTIONAL.contains(&engine.as_str())) {
            let message = format!("table {name}: its engine {engine} has no transactions");
            return Err(Failure::unavailable("NotTransactional", message, "change it: ALTER TABLE … ENGINE=InnoDB"));
        }
        let unique = "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND \
                      TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX";
        let parts: Vec<(String, Option<String>)> = self.session.exec(&what, unique, place).await?;
        let (mut primary, mut unique) = (Vec::new(), Vec::<(String, Vec<String>)>::new());
        for (index, column) in parts {
            let column = column.unwrap_or_default();
            match unique.last_mut() {
                _ if index == "PRIMARY" => primary.push(column),
                Some((last, columns)) if *last == index => columns.push(column),
                _ => unique.push((index, vec![column])),
            }
        }
        let unique: Vec<_> = unique.into_iter().map(|(_, columns)| columns).collect();
        let columns = columns.into_iter().map(column).collect();
        Ok(Some(Table::new(Dialect::MySql, sql::quote_table(name), columns, &primary, &unique)))
    }

    async fn create_table(&mut self, name: &str, columns: &[NewColumn], key: &[String]) -> Result<(), Failure> {
        self.run(&format!("failed to create table {name}"), sql::create(name, columns, key)).await.map(|_| ())
    }

    async fn add_columns(&mut self, table: &Table, columns: &[NewColumn]) -> Result<(), Failure> {
        let what = format!("failed to add columns to {}", table.quoted);
        self.run(&what, sql::add_columns(table, columns)).await.map(|_| ())
    }

    async fn begin(&mut self, _: bool) -> Result<(), Failure> {
        self.run("failed to begin a transaction", "START TRANSACTION").await.map(|_| ())
    }

    async fn apply(&mut self, keyed: &Keyed, rounds: &Rounds<'_>, names_missing: bool) -> Result<Applied, Failure> {
        let what = format!("failed to write to {}", keyed.table.quoted);
        let mut applied = Applied { left_out: rounds.left_out, missing: Vec::new() };
        for round in &rounds.rounds {
            if !round.removals.is_empty() {
                self.remove(&what, keyed, &round.removals, names_missing, &mut applied).await?;
            }
            for group in &round.groups {
                self.write_group(&what, keyed, group, &mut applied).await?;
            }
        }
        Ok(applied)
    }

    async fn move_positions(&mut self, sync: &str, moves: &[Move]) -> Result<bool, Failure> {
        let what = "failed to write the positions";
        for one in moves {
            let is_moved = match one.from {
                Some(_) => self.run(what, sql::move_position(sync, one)).await? == 1,
                None => self.session.add(what, sql::insert_position(sync, one)).await?,
            };
            if !is_moved {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        self.run("failed to set a savepoint", "SAVEPOINT record").await.map(|_| ())
    }

    async fn back_to_mark(&mut self) -> Result<(), Failure> {
        self.run("failed to go back to a savepoint", "ROLLBACK TO SAVEPOINT record").await.map(|_| ())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        self.run("failed to commit", "COMMIT").await.map(|_| ())
    }

    async fn roll_back(&mut self) -> Result<(), Failure> {
        self.run("failed to roll back", "ROLLBACK").await.map(|_| ())
    }
}

/// Columns of a table: name, type without length and with it, expression of one that is computed, character set and collation.
const COLUMNS: &str = "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, GENERATION_EXPRESSION, CHARACTER_SET_NAME, \
    COLLATION_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";

type FoundColumn = (String, String, String, Option<String>, Option<String>, Option<String>);

fn column((name, data_type, full, computed, characters, collation): FoundColumn) -> Column {
    let stored_type = match (characters, collation) {
        (Some(characters), Some(collation)) => format!("{full} CHARACTER SET {characters} COLLATE {collation}"),
        _ => full.clone(),
    };
    Column {
        name,
        kind: kind(&data_type),
        sql_type: full.to_lowercase(),
        stored_type,
        is_generated: computed.is_some_and(|expression| !expression.is_empty()),
    }
}

/// What a column of this type holds.
fn kind(data_type: &str) -> Kind {
    match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Kind::Integer,
        "float" | "double" => Kind::Float,
        "decimal" => Kind::Decimal,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
        "json" => Kind::Json,
        "datetime" | "timestamp" => Kind::Timestamp,
        "date" => Kind::Date,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Kind::Text,
        _ => Kind::Other,
    }
}
