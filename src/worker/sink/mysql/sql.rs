//! Statements for MySQL and MariaDB. Rows are written as literals, several in a statement: so it takes one round trip
//! however many there are, and no number of parameters bounds it.

use std::fmt::Write as _;

use super::super::table::change::{Action, Row};
use super::super::table::connection::POSITIONS;
use super::super::table::positions::Move;
use super::super::table::schema::{Dialect, Keyed, Kind, NewColumn, Table, type_of};
use super::super::table::value::Cell;

/// A name as a statement has it.
#[must_use]
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `database.table` or `table` as a statement has it.
#[must_use]
pub fn quote_table(name: &str) -> String {
    match name.split_once('.') {
        Some((database, table)) => format!("{}.{}", quote(database), quote(table)),
        None => quote(name),
    }
}

/// A text as a statement has it. Without `NO_BACKSLASH_ESCAPES`, which the session does not have, and in `utf8mb4`, no
/// other character has a meaning in a text.
pub fn text(value: &str, into: &mut String) {
    into.push('\'');
    for character in value.chars() {
        match character {
            '\'' => into.push_str("''"),
            '\\' => into.push_str("\\\\"),
            '\0' => into.push_str("\\0"),
            '\u{1a}' => into.push_str("\\Z"),
            other => into.push(other),
        }
    }
    into.push('\'');
}

/// A cell as a statement has it. Numbers stand without quotes: compared with a text they would lose digits.
fn literal(cell: &Cell<'_>, kind: Kind, into: &mut String) {
    match cell {
        Cell::Null => into.push_str("NULL"),
        Cell::Bytes(bytes) => {
            into.push_str("x'");
            for byte in bytes.iter() {
                _ = write!(into, "{byte:02x}");
            }
            into.push('\'');
        }
        Cell::Text(value) if is_number(value) && matches!(kind, Kind::Integer | Kind::Unsigned | Kind::Decimal) => {
            into.push_str(value);
        }
        Cell::Text(value) => text(value, into),
    }
}

fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}

fn names(table: &Table, columns: &[u16]) -> Vec<String> {
    columns.iter().map(|number| quote(&table.column(*number).name)).collect()
}

/// The statement that writes rows of these columns, before its rows and after them.
#[must_use]
pub fn insert(keyed: &Keyed, action: Action, columns: &[u16]) -> (String, String) {
    let table = &keyed.table;
    let head = format!("INSERT INTO {} ({}) VALUES ", table.quoted, names(table, columns).join(", "));
    let others: Vec<u16> = columns.iter().filter(|number| !keyed.key.contains(number)).copied().collect();
    let key = names(table, &keyed.key);
    let tail = match (action, key.first()) {
        (Action::Put, Some(_)) if !others.is_empty() => {
            let set: Vec<_> = names(table, &others).iter().map(|name| format!("{name} = VALUES({name})")).collect();
            format!(" ON DUPLICATE KEY UPDATE {}", set.join(", "))
        }
        (Action::Put | Action::Add, Some(key)) => format!(" ON DUPLICATE KEY UPDATE {key} = {}.{key}", table.quoted),
        _ => String::new(),
    };
    (head, tail)
}

/// The values of a row in parentheses.
pub fn row(table: &Table, row: &Row<'_>, into: &mut String) {
    into.push('(');
    for (place, (number, cell)) in row.iter().enumerate() {
        if place > 0 {
            into.push(',');
        }
        literal(cell, table.column(*number).kind, into);
    }
    into.push(')');
}

