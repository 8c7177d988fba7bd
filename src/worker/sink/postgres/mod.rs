//! Tables of a PostgreSQL database as target: a session, in which the statements of a step are sent without waiting for
//! each other's answers.

mod compare;
mod sql;

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::try_join_all;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row as Found, Statement};

use super::super::database::postgres::{WATCH, connect, failure};
use super::super::database::{Access, Failure};
use super::table::change::{Action, Row};
use super::table::connection::{Applied, Connection, POSITIONS};
use super::table::positions::{Move, Positions, Stored};
use super::table::rounds::{Removal, Rounds, Write};
use super::table::schema::{Column, Dialect, Keyed, Kind, NewColumn, Table};
use super::table::value::Cell;
use crate::worker_config::sync::DatabaseConfig;

/// Prepared statements that are kept; records with many optional fields make many.
const KEPT_STATEMENTS: usize = 256;

/// A session with PostgreSQL.
pub struct PostgresConnection {
    client: Client,
    config: DatabaseConfig,
    statements: HashMap<String, Statement>,
}

/// The values of one column, one for each row.
enum Array<'a> {
    Texts(Vec<Option<&'a str>>),
    Bytes(Vec<Option<&'a [u8]>>),
}

impl Array<'_> {
    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Texts(texts) => texts,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A statement with its values, and what its answer means.
struct Step<'a> {
    statement: Statement,
    arrays: Vec<Array<'a>>,
    kind: StepKind<'a>,
}

enum StepKind<'a> {
    Removals(&'a [Removal<'a>]),
    Writes(Action, &'a [Write<'a>]),
}

impl PostgresConnection {
    fn failed(&self, what: &str) -> impl Fn(Error) -> Failure {
        let (config, what) = (self.config.clone(), what.to_owned());
        move |error| failure(&config, &what, &error)
    }

    async fn run(&self, what: &str, statements: &str) -> Result<(), Failure> {
        self.client.batch_execute(statements).await.map_err(self.failed(what))
    }

    async fn prepared(&mut self, what: &str, sql: String) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(&sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&sql).await.map_err(self.failed(what))?;
        if self.statements.len() >= KEPT_STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    async fn steps<'a>(&mut self, what: &str, keyed: &Keyed, rounds: &'a Rounds<'a>) -> Result<Vec<Step<'a>>, Failure> {
        let mut steps = Vec::new();
        for round in &rounds.rounds {
            if !round.removals.is_empty() {
                let statement = self.prepared(what, sql::remove(keyed)).await?;
                let cells = |place: usize| round.removals.iter().map(move |removal| &removal.key[place]);
                let arrays = keyed.key.iter().enumerate();
                let arrays = arrays.map(|(place, number)| array(keyed, *number, cells(place))).collect();
                steps.push(Step { statement, arrays, kind: StepKind::Removals(&round.removals) });
            }
            for group in &round.groups {
                let columns = group.columns();
                let statement = self.prepared(what, sql::write(keyed, group.action, &columns)).await?;
                let cells = |place: usize| group.writes.iter().map(move |write: &Write<'a>| cell_at(&write.row, place));
                let arrays = columns.iter().enumerate();
                let arrays = arrays.map(|(place, number)| array(keyed, *number, cells(place))).collect();
                steps.push(Step { statement, arrays, kind: StepKind::Writes(group.action, &group.writes) });
            }
        }
        Ok(steps)
    }
}

fn cell_at<'a, 'b>(row: &'b Row<'a>, place: usize) -> &'b Cell<'a> {
    &row[place].1
}

fn array<'a, 'b: 'a>(keyed: &Keyed, number: u16, cells: impl Iterator<Item = &'a Cell<'b>>) -> Array<'a> {
    match keyed.table.column(number).kind {
        Kind::Bytes => Array::Bytes(cells.map(Cell::bytes).collect()),
        _ => Array::Texts(cells.map(Cell::text).collect()),
    }
}

/// What the policies left out, by the answer of a step.
fn settle(step: &StepKind<'_>, found: &[Found], affected: u64, applied: &mut Applied) {
    let places = || {
        let places = found.iter().map(|row| row.get::<_, i64>(0));
        places.filter_map(|place| usize::try_from(place - 1).ok()).collect::<std::collections::HashSet<_>>()
    };
    let mut miss = |action, index, weight: u64| {
        applied.left_out += weight;
        if weight > 0 {
            applied.missing.push((action, index));
        }
    };
    match step {
        StepKind::Removals(removals) if found.len() < removals.len() => {
            let places = places();
            for (_, removal) in removals.iter().enumerate().filter(|(place, _)| !places.contains(place)) {
                miss(Action::Remove, removal.index, removal.weight);
            }
        }
        StepKind::Writes(Action::Change, writes) if found.len() < writes.len() => {
            let places = places();
            for (_, write) in writes.iter().enumerate().filter(|(place, _)| !places.contains(place)) {
                miss(Action::Change, write.index, write.weight);
            }
        }
        StepKind::Writes(Action::Add, writes) => {
            applied.left_out += u64::try_from(writes.len()).unwrap_or(u64::MAX).saturating_sub(affected);
        }
        StepKind::Removals(_) | StepKind::Writes(..) => {}
    }
}

impl Connection for PostgresConnection {
    const DIALECT: Dialect = Dialect::Postgres;

