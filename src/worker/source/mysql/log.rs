//! Events of the binary log: which tables and rows they tell of.
//!
//! Source: MySQL's `libbinlogevents/include/rows_event.h` and `statement_events.h`, MariaDB's `sql/log_event.h`.

use std::collections::HashMap;

use super::super::database::row::Cells;
use super::binary::{Input, value};

/// Kinds of events.
pub mod kinds {
    pub const QUERY: u8 = 2;
    pub const ROTATE: u8 = 4;
    pub const FORMAT: u8 = 15;
    pub const XID: u8 = 16;
    pub const TABLE_MAP: u8 = 19;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE: u8 = 39;
    pub const COMPRESSED_TRANSACTION: u8 = 40;
    pub const HEARTBEAT_2: u8 = 41;
    pub const TAGGED_GTID: u8 = 42;
    pub const MARIADB_GTID: u8 = 162;
    /// `log_bin_compress` of MariaDB: a statement, and rows.
    pub const COMPRESSED: std::ops::RangeInclusive<u8> = 165..=171;
    /// Rows of both versions.
    pub const WRITES: [u8; 2] = [23, 30];
    pub const UPDATES: [u8; 2] = [24, 31];
    pub const DELETES: [u8; 2] = [25, 32];

    /// Whether an event has rows.
    #[must_use]
    pub fn are_rows(kind: u8) -> bool {
        matches!(kind, 23..=25 | 30..=32)
    }

    /// Whether an event is the first of a transaction.
    #[must_use]
    pub fn begins(kind: u8) -> bool {
        matches!(kind, GTID | ANONYMOUS_GTID | TAGGED_GTID | MARIADB_GTID)
    }
}

/// How text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// No text.
    Binary,
    /// UTF-8, and ASCII, which is a part of it.
    Utf8,
    /// What MySQL calls latin1: Windows-1252.
    Latin1,
}

impl Charset {
    /// By its name; none for one that is not read.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "binary" => Self::Binary,
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Self::Utf8,
            "latin1" => Self::Latin1,
            _ => return None,
        })
    }

    /// The text of some bytes.
    #[must_use]
    pub fn text(self, bytes: &[u8]) -> String {
        const UPPER: [char; 32] = [
            '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
            '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
        ];
        match self {
            Self::Latin1 => bytes
                .iter()
                .map(|byte| {
                    byte.checked_sub(0x80)
                        .and_then(|upper| UPPER.get(usize::from(upper)))
                        .map_or(char::from(*byte), |character| *character)
                })
                .collect(),
            Self::Utf8 | Self::Binary => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// A column as the log describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Number of the type, that of the log's real type.
    pub kind: u8,
    /// What belongs to the type: lengths and digits.
    pub meta: [u8; 2],
    /// Whether numbers have no sign.
    pub is_unsigned: bool,
    /// How its text is encoded.
    pub charset: Charset,
    /// Values of an enumeration or a set.
    pub values: Vec<String>,
    /// Whether its text is JSON.
    pub is_json: bool,
}

impl Column {
    /// The type in words, about as statements write it.
    #[must_use]
    pub fn type_name(&self) -> String {
        let is_text = self.charset != Charset::Binary;
        let [low, high] = self.meta;
        let choose = |text: &'static str, bytes: &'static str| if is_text { text } else { bytes };
        let digits = |name: &str| if low == 0 { name.to_owned() } else { format!("{name}({low})") };
        let name = match self.kind {
            1 => "tinyint".to_owned(),
            2 => "smallint".to_owned(),
            3 => "int".to_owned(),
            4 => "float".to_owned(),
            5 => "double".to_owned(),
            7 => "timestamp".to_owned(),
            8 => "bigint".to_owned(),
            9 => "mediumint".to_owned(),
            10 | 14 => "date".to_owned(),
            11 => "time".to_owned(),
            12 => "datetime".to_owned(),
            13 => "year".to_owned(),
            15 | 253 => format!("{} of {} bytes", choose("varchar", "varbinary"), u16::from_le_bytes(self.meta)),
            16 => format!("bit({})", usize::from(high) * 8 + usize::from(low)),
            17 => digits("timestamp"),
            18 => digits("datetime"),
            19 => digits("time"),
            245 => "json".to_owned(),
            246 => format!("decimal({low},{high})"),
            247 => format!("enum('{}')", self.values.join("','")),
            248 => format!("set('{}')", self.values.join("','")),
            249..=252 => {
                let size = ["", "tiny", "", "medium", "long"].get(usize::from(low)).unwrap_or(&"");
                format!("{size}{}", choose("text", "blob"))
            }
            254 => {
                let length = usize::from(high) | (usize::from(low & 0x30) ^ 0x30) << 4;
                format!("{} of {length} bytes", choose("char", "binary"))
            }
            255 => "geometry".to_owned(),
            other => format!("type {other}"),
        };
        if self.is_unsigned { format!("{name} unsigned") } else { name }
    }
}

/// Why a description of a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It does not follow the format.
    Malformed,
    /// It has no names of columns: `binlog_row_metadata` was not FULL.
    NoNames,
    /// The column of this name has a character set that is not read.
    Charset(String),
}

