//! What the database knows about the tables, and what is set up in it: publication and replication slot.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::super::super::database::postgres::failure;
use super::super::super::error::reported;
use super::super::database::row::Shape;
use super::{Result, Trouble, literal, quoted};
use crate::worker_config::sync::DatabaseConfig;

/// First version that publishes a partitioned table as one, and shows snapshots with whole transaction numbers.
const OLDEST_VERSION: i32 = 130_000;

/// A table that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `schema.table`, as records name it.
    pub name: String,
    /// The same, quoted for statements.
    pub quoted: String,
    /// Columns that are not generated.
    pub columns: Vec<TableColumn>,
    /// Names of the columns that identify a row; empty when there is no key.
    pub key: Vec<String>,
    /// How the log identifies a row: `d`efault, by `i`ndex, `f`ull, or `n`othing.
    identity: char,
    /// Rows by the database's statistics.
    pub expected_rows: Option<u64>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Name.
    pub name: String,
    /// Object id of its type.
    pub type_oid: u32,
    /// Its type as statements write it.
    pub type_name: String,
}

impl Table {
    /// The columns of the key.
    pub fn key_columns(&self) -> impl Iterator<Item = &TableColumn> {
        self.key.iter().filter_map(|name| self.columns.iter().find(|column| column.name == *name))
    }

    /// What its records share, in the partition of a slot.
    #[must_use]
    pub fn shape(&self, slot: &str) -> Shape {
        Shape { partition: slot.into(), entity: self.name.clone().into(), key_fields: self.key.clone().into() }
    }

    /// `("a", "b")`.
    #[must_use]
    pub fn key_list(&self) -> String {
        self.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    /// `'1'::integer, 'x'::text` of a key.
    #[must_use]
    pub fn key_literals(&self, key: &[String]) -> String {
        let typed = |(column, text): (&TableColumn, &String)| format!("{}::{}", literal(text), column.type_name);
        self.key_columns().zip(key).map(typed).collect::<Vec<_>>().join(", ")
    }
}

/// A session with the database as set-up needs it.
pub struct Catalog<'a> {
    /// The session.
    pub client: &'a Client,
    /// The server, for messages.
    pub server: &'a DatabaseConfig,
}

