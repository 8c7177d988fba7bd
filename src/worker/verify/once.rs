//! One verification without a worker, for the command line.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::error::{reported, rocketmq_report};
use super::super::report::Reporter;
use super::super::sync::Setting;
use super::super::sync::cluster;
use super::super::transform::Steps;
use super::capture;
use super::run::Outcome;
use super::task::{compare, since_windows};
use crate::rocketmq::{Client, Queue};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{RocketMqSourceConfig, SourceConfig};
use crate::worker_config::sync_topics::whole_name;
use crate::worker_config::{Identity, SyncConfig};

/// Compares what the consumer group of a sync has acknowledged, of what was stored since a time (milliseconds since the Unix epoch),
/// with what its target holds; of a database, its tables as they are, whatever the time. Lists `most` differences.
///
/// # Errors
/// A cluster cannot be read, or the sync cannot be verified.
pub async fn verify(config: SyncConfig, identity: Identity, since: i64, most: usize) -> Result<Outcome, ReportedError> {
    let steps = Steps::compile(&config.transforms).map_err(|error| error.report())?;
    let session = CancellationToken::new();
    let setting = Setting {
        config: Arc::new(config),
        reporter: Reporter::new(identity.clone()),
        identity,
        session: session.clone(),
        has_waited: Arc::default(),
    };
    let SourceConfig::RocketMq(source) = &setting.config.source else {
        return capture::compare(&setting, &steps, most).await;
    };
    let from = cluster::connect(&setting, &source.cluster, "the source").await?;
    let compared = async {
        let acknowledged = acknowledged(from.client(), source).await?;
        let windows = since_windows(from.client(), acknowledged, since).await?;
        compare(&setting, &steps, from.client(), windows, since, most).await
    };
    let compared = compared.await;
    from.close().await;
    compared
}

/// How far the group is in every queue of its topics.
async fn acknowledged(client: &Client, source: &RocketMqSourceConfig) -> Result<Vec<(Queue, i64)>, ReportedError> {
    let failed = |error| rocketmq_report("the source: failed to look how far the consumer group is", &error);
    let mut topics = source.topics.clone();
    if let Some(discovery) = &source.discovery {
        let patterns = discovery.patterns.iter().map(|text| whole_name(text)).collect::<Result<Vec<_>, _>>();
        let patterns =
            patterns.map_err(|error| reported("InvalidWorkerConfig", error.to_string(), "correct the pattern"))?;
        let all = client.admin().user_topics().await.map_err(failed)?;
        let is_new = |topic: &String| !topics.contains(topic) && !discovery.excluded.contains(topic);
        let found: Vec<String> = all
            .into_iter()
            .filter(|topic| is_new(topic) && patterns.iter().any(|pattern| pattern.is_match(topic)))
            .collect();
        topics.extend(found);
    }
    let mut queues = Vec::new();
    for topic in topics {
        let lags = client.admin().consumer_lag(&source.group, &topic).await.map_err(failed)?;
        queues.extend(lags.into_iter().map(|lag| (lag.queue, lag.consumer_offset.max(0))));
    }
    Ok(queues)
}
