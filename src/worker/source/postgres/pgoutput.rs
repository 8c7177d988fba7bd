//! Messages of the output plug-in pgoutput, protocol version 1, in text form.
//!
//! Source: PostgreSQL's documentation, "Logical Replication Message Formats".

use bytes::{Buf, Bytes};

/// A message that does not follow the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of pgoutput ends too early or has an unknown part")]
pub struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// A column of a table as the log describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Object id of its type.
    pub type_oid: u32,
}

/// A table as the log describes it, from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Object id.
    pub oid: u32,
    /// `schema.table`.
    pub name: String,
    /// Columns in their order.
    pub columns: Vec<Column>,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Null.
    Null,
    /// Stored out of line, and not changed: the log does not have it.
    Unchanged,
    /// In the text form of its type.
    Text(Bytes),
}

/// A row before its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// The columns of its replica identity; the others are null.
    Key(Vec<Value>),
    /// All columns: REPLICA IDENTITY FULL.
    Row(Vec<Value>),
}

/// What the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A transaction, all of which follows: position of its commit, microseconds from 2000-01-01 to it, and its number.
    Begin(u64, i64, u32),
    /// The end of the transaction, and the position behind it.
    Commit(u64),
    /// How a table looks from here on.
    Relation(Relation),
    /// A new row.
    Insert(u32, Vec<Value>),
    /// A changed row; what it was before, if its identity changed or is FULL.
    Update(u32, Option<Old>, Vec<Value>),
    /// A row that is gone.
    Delete(u32, Old),
    /// Tables that were emptied.
    Truncate(Vec<u32>),
    /// Something that is nothing to us: types, origins.
    Other,
}

/// Reads a message.
///
/// # Errors
/// [`Malformed`].
pub fn decode(mut data: Bytes) -> Result<Change> {
    match byte(&mut data)? {
        b'B' => Ok(Change::Begin(position(&mut data)?, moment(&mut data)?, number(&mut data)?)),
        b'C' => {
            byte(&mut data)?;
            position(&mut data)?;
            Ok(Change::Commit(position(&mut data)?))
        }
        b'R' => relation(&mut data).map(Change::Relation),
        b'I' => {
            let oid = number(&mut data)?;
            match byte(&mut data)? {
                b'N' => Ok(Change::Insert(oid, tuple(&mut data)?)),
                _ => Err(Malformed),
            }
        }
        b'U' => {
            let oid = number(&mut data)?;
            let mut kind = byte(&mut data)?;
            let old = old(kind, &mut data)?;
            if old.is_some() {
                kind = byte(&mut data)?;
            }
            if kind == b'N' { Ok(Change::Update(oid, old, tuple(&mut data)?)) } else { Err(Malformed) }
        }
        b'D' => {
            let oid = number(&mut data)?;
            let kind = byte(&mut data)?;
            Ok(Change::Delete(oid, old(kind, &mut data)?.ok_or(Malformed)?))
        }
        b'T' => {
            let count = number(&mut data)?;
            byte(&mut data)?;
            (0..count).map(|_| number(&mut data)).collect::<Result<_>>().map(Change::Truncate)
        }
        _ => Ok(Change::Other),
    }
}

fn relation(data: &mut Bytes) -> Result<Relation> {
    let oid = number(data)?;
    let (schema, table) = (text(data)?, text(data)?);
    // An empty schema is pg_catalog.
    let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
    byte(data)?;
    let count = short(data)?;
    let mut columns = Vec::new();
    for _ in 0..count {
        byte(data)?;
        let (name, type_oid) = (text(data)?, number(data)?);
        number(data)?;
        columns.push(Column { name, type_oid });
    }
    Ok(Relation { oid, name: format!("{schema}.{table}"), columns })
}

fn old(kind: u8, data: &mut Bytes) -> Result<Option<Old>> {
    match kind {
        b'K' => tuple(data).map(|values| Some(Old::Key(values))),
        b'O' => tuple(data).map(|values| Some(Old::Row(values))),
        _ => Ok(None),
    }
}