impl Catalog<'_> {
    fn failed(&self, what: &str, error: &tokio_postgres::Error) -> Trouble {
        failure(self.server, what, error).into()
    }

    /// Rows of a statement, each column as a text.
    async fn rows(&self, what: &str, statement: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self.client.simple_query(statement).await.map_err(|error| self.failed(what, &error))?;
        let row = |message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    async fn run(&self, what: &str, statement: &str) -> Result<()> {
        self.client.batch_execute(statement).await.map_err(|error| self.failed(what, &error))
    }

    /// Looks at the tables.
    ///
    /// # Errors
    /// One does not exist, or its changes cannot be read.
    pub async fn tables(&self, names: &[String], needs_changes: bool) -> Result<BTreeMap<String, Table>> {
        let mut tables = BTreeMap::new();
        for name in names {
            let table = self.table(name).await?;
            if needs_changes {
                has_identity(&table)?;
            }
            tables.insert(table.name.clone(), table);
        }
        Ok(tables)
    }

    async fn table(&self, name: &str) -> Result<Table> {
        let (schema, table) = name.split_once('.').unwrap_or(("public", name));
        let (name, quoted) = (format!("{schema}.{table}"), format!("{}.{}", quoted(schema), quoted(table)));
        let found = self
            .rows(
                "failed to look at the tables",
                &format!(
                    "SELECT c.oid, c.relreplident, greatest(c.reltuples, -1)::bigint FROM pg_class c \
                     JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')",
                    literal(schema),
                    literal(table)
                ),
            )
            .await?;
        let [Some(oid), Some(identity), rows] = found.first().map_or(&[][..], Vec::as_slice) else {
            return Err(Trouble::Again(reported(
                "TableNotFound",
                format!("source.postgres.tables: table {name} does not exist"),
                "create it, or correct the name; it is written schema.table, as the database stores it",
            )));
        };
        let columns = self
            .rows(
                "failed to look at the columns",
                &format!(
                    "SELECT attname, atttypid, format_type(atttypid, atttypmod) FROM pg_attribute \
                     WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
                ),
            )
            .await?;
        let column = |row: &Vec<Option<String>>| match row.as_slice() {
            [Some(name), Some(oid), Some(type_name)] => {
                Some(TableColumn { name: name.clone(), type_oid: oid.parse().ok()?, type_name: type_name.clone() })
            }
            _ => None,
        };
        let index = if identity == "i" { "indisreplident" } else { "indisprimary" };
        let key = self
            .rows(
                "failed to look at the key",
                &format!(
                    "SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(number, place) \
                     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
                     WHERE i.indrelid = {oid} AND i.{index} AND k.place <= i.indnkeyatts ORDER BY k.place"
                ),
            )
            .await?;
        Ok(Table {
            name,
            quoted,
            columns: columns.iter().filter_map(column).collect(),
            key: key.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect(),
            identity: identity.chars().next().unwrap_or('d'),
            expected_rows: rows.as_deref().and_then(|rows| rows.parse().ok()),
        })
    }

    /// Checks that the server offers logical replication.
    ///
    /// # Errors
    /// It does not.
    pub async fn check_server(&self) -> Result<()> {
        let row = self
            .rows(
                "failed to look at the server",
                "SELECT current_setting('server_version_num'), current_setting('wal_level'), pg_is_in_recovery()",
            )
            .await?;
        let Some([Some(version), Some(level), Some(recovery)]) = row.first().map(Vec::as_slice) else { return Ok(()) };
        let problem =
            |message: String, remedy: &str| Err(Trouble::Again(reported("ReplicationUnavailable", message, remedy)));
        if version.parse::<i32>().is_ok_and(|version| version < OLDEST_VERSION) {
            return problem(format!("the server has version {version}"), "use PostgreSQL 13 or later");
        }
        if level != "logical" {
            let message = format!("wal_level of the server is {level}");
            return problem(message, "set wal_level = logical in its configuration and restart it");
        }
        if recovery == "t" {
            return problem("the server is a standby".to_owned(), "name the primary in source.postgres.server");
        }
        Ok(())
    }

    /// Makes the publication, or adds tables that it lacks.
    ///
    /// # Errors
    /// The user may not, or a statement failed.
    pub async fn publish(&self, publication: &str, tables: &BTreeMap<String, Table>) -> Result<()> {
        let what = format!("failed to set up the publication {publication}");
        let exists = format!("SELECT 1 FROM pg_publication WHERE pubname = {}", literal(publication));
        let list =
            |tables: Vec<&Table>| tables.iter().map(|table| table.quoted.as_str()).collect::<Vec<_>>().join(", ");
        if self.rows(&what, &exists).await?.is_empty() {
            let statement = format!(
                "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
                quoted(publication),
                list(tables.values().collect())
            );
            tracing::info!(publication, "the publication is created");
            return self.run(&what, &statement).await;
        }
        let published = format!(
            "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = {}",
            literal(publication)
        );
        let published: Vec<String> = self
            .rows(&what, &published)
            .await?
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .collect();
        let missing: Vec<&Table> = tables.values().filter(|table| !published.contains(&table.name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        tracing::info!(publication, tables = list(missing.clone()), "tables are added to the publication");
        self.run(&what, &format!("ALTER PUBLICATION {} ADD TABLE {}", quoted(publication), list(missing))).await
    }

    /// Makes the slot unless it is there. `was_made` tells that it was there once.
    ///
    /// # Errors
    /// It is another one's, or changes were lost with it.
    pub async fn ensure_slot(&self, slot: &str, was_made: bool) -> Result<()> {
        let what = format!("failed to set up the replication slot {slot}");
        let found = format!(
            "SELECT coalesce(plugin, ''), coalesce(database, ''), coalesce(wal_status, '') FROM pg_replication_slots \
             WHERE slot_name = {}",
            literal(slot)
        );
        let row = self.rows(&what, &found).await?;
        match row.first().map(Vec::as_slice) {
            None if was_made => Err(gone(slot, "does not exist any more")),
            None => {
                tracing::info!(slot, "the replication slot is created; transactions that run now are waited for");
                let make = format!("SELECT pg_create_logical_replication_slot({}, 'pgoutput')", literal(slot));
                self.run(&what, &make).await
            }
            Some([Some(plugin), Some(database), _]) if plugin != "pgoutput" || *database != self.server.database => {
                Err(Trouble::Again(reported(
                    "SlotConflict",
                    format!("replication slot {slot} is of plug-in {plugin:?} and database {database:?}"),
                    "set source.postgres.slotName to another name",
                )))
            }
            Some([_, _, Some(status)]) if status == "lost" => {
                Err(gone(slot, "has lost its log: it exceeded max_slot_wal_keep_size"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Takes the lock by which one worker at a time serves a slot; it ends with the session.
    ///
    /// # Errors
    /// Another one has it.
    pub async fn lock(&self, slot: &str) -> Result<()> {
        /// Tells our locks from those of others.
        const CLASS: i32 = 0x0052_4d51;
        let key = format!("{CLASS}, hashtext({})", literal(slot));
        let what = "failed to take the lock of the replication slot";
        let got = self.rows(what, &format!("SELECT pg_try_advisory_lock({key})")).await?;
        if got.first().and_then(|row| row.first()?.as_deref()) == Some("t") {
            return Ok(());
        }
        let holder = format!(
            "SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'local') FROM pg_locks l \
             JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {CLASS} \
             AND l.objid = (hashtext({})::bigint & 4294967295)::oid AND l.objsubid = 2",
            literal(slot)
        );
        let holder = self.rows(what, &holder).await?;
        let holder = match holder.first().map(Vec::as_slice) {
            Some([Some(pid), Some(application), Some(address)]) => {
                format!("process {pid}, {application:?} at {address}")
            }
            _ => "a session that has just ended".to_owned(),
        };
        Err(in_use(slot, &holder))
    }
}

/// Another session serves the slot.
pub fn in_use(slot: &str, holder: &str) -> Trouble {
    Trouble::Again(reported(
        "SlotInUse",
        format!("replication slot {slot} is in use: {holder}"),
        "nothing, if an earlier worker is just ending; else give each sync a slot of its own (source.postgres.slotName)",
    ))
}

fn gone(slot: &str, why: &str) -> Trouble {
    Trouble::Stopped(reported(
        "SlotLost",
        format!("replication slot {slot} {why}: changes since then cannot be read"),
        format!(
            "to begin anew: SELECT pg_drop_replication_slot('{slot}'), if it is there, and DELETE FROM \
             rocketmq_connector.sync_table WHERE slot = '{slot}' in the database; then restart the worker"
        ),
    ))
}

/// Once such a table is published, PostgreSQL refuses updates and deletions of its rows: not to anybody's surprise by us.
fn has_identity(table: &Table) -> Result<()> {
    let is_identified = match table.identity {
        'f' => true,
        'n' => false,
        _ => !table.key.is_empty(),
    };
    if is_identified {
        return Ok(());
    }
    Err(Trouble::Again(reported(
        "NoReplicaIdentity",
        format!(
            "table {} has no primary key and no replica identity: PostgreSQL would refuse its updates and deletions once it is published",
            table.name
        ),
        format!("ALTER TABLE {} REPLICA IDENTITY FULL, or give it a primary key, or leave it out", table.quoted),
    )))
}

#[cfg(test)]
impl Table {
    /// A table for tests.
    pub fn test(name: &str, columns: Vec<TableColumn>, key: &[&str]) -> Self {
        let quoted = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        Self { name: name.to_owned(), quoted, columns, key, identity: 'd', expected_rows: None }
    }
}