/// A description of a table in the log: its number, database and name, and what else is in the event.
pub struct TableMap<'a> {
    /// Number by which rows name it.
    pub id: u64,
    /// Database.
    pub database: &'a [u8],
    /// Table.
    pub table: &'a [u8],
    rest: Input<'a>,
}

impl<'a> TableMap<'a> {
    /// Reads the beginning of an event.
    #[must_use]
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let mut input = Input(data);
        let id = input.unsigned(6)?;
        input.take(2)?;
        let mut name = || {
            let length = input.size(1)?;
            let name = input.take(length)?;
            input.take(1)?;
            Some(name)
        };
        let (database, table) = (name()?, name()?);
        Some(Self { id, database, table, rest: input })
    }

    /// Its columns; `charsets` are those of collations by their numbers.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn columns(mut self, charsets: &HashMap<u64, String>) -> Result<Vec<Column>, Unusable> {
        let mut columns = self.types().ok_or(Unusable::Malformed)?;
        let metadata = Metadata::read(self.rest.0).ok_or(Unusable::Malformed)?;
        metadata.name(&mut columns)?;
        metadata.signs(&mut columns);
        metadata.values(&mut columns).ok_or(Unusable::Malformed)?;
        metadata.charsets(&mut columns, charsets)?;
        Ok(columns)
    }

    fn types(&mut self) -> Option<Vec<Column>> {
        let input = &mut self.rest;
        let count = input.packed()?;
        let kinds = input.take(count)?;
        let length = input.packed()?;
        let metas = &mut Input(input.take(length)?);
        // Which columns may be null.
        input.take(count.div_ceil(8))?;
        kinds
            .iter()
            .map(|kind| {
                let meta = match kind {
                    4 | 5 | 17..=19 | 245 | 249..=252 | 255 => [metas.take(1)?[0], 0],
                    15 | 16 | 246..=248 | 254 => metas.take(2)?.try_into().ok()?,
                    _ => [0, 0],
                };
                // Enumerations and sets hide behind the type of texts.
                let kind = match (kind, meta[0]) {
                    (254, real @ (247 | 248)) => real,
                    (kind, _) => *kind,
                };
                let charset = Charset::Binary;
                Some(Column {
                    name: String::new(),
                    kind,
                    meta,
                    is_unsigned: false,
                    charset,
                    values: Vec::new(),
                    is_json: false,
                })
            })
            .collect()
    }
}

/// What describes the columns beyond their types, by its kind.
struct Metadata<'a>(HashMap<u8, &'a [u8]>);

