//! Names of objects.
//!
//! ```text
//! <topic>/dt=2026-11-27/hh=04/<broker>-<queue>-<first offset>-<its time>.jsonl.gz
//! ```
//! A name follows from the first record alone: two writers that begin at one record make one name, of which the store lets one be
//! created. What comes after the first record is not in it, because it differs from try to try.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::row::queue_of;
use crate::worker_config::sync::{Compression, FileFormat, ObjectStorageTargetConfig, PartitionBy};

const HOUR_MILLIS: i64 = 3_600_000;

/// How objects are named.
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    partition_by: PartitionBy,
    extension: &'static str,
}

impl Naming {
    /// The naming of a target.
    #[must_use]
    pub fn of(config: &ObjectStorageTargetConfig) -> Self {
        let extension = match (config.file_format, config.compression) {
            (FileFormat::Parquet, _) => "parquet",
            (FileFormat::JsonLines, Compression::Gzip) => "jsonl.gz",
            (FileFormat::JsonLines, Compression::Zstd) => "jsonl.zst",
            (FileFormat::JsonLines, Compression::None | Compression::Snappy) => "jsonl",
        };
        Self { partition_by: config.partition_by, extension }
    }

    /// Number of the folder that a record goes into which was stored then: an object holds records of one.
    #[must_use]
    pub fn slot(&self, stored_millis: i64) -> i64 {
        match self.partition_by {
            PartitionBy::Hour => stored_millis.div_euclid(HOUR_MILLIS),
            PartitionBy::Day => stored_millis.div_euclid(24 * HOUR_MILLIS),
            PartitionBy::None => 0,
        }
    }

    /// Name of the object of `topic` whose first record stands at `offset` of `partition` and was stored at `stored_millis`.
    #[must_use]
    pub fn key(&self, topic: &str, partition: &str, offset: u64, stored_millis: i64) -> String {
        let (broker, queue) = queue_of(partition);
        let source = match partition.strip_prefix("%RETRY%") {
            // Redeliveries are a queue of their own, with offsets of their own.
            Some(_) => format!("{}-retry", plain(broker)),
            None => plain(broker),
        };
        let Self { extension, .. } = self;
        let folder = self.folder(stored_millis);
        format!("{}/{folder}{source}-{queue}-{offset:020}-{stored_millis}.{extension}", plain(topic))
    }

    fn folder(&self, stored_millis: i64) -> String {
        let time = Timestamp::from_millisecond(stored_millis).unwrap_or_default().to_zoned(TimeZone::UTC);
        let pattern = match self.partition_by {
            PartitionBy::Hour => "dt=%Y-%m-%d/hh=%H/",
            PartitionBy::Day => "dt=%Y-%m-%d/",
            PartitionBy::None => return String::new(),
        };
        time.strftime(pattern).to_string()
    }
}

/// A part of a name with nothing in it that folders, URLs or query engines take for something else: other characters than
/// letters, digits, `-`, `_` and `.` become `%` and two hexadecimal digits, and so does a dot at the beginning.
fn plain(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'.' if place == 0 => name.push_str("%2E"),
            b'_' if place == 0 => name.push_str("%5F"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_795_752_662_123; // 2026-11-27T04:11:02.123Z

    fn naming(partition_by: PartitionBy) -> Naming {
        Naming { partition_by, extension: "jsonl" }
    }

    #[test]
    fn a_name_tells_topic_time_queue_and_first_offset() {
        let key = |by, topic| naming(by).key(topic, "orders@broker-a@3", 17, AT);
        let name = "broker-a-3-00000000000000000017-1795752662123.jsonl";
        assert_eq!(key(PartitionBy::Hour, "orders"), format!("orders/dt=2026-11-27/hh=04/{name}"));
        assert_eq!(key(PartitionBy::Day, "orders"), format!("orders/dt=2026-11-27/{name}"));
        assert_eq!(key(PartitionBy::None, "orders"), format!("orders/{name}"));
        assert_eq!(key(PartitionBy::None, "../x y"), format!("%2E.%2Fx%20y/{name}"));
        assert_eq!(key(PartitionBy::None, "_hidden"), format!("%5Fhidden/{name}"), "engines leave such folders out");
        let retry = naming(PartitionBy::None).key("orders", "%RETRY%shop@broker-a@0", 2, AT);
        assert_eq!(retry, "orders/broker-a-retry-0-00000000000000000002-1795752662123.jsonl");
    }

    #[test]
    fn records_of_one_hour_share_a_folder() {
        let naming = naming(PartitionBy::Hour);
        assert_eq!(naming.slot(AT), naming.slot(AT + 40 * 60_000));
        assert_ne!(naming.slot(AT), naming.slot(AT + 50 * 60_000));
    }
}
