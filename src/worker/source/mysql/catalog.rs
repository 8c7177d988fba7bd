//! What the database knows about the tables and about its log.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::super::super::error::reported;
use super::super::database::row::Shape;
use super::control::{Control, Texts};
use super::log::Charset;
use super::value::Kind;
use super::variables::unavailable;
use super::{Result, Trouble, literal, quoted, unexpected};
use crate::worker_config::sync::{DatabaseConfig, MySqlSourceConfig};

/// How long a session that was killed may still have its lock.
const KILLED: Duration = Duration::from_secs(5);

/// A table that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `database.table`, as records name it.
    pub name: String,
    /// Its own name.
    pub table: String,
    /// The name quoted for statements.
    pub quoted: String,
    /// Columns that are not generated.
    pub columns: Vec<TableColumn>,
    /// Names of generated columns.
    pub generated: Vec<String>,
    /// Names of the columns of the primary key; empty when there is none.
    pub key: Vec<String>,
    /// Whether it can be read in pieces by its key.
    pub has_pieces: bool,
    /// Rows by the database's statistics.
    pub expected_rows: Option<u64>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Name.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// Type, as the database names it.
    data_type: String,
    /// Character set and collation of text.
    text: Option<(String, String)>,
    /// Digits of decimal numbers: all, and those behind the point.
    digits: Option<(String, String)>,
}

impl TableColumn {
    /// A value of a key as statements write it, so that it compares as the column's own values do.
    #[must_use]
    pub fn literal(&self, text: &str) -> String {
        use base64::Engine as _;
        match (self.kind, &self.text, &self.digits) {
            (Kind::Integer, ..) => text.parse::<i128>().map_or_else(|_| literal(text), |number| number.to_string()),
            (Kind::Text, Some((charset, collation)), _) => {
                format!("CONVERT({} USING {charset}) COLLATE {collation}", literal(text))
            }
            (Kind::Bytes, ..) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
                format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            (Kind::Decimal, _, Some((all, behind))) => format!("CAST({} AS DECIMAL({all},{behind}))", literal(text)),
            (Kind::Date, ..) => format!("CAST({} AS DATE)", literal(text)),
            (Kind::DateTime | Kind::Timestamp, ..) => {
                format!("CAST({} AS DATETIME(6))", literal(text.trim_end_matches('Z')))
            }
            _ => literal(text),
        }
    }

    /// Whether its values are ordered and compared by [`literal`](Self::literal) as they are in the key's index.
    fn has_order(&self) -> bool {
        match self.kind {
            Kind::Integer | Kind::Decimal | Kind::Date | Kind::DateTime | Kind::Timestamp | Kind::Bytes => true,
            Kind::Text => !matches!(self.data_type.as_str(), "enum" | "set"),
            _ => false,
        }
    }
}

impl Table {
    /// The columns of the key.
    pub fn key_columns(&self) -> impl Iterator<Item = &TableColumn> {
        self.key.iter().filter_map(|name| self.columns.iter().find(|column| column.name == *name))
    }

    /// What its records share, in the partition of a sync.
    #[must_use]
    pub fn shape(&self, slot: &str) -> Shape {
        Shape { partition: slot.into(), entity: self.name.clone().into(), key_fields: self.key.clone().into() }
    }

    /// `` `a`, `b` ``.
    #[must_use]
    pub fn key_list(&self) -> String {
        self.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    /// Literals of a key.
    #[must_use]
    pub fn key_literals(&self, key: &[String]) -> Vec<String> {
        self.key_columns().zip(key).map(|(column, text)| column.literal(text)).collect()
    }
}

/// A session with the database as set-up needs it.
pub struct Catalog<'a> {
    /// The session.
    pub control: &'a Control,
    /// What is read.
    pub config: &'a MySqlSourceConfig,
}

