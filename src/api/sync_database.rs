//! Databases as source or target of a sync.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::{Credential, Tls};

/// Address and credentials of a database server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseServer {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port; without it, 5432 for PostgreSQL and 3306 for MySQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// Name of the database.
    #[schemars(length(min = 1, max = 64))]
    pub database: String,
    /// User name.
    pub username: Credential,
    /// Password.
    pub password: Credential,
    /// TLS settings; plain TCP without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A PostgreSQL database as source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresSource {
    /// Address and credentials.
    pub server: DatabaseServer,
    /// Tables as schema.table; a table without a schema is in public.
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub tables: Vec<String>,
    /// Replication slot; without it the operator derives a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9_]+$')")
        .message("source.postgres.slotName may hold lower-case letters, digits and _ only"))]
    pub slot_name: Option<String>,
    /// Publication; without it the operator derives a name and creates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub publication: Option<String>,
    /// What is done when a table's definition changes.
    #[serde(default)]
    pub ddl: DdlPolicy,
}

/// A MySQL or MariaDB database as source. The server needs binlog_format ROW, and binlog_row_image and binlog_row_metadata
/// FULL; the user SELECT on the tables, REPLICATION SLAVE and REPLICATION CLIENT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.tables.all(table, !table.contains('.'))")
    .message("source.mysql.tables are tables of source.mysql.server.database; write each without a database and a dot")
    .field_path(".tables"))]
pub struct MySqlSource {
    /// Address and credentials.
    pub server: DatabaseServer,
    /// Tables of the database, by their names alone.
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub tables: Vec<String>,
    /// Server id under which the worker reads the binary log, which no server and no other replica or sync of this server may
    /// have; without it the operator derives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub server_id: Option<i64>,
    /// What is done when a table's definition changes.
    #[serde(default)]
    pub ddl: DdlPolicy,
}

/// What is done when a table's definition changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DdlPolicy {
    /// The sync stops and says so.
    #[default]
    Stop,
    /// Changes of definitions are left out.
    Ignore,
    /// They are passed on as records.
    Forward,
}

/// A PostgreSQL database as target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresTarget {
    /// Address and credentials.
    pub server: DatabaseServer,
    /// Table as schema.table; without it, the name of the record's topic or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub table: Option<String>,
    /// Fields that identify a row; without it, the table's primary key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub key_fields: Vec<String>,
    /// Create a missing table, and add missing columns, from the record's fields.
    #[serde(default)]
    pub create_table: bool,
}

/// A MySQL or MariaDB database as target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MySqlTarget {
    /// Address and credentials.
    pub server: DatabaseServer,
    /// Table; without it, the name of the record's topic or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub table: Option<String>,
    /// Fields that identify a row; without it, the table's primary key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub key_fields: Vec<String>,
    /// Create a missing table, and add missing columns, from the record's fields.
    #[serde(default)]
    pub create_table: bool,
}