/// The values of a key in parentheses.
fn key_values(keyed: &Keyed, key: &[&Cell<'_>], into: &mut String) {
    into.push('(');
    for (place, (cell, number)) in key.iter().zip(&keyed.key).enumerate() {
        if place > 0 {
            into.push(',');
        }
        literal(cell, keyed.table.column(*number).kind, into);
    }
    into.push(')');
}

/// `(key, …) IN ((…), …)`.
fn is_one_of(keyed: &Keyed, keys: &[Vec<&Cell<'_>>]) -> String {
    let mut condition = format!("({}) IN (", names(&keyed.table, &keyed.key).join(", "));
    for (place, key) in keys.iter().enumerate() {
        if place > 0 {
            condition.push(',');
        }
        key_values(keyed, key, &mut condition);
    }
    condition.push(')');
    condition
}

/// `WHEN key = value AND … THEN`.
fn when(keyed: &Keyed, key: &[&Cell<'_>], into: &mut String) {
    into.push_str(" WHEN ");
    for (place, (cell, number)) in key.iter().zip(&keyed.key).enumerate() {
        if place > 0 {
            into.push_str(" AND ");
        }
        let column = keyed.table.column(*number);
        into.push_str(&quote(&column.name));
        into.push('=');
        literal(cell, column.kind, into);
    }
    into.push_str(" THEN ");
}

/// Finds and locks rows by their keys: gives the places of those that exist, from 0.
#[must_use]
pub fn find(keyed: &Keyed, keys: &[Vec<&Cell<'_>>]) -> String {
    let mut sql = String::from("SELECT CASE");
    for (place, key) in keys.iter().enumerate() {
        when(keyed, key, &mut sql);
        _ = write!(sql, "{place}");
    }
    _ = write!(sql, " END FROM {} WHERE {} FOR UPDATE", keyed.table.quoted, is_one_of(keyed, keys));
    sql
}

/// Deletes rows by their keys.
#[must_use]
pub fn remove(keyed: &Keyed, keys: &[Vec<&Cell<'_>>]) -> String {
    format!("DELETE FROM {} WHERE {}", keyed.table.quoted, is_one_of(keyed, keys))
}

/// Updates rows, which have the same columns, by their keys; none when they have no other columns.
#[must_use]
pub fn update(keyed: &Keyed, keys: &[Vec<&Cell<'_>>], rows: &[&Row<'_>]) -> Option<String> {
    let columns = rows.first()?.iter().enumerate().filter(|(_, (number, _))| !keyed.key.contains(number));
    let mut set = Vec::new();
    for (place, (number, _)) in columns {
        let column = keyed.table.column(*number);
        let mut case = format!("{} = CASE", quote(&column.name));
        for (key, row) in keys.iter().zip(rows) {
            when(keyed, key, &mut case);
            literal(&row[place].1, column.kind, &mut case);
        }
        case.push_str(" END");
        set.push(case);
    }
    let condition = is_one_of(keyed, keys);
    (!set.is_empty()).then(|| format!("UPDATE {} SET {} WHERE {condition}", keyed.table.quoted, set.join(", ")))
}

/// What a row is called whose values are compared.
const PLACE: &str = "`rocketmq_connector_n`";

/// Makes a table of this session's own, whose columns hold values as those of the table do, and nothing else of it: no index, no
/// default, no constraint.
#[must_use]
pub fn create_expected(name: &str, table: &Table) -> String {
    let columns = table.columns.iter().filter(|column| !column.is_generated);
    let columns = columns.map(|column| format!(", {} {} NULL", quote(&column.name), column.stored_type));
    format!(
        "CREATE TEMPORARY TABLE {name} ({PLACE} int NOT NULL PRIMARY KEY{}) ENGINE=InnoDB",
        columns.collect::<String>()
    )
}

/// The statement that writes rows of these columns into the session's own table, before its rows.
#[must_use]
pub fn insert_expected(name: &str, table: &Table, columns: &[u16]) -> String {
    format!("INSERT INTO {name} ({PLACE}, {}) VALUES ", names(table, columns).join(", "))
}

/// The values of a row for that table, which stands at `place`, in parentheses.
pub fn expected_row<'a>(
    table: &Table,
    place: usize,
    cells: impl Iterator<Item = (u16, &'a Cell<'a>)>,
    into: &mut String,
) {
    _ = write!(into, "({place}");
    for (number, cell) in cells {
        into.push(',');
        literal(cell, table.column(number).kind, into);
    }
    into.push(')');
}

/// Compares rows with what they should hold: for each, its place, whether it is there, and the numbers of the columns that hold
/// something else, joined by commas. Texts differ whatever the collation.
#[must_use]
pub fn compare(name: &str, keyed: &Keyed, compared: &[u16]) -> String {
    let table = &keyed.table;
    let column = |number: &u16| quote(&table.column(*number).name);
    let mut differing = String::from("''");
    for number in compared {
        let (quoted, kind) = (column(number), table.column(*number).kind);
        _ = match kind {
            Kind::Text | Kind::Other => {
                write!(differing, ",IF(CAST(t.{quoted} AS BINARY)<=>CAST(e.{quoted} AS BINARY),NULL,{number})")
            }
            _ => write!(differing, ",IF(t.{quoted}<=>e.{quoted},NULL,{number})"),
        };
    }
    let is_row: Vec<_> = keyed.key.iter().map(|number| format!("t.{0} = e.{0}", column(number))).collect();
    let first = keyed.key.first().map_or_else(|| PLACE.to_owned(), column);
    format!(
        "SELECT e.{PLACE}, t.{first} IS NOT NULL, CONCAT_WS(',',{differing}) FROM {name} AS e LEFT JOIN {} AS t ON {}",
        table.quoted,
        is_row.join(" AND ")
    )
}

/// Makes a table.
#[must_use]
pub fn create(name: &str, columns: &[NewColumn], key: &[String]) -> String {
    let mut parts: Vec<_> = columns.iter().map(|column| define(column, key.contains(&column.name))).collect();
    if !key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", key.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")));
    }
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({}) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
        quote_table(name),
        parts.join(", ")
    )
}

