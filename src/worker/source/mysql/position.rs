//! Places in the binary log: a file and an offset in it, as one number that rises through all files.

/// A place in the binary log: the number of the file in the upper 32 bits, the offset in the lower ones. A transaction never
/// begins behind 4 GiB, since a file that exceeds `max_binlog_size`, which is 1 GiB at most, is ended behind a transaction.
pub type LogPosition = u64;

/// The place at `offset` in the file with this number.
#[must_use]
pub fn at(file: u32, offset: u64) -> LogPosition {
    u64::from(file) << 32 | offset.min(u64::from(u32::MAX))
}

/// Number of the file of a place.
#[must_use]
pub fn file_of(position: LogPosition) -> u32 {
    u32::try_from(position >> 32).unwrap_or(u32::MAX)
}

/// Offset of a place in its file.
#[must_use]
pub fn offset_of(position: LogPosition) -> u64 {
    position & u64::from(u32::MAX)
}

/// Names of the files: `base.000001` and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogName {
    /// What all names begin with.
    pub base: String,
    /// Number of the file.
    pub number: u32,
}

impl LogName {
    /// Reads the name of a file, without its folder.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (base, number) = name.rsplit_once('.')?;
        Some(Self { base: base.to_owned(), number: number.parse().ok()? })
    }

    /// The name of the file with another number.
    #[must_use]
    pub fn file(&self, number: u32) -> String {
        format!("{}.{number:06}", self.base)
    }
}

/// A place as it is stored: with the name of the file, and when that was made, so that another file of the same name is not
/// taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPosition {
    /// The file.
    pub name: LogName,
    /// The place.
    pub position: LogPosition,
    /// Seconds since the Unix epoch at which the file was made; none when that is not known yet.
    pub created: Option<u32>,
}

impl StoredPosition {
    /// `base.000001:1234:1700000000`.
    #[must_use]
    pub fn text(&self) -> String {
        let created = self.created.map(|created| format!(":{created}")).unwrap_or_default();
        format!("{}:{}{created}", self.name.file(file_of(self.position)), offset_of(self.position))
    }

    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let name = LogName::parse(parts.next()?)?;
        let position = at(name.number, parts.next()?.parse().ok()?);
        let created = parts.next().map(str::parse).transpose().ok()?;
        Some(Self { name, position, created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_the_log() {
        let last = at(1, u64::from(u32::MAX) + 7);
        assert!(at(1, 4) < at(1, 5) && at(1, 5) < last && last < at(2, 4));
        assert_eq!((file_of(at(7, 9)), offset_of(at(7, 9))), (7, 9));
    }

    #[test]
    fn a_place_is_stored_with_its_file() {
        for text in ["binlog.000003:1234", "my.host-bin.1000001:4:1764200000"] {
            assert_eq!(StoredPosition::parse(text).map(|place| place.text()).as_deref(), Some(text));
        }
        assert_eq!(StoredPosition::parse("binlog:4"), None);
        assert_eq!(LogName::parse("a.000001").unwrap().file(12), "a.000012");
    }
}