impl<'a> Metadata<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let (mut input, mut parts) = (Input(data), HashMap::new());
        while !input.0.is_empty() {
            let kind = input.take(1)?[0];
            let length = input.packed()?;
            parts.insert(kind, input.take(length)?);
        }
        Some(Self(parts))
    }

    fn part(&self, kind: u8) -> Input<'a> {
        Input(self.0.get(&kind).copied().unwrap_or_default())
    }

    fn name(&self, columns: &mut [Column]) -> Result<(), Unusable> {
        let mut names = self.part(4);
        for column in columns {
            let length = names.packed().ok_or(Unusable::NoNames)?;
            let name = names.take(length).ok_or(Unusable::Malformed)?;
            column.name = String::from_utf8_lossy(name).into_owned();
        }
        Ok(())
    }

    fn signs(&self, columns: &mut [Column]) {
        let bits = self.part(1).0;
        let numbers = columns.iter_mut().filter(|column| matches!(column.kind, 1..=5 | 8 | 9 | 246));
        for (place, column) in numbers.enumerate() {
            let byte = bits.get(place / 8).copied().unwrap_or_default();
            column.is_unsigned = byte >> (7 - place % 8) & 1 == 1;
        }
    }

    fn values(&self, columns: &mut [Column]) -> Option<()> {
        for (kind, part) in [(248, 5), (247, 6)] {
            let mut input = self.part(part);
            for column in columns.iter_mut().filter(|column| column.kind == kind) {
                for _ in 0..input.packed()? {
                    let length = input.packed()?;
                    column.values.push(String::from_utf8_lossy(input.take(length)?).into_owned());
                }
            }
        }
        Some(())
    }

    /// Collations of texts, and of enumerations and sets: a usual one and those that differ, or each.
    fn charsets(&self, columns: &mut [Column], charsets: &HashMap<u64, String>) -> Result<(), Unusable> {
        let texts: Vec<_> = columns.iter_mut().filter(|column| matches!(column.kind, 15 | 249..=254)).collect();
        self.collations((2, 3), texts, charsets)?;
        let choices: Vec<_> = columns.iter_mut().filter(|column| matches!(column.kind, 247 | 248)).collect();
        self.collations((10, 11), choices, charsets)
    }

    fn collations(
        &self,
        (usual, each): (u8, u8),
        columns: Vec<&mut Column>,
        charsets: &HashMap<u64, String>,
    ) -> Result<(), Unusable> {
        let (mut usual, mut each) = (self.part(usual), self.part(each));
        let default = usual.packed();
        let mut others = HashMap::new();
        while let (Some(place), Some(collation)) = (usual.packed(), usual.packed()) {
            others.insert(place, collation);
        }
        for (place, column) in columns.into_iter().enumerate() {
            let collation = others.get(&place).copied().or(default).or_else(|| each.packed());
            let name = collation.and_then(|collation| charsets.get(&(collation as u64)));
            let charset = name.and_then(|name| Charset::named(name));
            column.charset = charset.ok_or_else(|| Unusable::Charset(column.name.clone()))?;
        }
        Ok(())
    }
}

/// Rows of one event.
pub struct Rows<'a> {
    /// Number of the table.
    pub id: u64,
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    rest: Input<'a>,
}

/// A row before and after its change.
pub type RowImages = (Option<Cells>, Option<Cells>);

impl<'a> Rows<'a> {
    /// Reads the beginning of an event of a kind.
    #[must_use]
    pub fn read(kind: u8, data: &'a [u8]) -> Option<Self> {
        let mut input = Input(data);
        let id = input.unsigned(6)?;
        input.take(2)?;
        // The second version has more in its header.
        if kind >= 30 {
            let length = input.size(2)?;
            input.take(length.checked_sub(2)?)?;
        }
        let width = input.packed()?.div_ceil(8);
        let mut columns = |has: bool| if has { input.take(width).map(Some) } else { Some(None) };
        let before = columns(!kinds::WRITES.contains(&kind))?;
        let after = columns(!kinds::DELETES.contains(&kind))?;
        Some(Self { id, before, after, rest: input })
    }

    /// The next row; none behind the last one. Columns for which `is_wanted` is false are left out.
    ///
    /// # Errors
    /// It does not follow the format; the name of the column, if it is in one.
    pub fn next(&mut self, columns: &[Column], is_wanted: &[bool]) -> Result<Option<RowImages>, String> {
        if self.rest.0.is_empty() {
            return Ok(None);
        }
        let mut image = |present: Option<&[u8]>| {
            present.map(|present| image(&mut self.rest, present, columns, is_wanted)).transpose()
        };
        Ok(Some((image(self.before)?, image(self.after)?)))
    }
}

fn image(input: &mut Input<'_>, present: &[u8], columns: &[Column], is_wanted: &[bool]) -> Result<Cells, String> {
    let has = |bits: &[u8], place: usize| bits.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
    let count = (0..columns.len()).filter(|place| has(present, *place)).count();
    let nulls = input.take(count.div_ceil(8)).ok_or_else(String::new)?;
    let (mut cells, mut number) = (Cells::default(), 0);
    for (place, column) in columns.iter().enumerate().filter(|(place, _)| has(present, *place)) {
        let (value, size) = if has(nulls, number) {
            (serde_json::Value::Null, 0)
        } else {
            value(column, input).ok_or_else(|| column.name.clone())?
        };
        if is_wanted.get(place).copied().unwrap_or(true) {
            cells.push(&column.name, value, size);
        }
        number += 1;
    }
    Ok(cells)
}
