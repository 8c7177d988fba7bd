//! What is known about a target table, and what type a new column gets.

use std::collections::HashMap;

use serde_json::Value;

/// Whose dialect of SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

/// What a column holds, as far as it matters for how a JSON value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// A whole number of up to 20 digits, without a sign: what 64 bits hold beyond [`Kind::Integer`].
    Unsigned,
    /// A floating-point number.
    Float,
    /// A decimal number.
    Decimal,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// JSON.
    Json,
    /// A date and time without a time zone: UTC.
    Timestamp,
    /// A moment.
    Moment,
    /// A date.
    Date,
    /// PostgreSQL's array.
    Array,
    /// Anything else: the server reads the value's text.
    Other,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Its type in the server's words, without a length, for casts.
    pub sql_type: String,
    /// Its type as a column of the same type is declared: values are made as they are stored. Where a cast to a length would cut
    /// a value that is refused when it is written, without the length.
    pub stored_type: String,
    /// Whether the server computes it, so that no value is written.
    pub is_generated: bool,
}

/// A table that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, quoted for statements.
    pub quoted: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Unique indexes by numbers of columns; the primary key, when there is one, first.
    pub unique: Vec<Vec<u16>>,
    /// Whether the first of `unique` is the primary key.
    pub has_primary_key: bool,
    numbers: HashMap<String, u16>,
    dialect: Dialect,
}

impl Table {
    /// A table with these columns; `primary_key` and `unique` name columns.
    #[must_use]
    pub fn new(
        dialect: Dialect,
        quoted: String,
        columns: Vec<Column>,
        primary_key: &[String],
        unique: &[Vec<String>],
    ) -> Self {
        let as_found = |name: &str| match dialect {
            Dialect::Postgres => name.to_owned(),
            // Names of columns have no case there.
            Dialect::MySql => name.to_lowercase(),
        };
        let numbers: HashMap<String, u16> =
            columns.iter().zip(0..).map(|(column, number)| (as_found(&column.name), number)).collect();
        let numbered = |names: &[String]| {
            names.iter().map(|name| numbers.get(&as_found(name)).copied()).collect::<Option<Vec<_>>>()
        };
        let primary = (!primary_key.is_empty()).then(|| numbered(primary_key)).flatten();
        let has_primary_key = primary.is_some();
        let unique = primary.into_iter().chain(unique.iter().filter_map(|names| numbered(names))).collect();
        Self { quoted, columns, unique, has_primary_key, numbers, dialect }
    }

    /// The number of the column of this name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u16> {
        match self.dialect {
            Dialect::Postgres => self.numbers.get(name).copied(),
            Dialect::MySql => self.numbers.get(name).or_else(|| self.numbers.get(&name.to_lowercase())).copied(),
        }
    }

    /// A column by its number.
    #[must_use]
    pub fn column(&self, number: u16) -> &Column {
        &self.columns[usize::from(number)]
    }
}

/// A table, and the columns that identify a row in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The table.
    pub table: Table,
    /// Columns that identify a row; none of a table that is only appended to.
    pub key: Vec<u16>,
    /// Whether a row can collide with another one through these columns only.
    pub is_only_key: bool,
}

impl Keyed {
    /// A table with the key that its rows are found by: `fields` where they are given, else the primary key.
    ///
    /// # Errors
    /// What is wrong with `fields`, and the remedy.
    pub fn new(table: Table, fields: &[String]) -> Result<Self, (String, String)> {
        if fields.is_empty() {
            let key = if table.has_primary_key { table.unique[0].clone() } else { Vec::new() };
            let is_only_key = table.unique.len() <= 1;
            return Ok(Self { table, key, is_only_key });
        }
        let mut key = Vec::with_capacity(fields.len());
        for field in fields {
            key.push(table.number(field).ok_or_else(|| {
                let message = format!("target.keyFields: {field:?} is no column of {}", table.quoted);
                (message, "correct keyFields, or add the column".to_owned())
            })?);
        }
        let sorted = |columns: &[u16]| {
            let mut columns = columns.to_vec();
            columns.sort_unstable();
            columns
        };
        let wanted = sorted(&key);
        if !table.unique.iter().any(|index| sorted(index) == wanted) {
            let columns = fields.join(", ");
            let message = format!("target.keyFields: {} has no unique index on ({columns})", table.quoted);
            return Err((message, format!("create a unique index on ({columns}), or name the primary key")));
        }
        let is_only_key = table.unique.iter().all(|index| sorted(index) == wanted);
        Ok(Self { table, key, is_only_key })
    }
}

/// A column that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    /// Name.
    pub name: String,
    /// What it is to hold.
    pub kind: Kind,
}

