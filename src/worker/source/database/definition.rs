//! Changed definitions of tables.

use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::super::error::reported;
use super::super::super::record::{Operation, Record};
use super::changes::Transaction;
use super::row::{Cells, Shape};
use super::{Result, Trouble};
use crate::worker_config::sync::Ddl;

/// Columns of tables as the log had them last, as JSON: a list of names and types.
#[derive(Debug, Default)]
pub struct Definitions(HashMap<String, String>);

impl Definitions {
    /// What is known.
    pub fn new(known: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(known.into_iter().collect())
    }

    /// Compares a table with what was known of it, and acts by the policy of `field`, which is the source's. `columns` are
    /// told with the change.
    ///
    /// # Errors
    /// It has changed, and the sync is to stop then.
    pub fn meet<Type: Serialize + DeserializeOwned + PartialEq>(
        &mut self,
        (policy, field): (Ddl, &str),
        shape: &Shape,
        now: &[(String, Type)],
        columns: impl FnOnce() -> serde_json::Value,
        transaction: &mut Transaction,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let (table, definition) = (&shape.entity, json!(now).to_string());
        let known = self.0.get(&**table);
        if known == Some(&definition) {
            return Ok(());
        }
        if let Some(known) = known {
            let before: Vec<(String, Type)> = serde_json::from_str(known).unwrap_or_default();
            let difference = difference(&before, now);
            match policy {
                Ddl::Stop => return Err(changed(table, &difference, field)),
                Ddl::Ignore => tracing::info!(%table, difference, "the definition of a table has changed"),
                Ddl::Forward => {
                    let mut cells = Cells::default();
                    cells.fields.insert("table".to_owned(), json!(table));
                    cells.fields.insert("columns".to_owned(), columns());
                    cells.fields.insert("change".to_owned(), json!(difference));
                    transaction.push(shape, Operation::Definition, cells, None, records);
                }
            }
        }
        transaction.definitions.push((table.to_string(), definition.clone()));
        self.0.insert(table.to_string(), definition);
        Ok(())
    }
}

fn changed(table: &str, difference: &str, field: &str) -> Trouble {
    Trouble::Stopped(reported(
        "DefinitionChanged",
        format!("the definition of table {table} has changed: {difference}"),
        format!("set {field} to Ignore to go on with the new definition, or to Forward to pass such changes on"),
    ))
}

/// What is new and what is gone, for people.
fn difference<Type: PartialEq>(known: &[(String, Type)], now: &[(String, Type)]) -> String {
    fn type_in<'a, Type>(columns: &'a [(String, Type)], name: &str) -> Option<&'a Type> {
        columns.iter().find(|(other, _)| other == name).map(|(_, type_of)| type_of)
    }
    let mut parts = Vec::new();
    for (name, type_of) in now {
        match type_in(known, name) {
            None => parts.push(format!("column {name} is new")),
            Some(before) if before != type_of => parts.push(format!("column {name} has another type")),
            Some(_) => {}
        }
    }
    let gone = known.iter().filter(|(name, _)| type_in(now, name).is_none());
    parts.extend(gone.map(|(name, _)| format!("column {name} is gone")));
    if parts.is_empty() { "the order of columns is another".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_definition_is_told_column_by_column() {
        let read = |text: &str| serde_json::from_str::<Vec<(String, u32)>>(text).unwrap();
        let known = read(r#"[["id",20],["a",25],["b",25]]"#);
        assert_eq!(
            difference(&known, &read(r#"[["id",20],["b",23],["c",25]]"#)),
            "column b has another type, column c is new, column a is gone"
        );
        assert_eq!(difference(&known, &read(r#"[["id",20],["b",25],["a",25]]"#)), "the order of columns is another");
    }
}
