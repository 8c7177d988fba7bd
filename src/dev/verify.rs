//! Compares, once, the source and target of a sync in manifests.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::files::PrivateFolder;
use super::plan::Overrides;
use super::{manifest, prepare};
use crate::worker::verify::once;
use crate::worker_config::verify::VerifyReport;
use crate::worker_config::{Identity, Role, SyncConfig};

/// Compares what the sync's consumer group has acknowledged of the last `window`, or the tables of a database as they are, with
/// what the target holds; `name` chooses among several syncs. Lists `most` differences.
///
/// # Errors
/// A manifest is wrong, it is not clear which sync is meant, or a cluster cannot be read.
pub async fn verify_sync(
    files: &[PathBuf],
    name: Option<&str>,
    name_servers: Vec<String>,
    window: Duration,
    most: usize,
) -> Result<VerifyReport> {
    let folder = PrivateFolder::create()?;
    let (config, identity) = one_sync(files, name, name_servers, &folder)?;
    let began = Instant::now();
    let since = jiff::Timestamp::now().as_millisecond() - i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
    let outcome = once::verify(config, identity, since.max(0), most).await.map_err(Error::Verify)?;
    Ok(VerifyReport {
        is_running: false,
        finished_at_millis: Some(jiff::Timestamp::now().as_millisecond()),
        duration_millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        runs: 1,
        from_millis: outcome.span.map(|(oldest, _)| oldest),
        to_millis: outcome.span.map(|(_, newest)| newest),
        counts: outcome.counts,
        findings: outcome.findings,
        is_cut: outcome.is_cut,
        error: None,
    })
}

fn one_sync(
    files: &[PathBuf],
    name: Option<&str>,
    name_servers: Vec<String>,
    folder: &PrivateFolder,
) -> Result<(SyncConfig, Identity)> {
    let (planned, _) = prepare(&manifest::read(files)?, &Overrides { name_servers }, folder)?;
    let chosen = planned.into_iter().filter(|planned| name.is_none_or(|name| planned.key.1 == name));
    let mut syncs: Vec<(SyncConfig, Identity)> = chosen
        .filter_map(|planned| planned.config.ok())
        .filter_map(|config| match config.role {
            Role::Sync(sync) => Some((*sync, config.identity)),
            Role::Connection(_) | Role::Binding(_) => None,
        })
        .collect();
    match (syncs.pop(), syncs.len()) {
        (None, _) => Err(Error::NothingToVerify),
        (Some(sync), 0) => Ok(sync),
        (Some(sync), more) => {
            syncs.push(sync);
            let names: Vec<_> = syncs.into_iter().map(|(_, identity)| identity.name).collect();
            Err(Error::Ambiguous { count: more + 1, names: names.join(", ") })
        }
    }
}
