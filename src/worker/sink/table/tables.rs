//! The tables that a sink writes to: looked at once, made and widened where that is asked for.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::super::database::Failure;
use super::super::super::record::{Payload, Record};
use super::super::WriteError;
use super::change::{RAW_COLUMNS, RAW_KEY, missing_columns};
use super::connection::Connection;
use super::schema::Keyed;
use crate::worker_config::sync::TableTargetConfig;

/// Tables by the names under which records ask for them.
#[derive(Default)]
pub struct Tables {
    known: HashMap<String, Arc<Keyed>>,
}

/// The name of the table that a record goes to.
pub fn name_of<'a>(config: &'a TableTargetConfig, record: &'a Record) -> &'a str {
    config.table.as_deref().unwrap_or(&record.entity)
}

impl Tables {
    /// The table of this name, when it was prepared.
    pub fn get(&self, name: &str) -> Option<&Arc<Keyed>> {
        self.known.get(name)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Looks at the tables of the records `fresh` of a batch; makes what is missing where that is asked for. The inner error
    /// is a record's own.
    ///
    /// # Errors
    /// A table is missing or cannot be used, or the database fails.
    pub async fn prepare<C: Connection>(
        &mut self,
        connection: &mut C,
        config: &TableTargetConfig,
        batch: &[Record],
        fresh: &[usize],
    ) -> Result<Result<(), WriteError>, Failure> {
        let mut names: Vec<(&str, Vec<usize>)> = Vec::new();
        for index in fresh {
            let name = name_of(config, &batch[*index]);
            match names.last_mut() {
                Some((last, indices)) if *last == name => indices.push(*index),
                _ => match names.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, indices)) => indices.push(*index),
                    None => names.push((name, vec![*index])),
                },
            }
        }
        for (name, indices) in names {
            if let Err(error) = self.prepare_one(connection, config, name, batch, &indices).await? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn prepare_one<C: Connection>(
        &mut self,
        connection: &mut C,
        config: &TableTargetConfig,
        name: &str,
        batch: &[Record],
        indices: &[usize],
    ) -> Result<Result<(), WriteError>, Failure> {
        let records = || indices.iter().map(|index| &batch[*index]);
        if !self.known.contains_key(name) {
            let found = match connection.describe(name).await? {
                Some(table) => table,
                None if !config.create_table => {
                    let message = format!("table {name}: does not exist in database {}", config.server.database);
                    let remedy = "create it, correct target.table, or set target.createTable: true";
                    return Err(Failure::unavailable("TableNotFound", message, remedy));
                }
                None => {
                    let columns = missing_columns(records(), C::DIALECT, |_| false);
                    let key = key_of(config, &batch[indices[0]]);
                    if let Some(lacking) = key.iter().find(|field| !columns.iter().any(|column| column.name == **field))
                    {
                        return Ok(Err(WriteError::Invalid {
                            index: indices[0],
                            reason: "InvalidKey",
                            message: format!("field {lacking}: is missing or null, and identifies the row"),
                            remedy: "correct the sender, or name other fields in target.keyFields".to_owned(),
                        }));
                    }
                    connection.create_table(name, &columns, &key).await?;
                    tracing::info!(table = name, columns = columns.len(), "the missing table was created");
                    described(connection, name).await?
                }
            };
            self.keep(name, found, config)?;
        }
        let Some(keyed) = self.known.get(name).filter(|_| config.create_table) else { return Ok(Ok(())) };
        let missing = missing_columns(records(), C::DIALECT, |field| keyed.table.number(field).is_some());
        if !missing.is_empty() {
            connection.add_columns(&keyed.table, &missing).await?;
            let names: Vec<_> = missing.iter().map(|column| column.name.as_str()).collect();
            tracing::info!(table = name, columns = names.join(", "), "missing columns were added");
            let found = described(connection, name).await?;
            self.keep(name, found, config)?;
        }
        Ok(Ok(()))
    }

    fn keep(&mut self, name: &str, table: super::schema::Table, config: &TableTargetConfig) -> Result<(), Failure> {
        let keyed = Keyed::new(table, &config.key_fields)
            .map_err(|(message, remedy)| Failure::unavailable("InvalidKeyFields", message, remedy))?;
        self.known.insert(name.to_owned(), Arc::new(keyed));
        Ok(())
    }
}

async fn described<C: Connection>(connection: &mut C, name: &str) -> Result<super::schema::Table, Failure> {
    connection.describe(name).await?.ok_or_else(|| {
        let message = format!("table {name}: is gone again");
        Failure::unavailable("TableNotFound", message, "find out who removes it")
    })
}

/// The primary key of a table that is made.
fn key_of(config: &TableTargetConfig, record: &Record) -> Vec<String> {
    let given = if config.key_fields.is_empty() { record.key_fields.to_vec() } else { config.key_fields.clone() };
    match &record.payload {
        Payload::Raw(_) if given.is_empty() => {
            RAW_COLUMNS[..RAW_KEY].iter().map(|(name, _)| (*name).to_owned()).collect()
        }
        _ => given,
    }
}
