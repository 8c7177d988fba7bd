//! Statements for PostgreSQL. The rows of a statement are given column by column, as arrays: so one prepared statement does
//! for any number of rows. Texts are read by the server as values of the column's type; a length is checked when a value is
//! stored, and never cut to.

use super::super::table::change::Action;
use super::super::table::connection::POSITIONS;
use super::super::table::schema::{Column, Dialect, Keyed, Kind, NewColumn, Table, type_of};

/// A name as a statement has it.
#[must_use]
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.table` or `table` as a statement has it.
#[must_use]
pub fn quote_table(name: &str) -> String {
    match name.split_once('.') {
        Some((schema, table)) => format!("{}.{}", quote(schema), quote(table)),
        None => quote(name),
    }
}

fn names(table: &Table, columns: &[u16], prefix: &str) -> Vec<String> {
    columns.iter().map(|number| format!("{prefix}{}", quote(&table.column(*number).name))).collect()
}

/// `FROM unnest($1::text[], …) WITH ORDINALITY AS u(c0, …, n)`.
fn from_arrays(table: &Table, columns: &[u16]) -> String {
    let array = |(place, number): (usize, &u16)| {
        let carrier = if table.column(*number).kind == Kind::Bytes { "bytea" } else { "text" };
        format!("${}::{carrier}[]", place + 1)
    };
    let arrays: Vec<_> = columns.iter().enumerate().map(array).collect();
    let aliases: Vec<_> = (0..columns.len()).map(|place| format!("c{place}")).collect();
    format!("FROM unnest({}) WITH ORDINALITY AS u({}, n)", arrays.join(", "), aliases.join(", "))
}

/// The value of a column out of the arrays.
fn value(table: &Table, place: usize, number: u16) -> String {
    let column = table.column(number);
    match column.kind {
        Kind::Bytes => format!("u.c{place}"),
        _ => format!("u.c{place}::{}", column.sql_type),
    }
}

/// The value of a column out of the arrays, as the column would hold it.
fn stored_value(table: &Table, place: usize, number: u16) -> String {
    match table.column(number) {
        Column { kind: Kind::Bytes, .. } => format!("u.c{place}"),
        Column { stored_type, .. } => format!("u.c{place}::{stored_type}"),
    }
}

fn values(table: &Table, columns: &[u16]) -> String {
    let values: Vec<_> = columns.iter().enumerate().map(|(place, number)| value(table, place, *number)).collect();
    values.join(", ")
}

/// The condition that finds a row by its key, whose values stand at `places` of the arrays.
fn is_row(keyed: &Keyed, columns: &[u16]) -> String {
    let table = &keyed.table;
    let condition = |number: &u16| {
        let place = columns.iter().position(|column| column == number).unwrap_or_default();
        format!("t.{} = {}", quote(&table.column(*number).name), value(table, place, *number))
    };
    keyed.key.iter().map(condition).collect::<Vec<_>>().join(" AND ")
}

/// Writes rows of these columns. A change gives the places of the rows that it has found, as `n` from 1.
#[must_use]
pub fn write(keyed: &Keyed, action: Action, columns: &[u16]) -> String {
    let table = &keyed.table;
    let others: Vec<u16> = columns.iter().filter(|number| !keyed.key.contains(number)).copied().collect();
    if action == Action::Change {
        // An update of nothing still tells whether the row is there.
        let set = if others.is_empty() { &keyed.key } else { &others };
        let set = set.iter().map(|number| {
            let place = columns.iter().position(|column| column == number).unwrap_or_default();
            format!("{} = {}", quote(&table.column(*number).name), value(table, place, *number))
        });
        return format!(
            "UPDATE {} AS t SET {} {} WHERE {} RETURNING u.n",
            table.quoted,
            set.collect::<Vec<_>>().join(", "),
            from_arrays(table, columns),
            is_row(keyed, columns)
        );
    }
    let insert = if columns.is_empty() {
        format!("INSERT INTO {} DEFAULT VALUES", table.quoted)
    } else {
        format!(
            "INSERT INTO {} AS t ({}) SELECT {} {}",
            table.quoted,
            names(table, columns, "").join(", "),
            values(table, columns),
            from_arrays(table, columns)
        )
    };
    let conflict = names(table, &keyed.key, "").join(", ");
    match action {
        Action::Put if !keyed.key.is_empty() && !others.is_empty() => {
            let set: Vec<_> =
                names(table, &others, "").iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
            format!("{insert} ON CONFLICT ({conflict}) DO UPDATE SET {}", set.join(", "))
        }
        Action::Put | Action::Add if !keyed.key.is_empty() => format!("{insert} ON CONFLICT ({conflict}) DO NOTHING"),
        _ => insert,
    }
}

/// Deletes rows by their keys; gives the places of those that it has found, as `n` from 1.
#[must_use]
pub fn remove(keyed: &Keyed) -> String {
    format!(
        "DELETE FROM {} AS t USING (SELECT u.* {}) AS u WHERE {} RETURNING u.n",
        keyed.table.quoted,
        from_arrays(&keyed.table, &keyed.key),
        is_row(keyed, &keyed.key)
    )
}

/// Compares rows with what they should hold: for each, its place `n` from 1, whether it is there, and the numbers of the columns
/// that hold something else, joined by commas. `columns` are those of the key, then those that are compared.
#[must_use]
pub fn compare(keyed: &Keyed, columns: &[u16]) -> String {
    let table = &keyed.table;
    let compared = columns.iter().enumerate().skip(keyed.key.len());
    let differing: Vec<_> = compared
        .map(|(place, number)| format!("CASE WHEN {} THEN NULL ELSE '{number}' END", is_same(table, place, *number)))
        .collect();
    let first = keyed.key.first().map_or_else(|| "NULL".to_owned(), |number| quote(&table.column(*number).name));
    format!(
        "SELECT u.n, t.{first} IS NOT NULL, array_to_string(ARRAY[{}]::text[], ',') {} LEFT JOIN {} AS t ON {}",
        differing.join(", "),
        from_arrays(table, columns),
        table.quoted,
        is_row(keyed, columns)
    )
}

/// Whether a column of a row holds the value out of the arrays. Numbers and times are compared as such, everything else as
/// the server writes it, so that letters differ whatever the collation; JSON whatever the order of its names.
fn is_same(table: &Table, place: usize, number: u16) -> String {
    let column = table.column(number);
    let (found, wanted) = (format!("t.{}", quote(&column.name)), stored_value(table, place, number));
    match column.kind {
        Kind::Text | Kind::Array | Kind::Other => {
            format!("({found}::text COLLATE \"C\") IS NOT DISTINCT FROM (({wanted})::text COLLATE \"C\")")
        }
        Kind::Json => format!(
            "CASE WHEN {found}::text IS NOT DISTINCT FROM ({wanted})::text THEN true \
             ELSE {found}::jsonb IS NOT DISTINCT FROM ({wanted})::jsonb END"
        ),
        _ => format!("{found} IS NOT DISTINCT FROM {wanted}"),
    }
}

/// Makes a table.
#[must_use]
pub fn create(name: &str, columns: &[NewColumn], key: &[String]) -> String {
    let mut parts: Vec<_> = columns.iter().map(|column| define(column, key.contains(&column.name))).collect();
    if !key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", key.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")));
    }
    format!("CREATE TABLE IF NOT EXISTS {} ({})", quote_table(name), parts.join(", "))
}

/// Adds columns.
#[must_use]
pub fn add_columns(table: &Table, columns: &[NewColumn]) -> String {
    let added: Vec<_> =
        columns.iter().map(|column| format!("ADD COLUMN IF NOT EXISTS {}", define(column, false))).collect();
    format!("ALTER TABLE {} {}", table.quoted, added.join(", "))
}

fn define(column: &NewColumn, is_key: bool) -> String {
    format!("{} {}", quote(&column.name), type_of(column.kind, is_key, Dialect::Postgres))
}

/// Columns of a table: name, type without length, kind of type, whether it is computed, and the type of what is stored. A cast
/// to a length cuts texts and bits.
pub const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, -1), b.typname::text, b.typcategory = 'A', \
    a.attgenerated <> '' OR a.attidentity = 'a', \
    format_type(a.atttypid, CASE WHEN b.typname IN ('varchar', 'bpchar', 'bit', 'varbit') THEN -1 ELSE a.atttypmod END) \
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid \
    JOIN pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END \
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Unique indexes of a table that hold for all its rows: whether it is the primary key, and the columns.
pub const UNIQUE: &str = "SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.place) \
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) \
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
    WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
    AND k.place <= i.indnkeyatts GROUP BY i.indexrelid, i.indisprimary ORDER BY i.indisprimary DESC";

/// Makes the table of positions.
#[must_use]
pub fn create_positions() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {POSITIONS} (sync text NOT NULL, source_partition text NOT NULL, \
         record_offset bigint NOT NULL, record_index bigint NOT NULL, newest_millis bigint NOT NULL, \
         updated_at timestamp with time zone NOT NULL DEFAULT now(), PRIMARY KEY (sync, source_partition))"
    )
}

/// Reads positions of a sync.
#[must_use]
pub fn read_positions() -> String {
    format!("SELECT source_partition, record_offset, record_index, newest_millis FROM {POSITIONS} WHERE sync = $1")
}

/// Writes positions of partitions that have none.
#[must_use]
pub fn insert_positions() -> String {
    format!(
        "INSERT INTO {POSITIONS} (sync, source_partition, record_offset, record_index, newest_millis) \
         SELECT $1, u.* FROM unnest($2::text[], $3::int8[], $4::int8[], $5::int8[]) AS u ON CONFLICT DO NOTHING"
    )
}

/// Moves positions that are where they should be.
#[must_use]
pub fn move_positions() -> String {
    format!(
        "UPDATE {POSITIONS} AS p SET record_offset = u.o, record_index = u.i, newest_millis = u.at, updated_at = now() \
         FROM unnest($2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[]) \
         AS u(name, o, i, at, from_o, from_i) WHERE p.sync = $1 AND p.source_partition = u.name \
         AND p.record_offset = u.from_o AND p.record_index = u.from_i"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed() -> Keyed {
        let column = |(name, kind, sql_type): (&str, Kind, &str)| Column {
            name: name.to_owned(),
            kind,
            sql_type: sql_type.to_owned(),
            stored_type: format!("{sql_type} stored"),
            is_generated: false,
        };
        let columns = [("id", Kind::Integer, "bigint"), ("na\"me", Kind::Text, "text"), ("raw", Kind::Bytes, "bytea")];
        let table = quote_table("public.orders");
        let table = Table::new(Dialect::Postgres, table, columns.map(column).to_vec(), &["id".to_owned()], &[]);
        Keyed::new(table, &[]).unwrap()
    }

    #[test]
    fn a_statement_for_each_action() {
        let keyed = keyed();
        let arrays = "FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS u(c0, c1, c2, n)";
        let insert = format!(
            "INSERT INTO \"public\".\"orders\" AS t (\"id\", \"na\"\"me\", \"raw\") SELECT u.c0::bigint, u.c1::text, u.c2 {arrays}"
        );
        let all = [0, 1, 2];
        assert_eq!(write(&keyed, Action::New, &all), insert);
        assert_eq!(write(&keyed, Action::Add, &all), format!("{insert} ON CONFLICT (\"id\") DO NOTHING"));
        assert_eq!(
            write(&keyed, Action::Put, &all),
            format!(
                "{insert} ON CONFLICT (\"id\") DO UPDATE SET \"na\"\"me\" = EXCLUDED.\"na\"\"me\", \"raw\" = EXCLUDED.\"raw\""
            )
        );
        assert_eq!(
            write(&keyed, Action::Change, &[0, 1]),
            "UPDATE \"public\".\"orders\" AS t SET \"na\"\"me\" = u.c1::text FROM unnest($1::text[], $2::text[]) \
             WITH ORDINALITY AS u(c0, c1, n) WHERE t.\"id\" = u.c0::bigint RETURNING u.n"
        );
        assert_eq!(
            remove(&keyed),
            "DELETE FROM \"public\".\"orders\" AS t USING (SELECT u.* FROM unnest($1::text[]) WITH ORDINALITY AS u(c0, n)) \
             AS u WHERE t.\"id\" = u.c0::bigint RETURNING u.n"
        );
        assert_eq!(
            compare(&keyed, &all),
            format!(
                "SELECT u.n, t.\"id\" IS NOT NULL, array_to_string(ARRAY[CASE WHEN (t.\"na\"\"me\"::text COLLATE \"C\") IS NOT \
                 DISTINCT FROM ((u.c1::text stored)::text COLLATE \"C\") THEN NULL ELSE '1' END, CASE WHEN t.\"raw\" IS NOT \
                 DISTINCT FROM u.c2 THEN NULL ELSE '2' END]::text[], ',') {arrays} LEFT JOIN \"public\".\"orders\" AS t ON \
                 t.\"id\" = u.c0::bigint"
            )
        );
    }
}