/// The kind that holds all `values`; none when they are all null.
pub fn kind_of<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Kind> {
    let single = |value: &Value| match value {
        Value::Null => None,
        Value::Bool(_) => Some(Kind::Boolean),
        Value::Number(number) if number.is_i64() => Some(Kind::Integer),
        Value::Number(number) if number.is_u64() => Some(Kind::Unsigned),
        Value::Number(_) => Some(Kind::Float),
        Value::String(_) => Some(Kind::Text),
        Value::Array(_) | Value::Object(_) => Some(Kind::Json),
    };
    values.into_iter().filter_map(single).reduce(wider)
}

/// The kind that holds both.
fn wider(one: Kind, other: Kind) -> Kind {
    use Kind::{Decimal, Float, Integer, Json, Text, Unsigned};
    match (one, other) {
        _ if one == other => one,
        (Json, _) | (_, Json) => Json,
        (Integer | Unsigned | Decimal, Float) | (Float, Integer | Unsigned | Decimal) => Float,
        // A negative number and one beyond 63 bits.
        (Integer | Decimal, Unsigned) | (Unsigned | Decimal, Integer) | (Integer | Unsigned, Decimal) => Decimal,
        _ => Text,
    }
}

/// The type of a new column.
#[must_use]
pub fn type_of(kind: Kind, is_key: bool, dialect: Dialect) -> &'static str {
    use Dialect::{MySql, Postgres};
    match (kind, dialect) {
        (Kind::Boolean, _) => "boolean",
        (Kind::Integer, _) => "bigint",
        (Kind::Unsigned, Postgres) => "numeric(20,0)",
        (Kind::Unsigned, MySql) => "bigint unsigned",
        (Kind::Decimal, Postgres) => "numeric",
        (Kind::Decimal, MySql) => "decimal(38,0)",
        (Kind::Float, Postgres) => "double precision",
        (Kind::Float, MySql) => "double",
        (Kind::Bytes, Postgres) => "bytea",
        (Kind::Bytes, MySql) if is_key => "varbinary(255)",
        (Kind::Bytes, MySql) => "longblob",
        (Kind::Json, Postgres) => "jsonb",
        (Kind::Json, MySql) => "json",
        (Kind::Timestamp, Postgres) => "timestamp",
        (Kind::Moment, Postgres) => "timestamp with time zone",
        (Kind::Timestamp | Kind::Moment, MySql) => "datetime(6)",
        (Kind::Date, _) => "date",
        (Kind::Text | Kind::Array | Kind::Other, Postgres) => "text",
        // Keys that differ in case are two keys.
        (Kind::Text | Kind::Array | Kind::Other, MySql) if is_key => {
            "varchar(255) character set utf8mb4 collate utf8mb4_bin"
        }
        (Kind::Text | Kind::Array | Kind::Other, MySql) => "longtext character set utf8mb4",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(values: Value) -> Option<Kind> {
        kind_of(values.as_array().unwrap())
    }

    #[test]
    fn a_column_holds_what_came() {
        assert_eq!(of(json!([null, null])), None);
        assert_eq!(of(json!([1, null, 2])), Some(Kind::Integer));
        assert_eq!(of(json!([1, 2.5])), Some(Kind::Float));
        assert_eq!(of(json!([-1, u64::MAX])), Some(Kind::Decimal));
        assert_eq!(of(json!([true, 1])), Some(Kind::Text));
        assert_eq!(of(json!(["a", {"b": 1}])), Some(Kind::Json));
    }

    fn table() -> Table {
        let column = |name: &str| Column {
            name: name.to_owned(),
            kind: Kind::Text,
            sql_type: "text".to_owned(),
            stored_type: "text".to_owned(),
            is_generated: false,
        };
        let columns = ["id", "email", "name"].map(column).to_vec();
        Table::new(Dialect::Postgres, "t".to_owned(), columns, &["id".to_owned()], &[vec!["email".to_owned()]])
    }

    #[test]
    fn the_primary_key_is_the_key_unless_another_is_named() {
        let keyed = Keyed::new(table(), &[]).unwrap();
        assert_eq!((keyed.key, keyed.is_only_key), (vec![0], false));
        assert_eq!(Keyed::new(table(), &["email".to_owned()]).unwrap().key, [1]);
        let (message, _) = Keyed::new(table(), &["name".to_owned()]).unwrap_err();
        assert_eq!(message, "target.keyFields: t has no unique index on (name)");
        let (message, _) = Keyed::new(table(), &["mail".to_owned()]).unwrap_err();
        assert_eq!(message, "target.keyFields: \"mail\" is no column of t");
    }
}