impl Catalog<'_> {
    fn server(&self) -> &DatabaseConfig {
        &self.config.server
    }

    /// Looks at the tables.
    ///
    /// # Errors
    /// One does not exist, or cannot be read.
    pub async fn tables(&self) -> Result<BTreeMap<String, Table>> {
        let mut tables = BTreeMap::new();
        for name in &self.config.tables {
            let table = self.table(name).await?;
            tables.insert(table.name.clone(), table);
        }
        Ok(tables)
    }

    async fn table(&self, name: &str) -> Result<Table> {
        let database = &self.server().database;
        let named = format!("table_schema = {} AND table_name = {}", literal(database), literal(name));
        let what = "failed to look at the tables";
        let statement = format!(
            "SELECT table_schema, table_name, engine, table_rows FROM information_schema.tables \
             WHERE {named} AND table_type = 'BASE TABLE'"
        );
        let found = self.control.rows(what, &statement).await?;
        let [Some(database), Some(table), engine, rows] = found.first().map_or(&[][..], Vec::as_slice) else {
            return Err(Trouble::Again(reported(
                "TableNotFound",
                format!(
                    "source.mysql.tables: table {name} does not exist in database {database}, or the user may not read it"
                ),
                "create it, correct the name, or GRANT SELECT on it to the user of the sync",
            )));
        };
        if engine.as_deref().is_none_or(|engine| !engine.eq_ignore_ascii_case("InnoDB")) {
            return Err(Trouble::Again(reported(
                "UnsupportedEngine",
                format!(
                    "table {name} has the engine {}, whose rows belong to no snapshot",
                    engine.as_deref().unwrap_or("")
                ),
                format!("ALTER TABLE {} ENGINE = InnoDB, or leave it out", quoted(table)),
            )));
        }
        let (columns, generated) = self.columns(table, &named).await?;
        let key = format!(
            "SELECT column_name, sub_part FROM information_schema.statistics WHERE {named} AND index_name = 'PRIMARY' \
             ORDER BY seq_in_index"
        );
        let key = self.control.rows(what, &key).await?;
        let is_whole = key.iter().all(|row| row.get(1).is_none_or(Option::is_none));
        let key: Vec<String> = key.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        let name = format!("{database}.{table}");
        let (table, quoted) = (table.clone(), quoted(table));
        let expected_rows = rows.as_deref().and_then(|rows| rows.parse().ok());
        let mut table = Table { name, table, quoted, columns, generated, key, has_pieces: false, expected_rows };
        let ordered = table.key_columns().filter(|column| column.has_order()).count();
        table.has_pieces = is_whole && !table.key.is_empty() && ordered == table.key.len();
        Ok(table)
    }

    async fn columns(&self, table: &str, named: &str) -> Result<(Vec<TableColumn>, Vec<String>)> {
        let what = "failed to look at the columns";
        let statement = format!(
            "SELECT column_name, data_type, character_set_name, collation_name, numeric_precision, numeric_scale, extra, \
             column_type FROM information_schema.columns WHERE {named} ORDER BY ordinal_position"
        );
        let documents = self.documents(named).await?;
        let (mut columns, mut generated) = (Vec::new(), Vec::new());
        for row in self.control.rows(what, &statement).await? {
            let [Some(name), Some(data_type), charset, collation, precision, scale, extra, column_type] =
                row.as_slice()
            else {
                continue;
            };
            // DEFAULT_GENERATED is an expression for missing values, and no generated column.
            let extra = extra.as_deref().unwrap_or_default().to_uppercase();
            if extra.contains("VIRTUAL") || extra.contains("STORED") || extra.contains("PERSISTENT") {
                generated.push(name.clone());
                continue;
            }
            let kind = if documents.contains(name) { Some(Kind::Json) } else { Kind::of(data_type) };
            let Some(kind) = kind else {
                return Err(unsupported("UnsupportedColumnType", table, name, "type", column_type.as_deref()));
            };
            if charset.as_deref().is_some_and(|charset| Charset::named(charset).is_none()) {
                return Err(unsupported("UnsupportedCharacterSet", table, name, "character set", charset.as_deref()));
            }
            columns.push(TableColumn {
                name: name.clone(),
                kind,
                data_type: data_type.clone(),
                text: charset.clone().zip(collation.clone()),
                digits: precision.clone().zip(scale.clone()),
            });
        }
        Ok((columns, generated))
    }

    /// Columns that MariaDB takes as JSON: texts with a check.
    async fn documents(&self, named: &str) -> Result<Vec<String>> {
        let statement = format!(
            "SELECT check_clause FROM information_schema.check_constraints WHERE {}",
            named.replace("table_schema", "constraint_schema")
        );
        // MySQL has a type of its own, and no table's name here.
        let found = self.control.try_rows("failed to look at the constraints", &statement).await?.unwrap_or_default();
        let column = |clause: &str| {
            let name = clause.strip_prefix("json_valid(`")?.strip_suffix("`)")?;
            Some(name.replace("``", "`"))
        };
        Ok(found.iter().filter_map(|row| column(row.first()?.as_deref()?)).collect())
    }

    /// The log's character sets by the numbers of collations.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn charsets(&self) -> Result<HashMap<u64, String>> {
        let what = "failed to look at the collations";
        let mut charsets = HashMap::new();
        // Where a collation serves several character sets, as MariaDB has them, only this table has all numbers.
        let applicable = "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability";
        let all = "SELECT id, character_set_name FROM information_schema.collations";
        let applicable = self.control.try_rows(what, applicable).await?.unwrap_or_default();
        for row in self.control.rows(what, all).await?.into_iter().chain(applicable) {
            if let [Some(id), Some(name)] = row.as_slice()
                && let Ok(id) = id.parse()
            {
                charsets.insert(id, name.clone());
            }
        }
        Ok(charsets)
    }

    /// Files of the log, oldest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn logs(&self) -> Result<Vec<String>> {
        let found = self.control.rows("failed to list the binary logs", "SHOW BINARY LOGS").await?;
        Ok(found.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// Where the log ends: file and offset. What is before may not be visible to others yet.
    ///
    /// # Errors
    /// It cannot be read, or leaves the database out.
    pub async fn log_end(&self) -> Result<(String, u64)> {
        let what = "failed to look at the binary log";
        let found = match self.control.try_rows(what, "SHOW MASTER STATUS").await? {
            Ok(found) => found,
            // As MySQL 8.4 has it.
            Err(mysql_async::Error::Server(error)) if error.code == 1064 => {
                self.control.rows(what, "SHOW BINARY LOG STATUS").await?
            }
            Err(error) => return Err(self.control.failed(what, &error)),
        };
        let row = found.first().map_or(&[][..], Vec::as_slice);
        let database = &self.server().database;
        let names = |place: usize| -> Vec<&str> {
            let list = row.get(place).and_then(Option::as_deref).unwrap_or_default();
            list.split(',').filter(|name| !name.is_empty()).collect()
        };
        if (!names(2).is_empty() && !names(2).contains(&database.as_str())) || names(3).contains(&database.as_str()) {
            return Err(unavailable(
                format!("the server does not log the database {database}"),
                "change binlog_do_db or binlog_ignore_db in its configuration and restart it",
            ));
        }
        match row {
            [Some(file), Some(offset), ..] => Ok((file.clone(), offset.parse().unwrap_or(4))),
            _ => Err(unavailable(
                "the server writes no binary log".to_owned(),
                "set log_bin in its configuration and restart it",
            )),
        }
    }

    /// Takes the lock by which one worker at a time reads; it ends with the session. `earlier` are the sessions that
    /// this worker has given up, first the one that had the lock: where the server has not noticed that, they are ended. Gives
    /// the number of the present session.
    ///
    /// # Errors
    /// Another one has it.
    pub async fn lock(&self, earlier: &[u64]) -> Result<u64> {
        let what = "failed to take the lock of the sync";
        let name = literal(&lock_name(&self.config.slot));
        let mut wait = Duration::ZERO;
        if let Some(had) = earlier.first() {
            let holds = self.control.rows(what, &format!("SELECT IS_USED_LOCK({name}) = {had}")).await?;
            // Numbers of sessions begin anew with the server: without the lock, they may be those of others by now.
            if first(&holds) == Some("1") {
                tracing::info!(sessions = ?earlier, "the server still has the sessions that were lost; they are ended");
                for session in earlier {
                    // Refused where it has ended meanwhile.
                    let _ = self.control.try_rows(what, &format!("KILL {session}")).await?;
                }
                wait = KILLED;
            }
        }
        let statement = format!("SELECT GET_LOCK({name}, {}), CONNECTION_ID()", wait.as_secs());
        let got = self.control.rows(what, &statement).await?;
        if let Some([Some(got), Some(session)]) = got.first().map(Vec::as_slice)
            && got == "1"
        {
            return session.parse().map_err(|_| unexpected(format!("{what}: the session has the number {session}")));
        }
        let holder =
            format!("SELECT id, user, host FROM information_schema.processlist WHERE id = IS_USED_LOCK({name})");
        let holder = self.control.rows(what, &holder).await?;
        let holder = match holder.first().map(Vec::as_slice) {
            Some([Some(id), Some(user), Some(host)]) => format!("connection {id} of {user} from {host}"),
            _ => "another connection".to_owned(),
        };
        Err(in_use(&self.config.slot, &holder))
    }

    /// Checks that the lock is still there.
    ///
    /// # Errors
    /// It is not, or the connection is lost.
    pub async fn check_lock(&self) -> Result<()> {
        let statement = format!("SELECT IS_USED_LOCK({}) = CONNECTION_ID()", literal(&lock_name(&self.config.slot)));
        let found = self.control.rows("failed to look at the lock of the sync", &statement).await?;
        if first(&found) == Some("1") { Ok(()) } else { Err(in_use(&self.config.slot, "the lock was lost")) }
    }
}

fn first(rows: &Texts) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

/// Names of locks have 64 characters at most.
fn lock_name(slot: &str) -> String {
    format!("rmq.{slot}").chars().take(64).collect()
}

fn in_use(slot: &str, holder: &str) -> Trouble {
    Trouble::Again(reported(
        "SourceInUse",
        format!("the sync {slot} is in use: {holder}"),
        "nothing, if an earlier worker is just ending; else look for a second sync of the same namespace and name",
    ))
}

fn unsupported(reason: &str, table: &str, column: &str, what: &str, value: Option<&str>) -> Trouble {
    let remedy = match reason {
        "UnsupportedCharacterSet" => "CONVERT TO CHARACTER SET utf8mb4, or leave the table out",
        _ => "change the type, for instance to char or binary, or leave the table out",
    };
    let message = format!("column {column} of table {table} has the {what} {}, which is not read", value.unwrap_or(""));
    Trouble::Again(reported(reason, message, format!("ALTER TABLE {}: {remedy}", quoted(table))))
}
