//! How far an object goes that is there already: its name tells where it begins, its content where it ends.

use super::encode::{LastLine, last_offset_of_parquet};
use super::store::{Failure, Store};
use crate::worker_config::sync::{Compression, FileFormat};

/// Bytes that are read at once.
const PIECE: u64 = 1024 * 1024;
/// Bytes at the end of an object that hold its last line: a body of 4 MiB, Base64 and what stands around it.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;
/// Bytes that are read first of the end of a Parquet file.
const FOOTER: u64 = 64 * 1024;

/// Offset of the last record of an object of `size` bytes.
///
/// # Errors
/// It cannot be read, or is not an object of this target.
pub async fn last_offset(
    store: &Store,
    key: &str,
    size: u64,
    format: FileFormat,
    compression: Compression,
) -> Result<u64, Failure> {
    let found = match format {
        FileFormat::Parquet => of_parquet(store, key, size).await?,
        FileFormat::JsonLines => of_lines(store, key, size, compression).await?,
    };
    found.ok_or_else(|| unreadable(key, "it does not tell where it ends"))
}

async fn of_parquet(store: &Store, key: &str, size: u64) -> Result<Option<u64>, Failure> {
    let end = store.read(key, size.saturating_sub(FOOTER)..size).await?;
    let needed = match last_offset_of_parquet(&end) {
        Ok(found) => return Ok(found),
        Err(needed) => needed as u64,
    };
    if needed > size {
        return Ok(None);
    }
    let end = store.read(key, size - needed..size).await?;
    Ok(last_offset_of_parquet(&end).unwrap_or_default())
}

async fn of_lines(store: &Store, key: &str, size: u64, compression: Compression) -> Result<Option<u64>, Failure> {
    let broken = |error: std::io::Error| unreadable(key, &error.to_string());
    let mut last = LastLine::new(compression).map_err(broken)?;
    let mut at = if compression == Compression::None { size.saturating_sub(LONGEST_LINE) } else { 0 };
    while at < size {
        let until = size.min(at + PIECE);
        last.push(&store.read(key, at..until).await?).map_err(broken)?;
        at = until;
    }
    last.offset().map_err(broken)
}

fn unreadable(key: &str, why: &str) -> Failure {
    Failure::new(
        "ObjectUnreadable",
        format!("the object {key} stands where the next one goes, and is not one of this sync: {why}"),
        "move it away, or set another prefix in target.objectStorage.url",
    )
}