    async fn open(config: &DatabaseConfig, access: &Access, sync: &str) -> Result<Self, Failure> {
        let client = connect(config, access, &format!("rocketmq-connector {sync}")).await?;
        let connection = Self { client, config: config.clone(), statements: HashMap::new() };
        let what = "failed to prepare the session";
        let watch = WATCH.map(|(name, value)| format!("; SET {name} TO {value}")).concat();
        let settings = "SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO, YMD'; SET client_min_messages TO warning";
        connection.run(what, &format!("{settings}{watch}")).await?;
        let exists = connection.client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&POSITIONS]).await;
        if !exists.map_err(connection.failed(what))?.get::<_, bool>(0) {
            let made = connection.run("failed to create the table of positions", &sql::create_positions()).await;
            made.map_err(|failure| {
                let remedy = format!("grant CREATE on the schema, or let somebody run: {}", sql::create_positions());
                Failure { remedy, ..failure }
            })?;
        }
        Ok(connection)
    }

    fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn positions(&mut self, sync: &str) -> Result<Positions, Failure> {
        let what = "failed to read the positions";
        let rows = self.client.query(&sql::read_positions(), &[&sync]).await.map_err(self.failed(what))?;
        let stored = rows.iter().map(|row| {
            let number = |place| u64::try_from(row.get::<_, i64>(place)).unwrap_or_default();
            let index = u32::try_from(number(2)).unwrap_or_default();
            (Arc::from(row.get::<_, &str>(0)), Stored { offset: number(1), index, newest_millis: row.get(3) })
        });
        Ok(Positions::new(stored))
    }

    async fn describe(&mut self, name: &str) -> Result<Option<Table>, Failure> {
        let what = format!("failed to look at table {name}");
        let quoted = sql::quote_table(name);
        let rows = self.client.query(sql::COLUMNS, &[&quoted]).await.map_err(self.failed(&what))?;
        if rows.is_empty() {
            return Ok(None);
        }
        let column = |row: &Found| Column {
            name: row.get(0),
            sql_type: row.get(1),
            kind: if row.get(3) { Kind::Array } else { kind(row.get(2)) },
            is_generated: row.get(4),
            stored_type: row.get(5),
        };
        let columns = rows.iter().map(column).collect();
        let rows = self.client.query(sql::UNIQUE, &[&quoted]).await.map_err(self.failed(&what))?;
        let (mut primary, mut unique) = (Vec::new(), Vec::new());
        for row in rows {
            let names: Vec<String> = row.get(1);
            if row.get(0) { primary = names } else { unique.push(names) }
        }
        // What was prepared for it may be for columns that it does not have any more.
        self.statements.clear();
        Ok(Some(Table::new(Dialect::Postgres, quoted, columns, &primary, &unique)))
    }

    async fn create_table(&mut self, name: &str, columns: &[NewColumn], key: &[String]) -> Result<(), Failure> {
        self.run(&format!("failed to create table {name}"), &sql::create(name, columns, key)).await
    }

    async fn add_columns(&mut self, table: &Table, columns: &[NewColumn]) -> Result<(), Failure> {
        self.run(&format!("failed to add columns to {}", table.quoted), &sql::add_columns(table, columns)).await
    }

    async fn begin(&mut self, strict: bool) -> Result<(), Failure> {
        let statements = if strict { "BEGIN; SET CONSTRAINTS ALL IMMEDIATE" } else { "BEGIN" };
        self.run("failed to begin a transaction", statements).await
    }

    async fn apply(&mut self, keyed: &Keyed, rounds: &Rounds<'_>, _: bool) -> Result<Applied, Failure> {
        let what = format!("failed to write to {}", keyed.table.quoted);
        let steps = self.steps(&what, keyed, rounds).await?;
        let client = &self.client;
        let answers = steps.iter().map(|step| async move {
            let parameters: Vec<_> = step.arrays.iter().map(Array::parameter).collect();
            match step.kind {
                StepKind::Writes(Action::Put | Action::Add | Action::New, _) => {
                    client.execute(&step.statement, &parameters).await.map(|affected| (Vec::new(), affected))
                }
                _ => client.query(&step.statement, &parameters).await.map(|found| (found, 0)),
            }
        });
        // All are sent before the first is answered.
        let answers = try_join_all(answers).await.map_err(self.failed(&what))?;
        let mut applied = Applied { left_out: rounds.left_out, missing: Vec::new() };
        for (step, (found, affected)) in steps.iter().zip(&answers) {
            settle(&step.kind, found, *affected, &mut applied);
        }
        Ok(applied)
    }

    async fn move_positions(&mut self, sync: &str, moves: &[Move]) -> Result<bool, Failure> {
        let what = "failed to write the positions";
        let (known, new): (Vec<&Move>, Vec<&Move>) = moves.iter().partition(|one| one.from.is_some());
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut moved = 0;
        for (moves, sql) in [(known, sql::move_positions()), (new, sql::insert_positions())] {
            if moves.is_empty() {
                continue;
            }
            let names: Vec<&str> = moves.iter().map(|one| one.partition.as_ref()).collect();
            let offsets: Vec<i64> = moves.iter().map(|one| number(one.to.offset)).collect();
            let indices: Vec<i64> = moves.iter().map(|one| i64::from(one.to.index)).collect();
            let newest: Vec<i64> = moves.iter().map(|one| one.to.newest_millis).collect();
            let from_offsets: Vec<i64> = moves.iter().filter_map(|one| Some(number(one.from?.offset))).collect();
            let from_indices: Vec<i64> = moves.iter().filter_map(|one| Some(i64::from(one.from?.index))).collect();
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&sync, &names, &offsets, &indices, &newest];
            if !from_offsets.is_empty() {
                parameters.extend([&from_offsets as &(dyn ToSql + Sync), &from_indices]);
            }
            let statement = self.prepared(what, sql).await?;
            moved += self.client.execute(&statement, &parameters).await.map_err(self.failed(what))?;
        }
        Ok(usize::try_from(moved) == Ok(moves.len()))
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        self.run("failed to set a savepoint", "SAVEPOINT record").await
    }

    async fn back_to_mark(&mut self) -> Result<(), Failure> {
        self.run("failed to go back to a savepoint", "ROLLBACK TO SAVEPOINT record").await
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        self.run("failed to commit", "COMMIT").await
    }

    async fn roll_back(&mut self) -> Result<(), Failure> {
        self.run("failed to roll back", "ROLLBACK").await
    }
}

/// What a column of this type holds; domains count as what they are of.
fn kind(type_name: &str) -> Kind {
    match type_name {
        "bool" => Kind::Boolean,
        "int2" | "int4" | "int8" => Kind::Integer,
        "float4" | "float8" => Kind::Float,
        "numeric" => Kind::Decimal,
        "bytea" => Kind::Bytes,
        "json" | "jsonb" => Kind::Json,
        "timestamp" => Kind::Timestamp,
        "timestamptz" => Kind::Moment,
        "date" => Kind::Date,
        "text" | "varchar" | "bpchar" | "citext" | "name" => Kind::Text,
        _ => Kind::Other,
    }
}
