//! Workers of role sync: in this process, and in one that can be killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rocketmq_connector::worker::Worker;
use rocketmq_connector::worker::report::Reporter;
use rocketmq_connector::worker_config::report::SyncReport;
use rocketmq_connector::worker_config::sync::{
    BatchConfig, ErrorConfig, FilterConfig, Format, Mode, OnExists, OnInvalid, OnMissing, RocketMqSourceConfig,
    RocketMqTargetConfig, SourceConfig, SyncStart, TargetConfig, WriteConfig,
};
use rocketmq_connector::worker_config::{Role, SyncConfig, WorkerReport};
use tokio_util::sync::CancellationToken;

use super::{Broker, LIMIT, worker_config};

/// A pipeline of changes as they are, in small batches, which stops at an invalid record.
pub fn pipeline(name: &str, source: SourceConfig, target: TargetConfig) -> SyncConfig {
    SyncConfig {
        name: format!("test/{name}"),
        source,
        target,
        mode: Mode::Incremental,
        format: Format::Raw,
        transforms: Vec::new(),
        writers: 1,
        batch: BatchConfig { max_records: 100, max_bytes: 1 << 20, max_wait_millis: 50 },
        write: WriteConfig { insert: OnExists::Update, update: OnMissing::Insert, delete: OnMissing::Ignore },
        errors: ErrorConfig { retry_interval_millis: 1_000, retry_for_millis: None, on_invalid: OnInvalid::Stop },
        verify: None,
    }
}

/// All messages of a topic, from the first on.
pub fn from_topic(broker: &Broker, topic: &str, group: &str) -> RocketMqSourceConfig {
    RocketMqSourceConfig {
        cluster: broker.cluster(),
        topics: vec![topic.to_owned()],
        discovery: None,
        heartbeat: None,
        filter: FilterConfig::All,
        group: group.to_owned(),
        start_from: SyncStart::First,
        cluster_id: broker.name_server().to_owned(),
    }
}

/// A topic that exists.
pub fn to_topic(broker: &Broker, topic: &str, group: &str) -> RocketMqTargetConfig {
    RocketMqTargetConfig {
        cluster: broker.cluster(),
        topic: Some(topic.to_owned()),
        topic_map: None,
        group: group.to_owned(),
        tag_field: None,
        key_fields: None,
        sharding_key_field: None,
        delay: None,
        create_topics: false,
        cluster_id: broker.name_server().to_owned(),
    }
}

/// A worker in this process.
pub struct Running {
    worker: Worker,
    token: CancellationToken,
}

impl Running {
    pub async fn start(config: &SyncConfig) -> Self {
        let token = CancellationToken::new();
        let role = Role::Sync(Box::new(config.clone()));
        let worker = Worker::start(worker_config(role), token.clone()).await.unwrap();
        Self { worker, token }
    }

    pub fn reporter(&self) -> &Reporter {
        self.worker.reporter()
    }

    pub fn report(&self) -> WorkerReport {
        self.worker.reporter().current()
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&WorkerReport, &SyncReport) -> bool) -> SyncReport {
        let started = Instant::now();
        loop {
            let report = self.report();
            let sync = report.sync.clone().unwrap_or_default();
            if is_so(&report, &sync) {
                return sync;
            }
            assert!(started.elapsed() < LIMIT, "{what} did not come true within {LIMIT:?}: {report:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for an error with this reason; its message.
    pub async fn fails_with(&self, reason: &str) -> String {
        let is_it = |report: &WorkerReport| report.last_error.as_ref().is_some_and(|error| error.reason == reason);
        self.until(reason, |report, _| is_it(report)).await;
        self.report().last_error.unwrap().message
    }

    pub async fn stop(self) {
        self.token.cancel();
        self.worker.wait().await.unwrap();
    }
}

/// A process of its own, killed when it is dropped.
pub struct Process(pub Child);

impl Process {
    /// A worker whose configuration and log are in `folder`.
    pub fn start(folder: &Path, config: &SyncConfig) -> Self {
        Self::start_with(folder, config, &[])
    }

    /// The same, with these environment variables.
    pub fn start_with(folder: &Path, config: &SyncConfig, environment: &[(&str, &str)]) -> Self {
        let path = folder.join("worker.json");
        let text = worker_config(Role::Sync(Box::new(config.clone()))).to_json().unwrap();
        std::fs::write(&path, text).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"))
            .args(["worker", "--config"])
            .arg(&path)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