/// Adds columns.
#[must_use]
pub fn add_columns(table: &Table, columns: &[NewColumn]) -> String {
    let added: Vec<_> = columns.iter().map(|column| format!("ADD COLUMN {}", define(column, false))).collect();
    format!("ALTER TABLE {} {}", table.quoted, added.join(", "))
}

fn define(column: &NewColumn, is_key: bool) -> String {
    format!("{} {}", quote(&column.name), type_of(column.kind, is_key, Dialect::MySql))
}

/// Makes the table of positions.
#[must_use]
pub fn create_positions() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {POSITIONS} (sync varchar(320) NOT NULL, source_partition varchar(400) NOT NULL, \
         record_offset bigint NOT NULL, record_index bigint NOT NULL, newest_millis bigint NOT NULL, \
         updated_at timestamp(3) NOT NULL DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3), \
         PRIMARY KEY (sync, source_partition)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    )
}

/// Reads positions of a sync.
#[must_use]
pub fn read_positions(sync: &str) -> String {
    let mut sql =
        format!("SELECT source_partition, record_offset, record_index, newest_millis FROM {POSITIONS} WHERE sync = ");
    text(sync, &mut sql);
    sql
}

/// Writes the position of a partition that has none.
#[must_use]
pub fn insert_position(sync: &str, one: &Move) -> String {
    let mut sql = format!(
        "INSERT INTO {POSITIONS} (sync, source_partition, record_offset, record_index, newest_millis) VALUES ("
    );
    text(sync, &mut sql);
    sql.push(',');
    text(&one.partition, &mut sql);
    _ = write!(sql, ",{},{},{})", one.to.offset, one.to.index, one.to.newest_millis);
    sql
}

/// Moves a position that is where it should be.
#[must_use]
pub fn move_position(sync: &str, one: &Move) -> String {
    let to = one.to;
    let mut sql = format!(
        "UPDATE {POSITIONS} SET record_offset = {}, record_index = {}, newest_millis = {} WHERE sync = ",
        to.offset, to.index, to.newest_millis
    );
    text(sync, &mut sql);
    sql.push_str(" AND source_partition = ");
    text(&one.partition, &mut sql);
    if let Some(from) = one.from {
        _ = write!(sql, " AND record_offset = {} AND record_index = {}", from.offset, from.index);
    }
    sql
}

#[cfg(test)]
#[path = "sql_tests.rs"]
mod tests;