fn tuple(data: &mut Bytes) -> Result<Vec<Value>> {
    let count = short(data)?;
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(match byte(data)? {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => {
                let length = usize::try_from(number(data)?).map_err(|_| Malformed)?;
                if data.len() < length {
                    return Err(Malformed);
                }
                Value::Text(data.split_to(length))
            }
            _ => return Err(Malformed),
        });
    }
    Ok(values)
}

fn byte(data: &mut Bytes) -> Result<u8> {
    data.try_get_u8().map_err(|_| Malformed)
}

fn short(data: &mut Bytes) -> Result<u16> {
    data.try_get_u16().map_err(|_| Malformed)
}

fn number(data: &mut Bytes) -> Result<u32> {
    data.try_get_u32().map_err(|_| Malformed)
}

fn position(data: &mut Bytes) -> Result<u64> {
    data.try_get_u64().map_err(|_| Malformed)
}

fn moment(data: &mut Bytes) -> Result<i64> {
    data.try_get_i64().map_err(|_| Malformed)
}

fn text(data: &mut Bytes) -> Result<String> {
    let end = data.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
    let text = data.split_to(end);
    data.advance(1);
    String::from_utf8(text.to_vec()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&[u8]]) -> Bytes {
        parts.concat().into()
    }

    #[test]
    fn messages_are_read_as_the_documentation_has_them() {
        let relation = message(&[
            b"R",
            &[0, 0, 0, 7],
            b"public\0orders\0d",
            &[0, 2],
            &[1],
            b"id\0",
            &[0, 0, 0, 20],
            &[255; 4],
            &[0],
            b"note\0",
            &[0, 0, 0, 25],
            &[255; 4],
        ]);
        let column = |name: &str, type_oid| Column { name: name.into(), type_oid };
        let columns = vec![column("id", 20), column("note", 25)];
        let expected = Relation { oid: 7, name: "public.orders".into(), columns };
        assert_eq!(decode(relation), Ok(Change::Relation(expected)));

        let text = |text: &'static str| Value::Text(Bytes::from_static(text.as_bytes()));
        let new: &[u8] = &[b'N', 0, 2, b't', 0, 0, 0, 1, b'1', b'u'];
        let old: &[u8] = &[b'K', 0, 2, b't', 0, 0, 0, 1, b'2', b'n'];
        assert_eq!(
            decode(message(&[b"U", &[0, 0, 0, 7], old, new])),
            Ok(Change::Update(7, Some(Old::Key(vec![text("2"), Value::Null])), vec![text("1"), Value::Unchanged]))
        );
        assert_eq!(
            decode(message(&[b"U", &[0, 0, 0, 7], new])),
            Ok(Change::Update(7, None, vec![text("1"), Value::Unchanged]))
        );
        assert_eq!(
            decode(message(&[b"D", &[0, 0, 0, 7], old])),
            Ok(Change::Delete(7, Old::Key(vec![text("2"), Value::Null])))
        );
        assert_eq!(decode(message(&[b"T", &[0, 0, 0, 1, 0, 0, 0, 0, 7]])), Ok(Change::Truncate(vec![7])));
    }

    #[test]
    fn a_transaction_has_its_place_and_its_time() {
        let begin = message(&[b"B", &258_u64.to_be_bytes(), &5_i64.to_be_bytes(), &9_u32.to_be_bytes()]);
        assert_eq!(decode(begin), Ok(Change::Begin(258, 5, 9)));
        let commit = message(&[b"C", &[0], &258_u64.to_be_bytes(), &300_u64.to_be_bytes(), &5_i64.to_be_bytes()]);
        assert_eq!(decode(commit), Ok(Change::Commit(300)));
    }

    #[test]
    fn what_ends_too_early_is_an_error() {
        for cut in [&b"I"[..], &[b'I', 0, 0, 0, 7, b'N', 0, 1, b't', 0, 0, 0, 9, b'1'], &[b'I', 0, 0, 0, 7, b'X'], b"R"]
        {
            assert_eq!(decode(Bytes::copy_from_slice(cut)), Err(Malformed));
        }
    }
}
