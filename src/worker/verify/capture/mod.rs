//! Syncs out of a database compared: each row of the tables with the last word that the topics have on it.
//!
//! Messages do not say where in the log their change stands, and rows go on changing. So a table is read as it is at one moment,
//! of which it is known how far in the log that is; it is waited until the sync has acknowledged that, and then the topic has
//! said what the row held at that moment: at the end that the queue had before, or behind it. What seems wrong all the same is
//! looked at again before it is told.

mod content;
mod expected;
mod ledger;
mod pass;
mod task;

use std::time::Duration;

use super::super::error::{reported, rocketmq_report};
use super::super::source::database::Trouble;
use super::super::source::database::inspect::Inspect;
use super::super::source::mysql::MySqlInspector;
use super::super::source::postgres::PostgresInspector;
use super::super::sync::{Setting, cluster};
use super::super::transform::Steps;
use super::ledger::Place;
use super::run::Outcome;
use crate::rocketmq::admin::TOOLS_GROUP;
use crate::rocketmq::{Client, Queue};
use crate::worker_config::SyncConfig;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{Mode, SourceConfig, TargetConfig};
use crate::worker_config::verify::Finding;
use content::Columns;
use expected::{Compared, Maker, Topics, tells_deletions};
use ledger::{Again, Judged, Part, Rules, Wrong};
pub use task::watch;

/// How often tables and topics are read at most.
const MOST_PASSES: usize = 128;
/// How often rows that seem wrong are looked at again, and the pause before that.
const LOOKS: usize = 2;
const PAUSE: Duration = Duration::from_secs(1);
/// How often a part is begun anew since a step has sent rows to topics that were not known.
const TRIES: usize = 4;

/// Compares the tables of a sync with its topics. Lists `most` differences.
///
/// # Errors
/// A side cannot be read, the sync is behind or has not loaded its tables yet, or it cannot be verified.
pub async fn compare(setting: &Setting, steps: &Steps, most: usize) -> Result<Outcome, ReportedError> {
    let config = &setting.config;
    let TargetConfig::RocketMq(target) = &config.target else {
        let message = "a sync out of a database can be verified when its target is RocketMQ";
        return Err(reported("NotImplemented", message, "remove spec.verify, or compare by other means"));
    };
    if target.delay.is_some() {
        let message = "a sync with target.delay cannot be verified";
        return Err(reported("NotImplemented", message, "remove target.delay or spec.verify"));
    }
    let there = cluster::connect(setting, &target.cluster, "the target").await?;
    let client = there.client().clone();
    let compared = match &config.source {
        SourceConfig::Postgres(source) => run::<PostgresInspector>(config, source, steps, client, most).await,
        SourceConfig::MySql(source) => run::<MySqlInspector>(config, source, steps, client, most).await,
        SourceConfig::RocketMq(_) => Err(reported("NotImplemented", "the source is no database", "report this")),
    };
    there.close().await;
    compared
}

async fn run<Source: Inspect>(
    config: &SyncConfig,
    source: &Source::Config,
    steps: &Steps,
    client: Client,
    most: usize,
) -> Result<Outcome, ReportedError> {
    let TargetConfig::RocketMq(target) = &config.target else { return Ok(Outcome::default()) };
    let mut session = open::<Source>(config, source).await?;
    session.is_ready().await.map_err(at_source)?;
    let maker = Maker::new(config, target, steps, session.shapes())?;
    drop(session);
    let mut topics = Topics::default();
    for (table, Compared { shape, topic, .. }) in maker.tables().iter().enumerate() {
        topics.add(config.format, topic, &shape.entity, table)?;
    }
    let rules = Rules {
        has_loaded: config.mode != Mode::Incremental,
        tells_deletions: tells_deletions(config, target),
        is_trimmed: vec![false; maker.tables().len()],
    };
    let (columns, queues) = (Columns::default(), Vec::new());
    Run { config, source, client, most, maker, topics, columns, queues, rules }.compare::<Source>().await
}

async fn open<Source: Inspect>(config: &SyncConfig, source: &Source::Config) -> Result<Source, ReportedError> {
    Source::open(source, config.mode, &config.name).await.map_err(at_source)
}

fn at_source(trouble: Trouble) -> ReportedError {
    let mut report = trouble.report();
    report.message = format!("the source: {}", report.message);
    report
}

/// A run.
struct Run<'a, Config> {
    config: &'a SyncConfig,
    source: &'a Config,
    client: Client,
    most: usize,
    maker: Maker<'a>,
    topics: Topics,
    columns: Columns,
    /// Queues by their numbers.
    queues: Vec<Queue>,
    rules: Rules,
}

impl<Config: Sync> Run<'_, Config> {
    async fn compare<Source: Inspect<Config = Config>>(mut self) -> Result<Outcome, ReportedError> {
        let began = jiff::Timestamp::now().as_millisecond();
        let mut judged = self.round::<Source>(None).await?;
        let (mut counts, beyond) = (judged.counts, judged.beyond);
        for _ in 0..LOOKS {
            if judged.again.is_empty() {
                break;
            }
            tracing::info!(rows = judged.again.len(), "rows seem wrong; they are looked at again");
            tokio::time::sleep(PAUSE).await;
            judged = self.round::<Source>(Some(&judged.again)).await?;
            let again = judged.counts;
            counts.target += again.target;
            counts.left_out += again.left_out;
            counts.undecided += again.undecided;
            counts.missing = again.missing + beyond.missing;
            counts.different = again.different + beyond.different;
            counts.extra = again.extra + beyond.extra;
        }
        let mut findings = Vec::new();
        for wrong in &judged.wrong {
            findings.push(self.finding(wrong).await?);
        }
        let span = Some((began, jiff::Timestamp::now().as_millisecond()));
        Ok(Outcome { counts, findings, span, ..Outcome::default() })
    }

    /// Compares all rows, or some.
    async fn round<Source: Inspect<Config = Config>>(&mut self, only: Option<&Again>) -> Result<Judged, ReportedError> {
        let (mut judged, mut todo, mut passes) = (Judged::default(), vec![(0, 1)], 0);
        while let Some((number, of)) = todo.pop() {
            passes += 1;
            if passes > MOST_PASSES {
                let message = format!("the tables have more rows than {MOST_PASSES} readings of them compare");
                return Err(reported(
                    "TooMuch",
                    message,
                    "remove spec.verify, or share the tables among several syncs",
                ));
            }
            let (part, later) = self.part::<Source>(Part { number, of, only }).await?;
            judged.add(part, self.most);
            todo.extend(later);
        }
        Ok(judged)
    }

    async fn part<Source: Inspect<Config = Config>>(
        &mut self,
        part: Part<'_>,
    ) -> Result<(Judged, Vec<(u64, u64)>), ReportedError> {
        for _ in 0..TRIES {
            if let Some(done) = self.pass::<Source>(part).await? {
                return Ok(done);
            }
        }
        let message = "transforms.route sends rows to new topics again and again";
        Err(reported("TooMuch", message, "compare when it does not, or route to fewer topics"))
    }

    /// A row that is wrong in words; the newest message about it is read once more.
    async fn finding(&self, wrong: &Wrong) -> Result<Finding, ReportedError> {
        let table = &self.maker.tables()[wrong.table];
        let mut finding = Finding {
            kind: wrong.kind,
            key: wrong.key.clone(),
            id: String::new(),
            place: format!("table {}", table.shape.entity),
            topic: table.topic.clone(),
            columns: wrong.columns.iter().map(|number| self.columns.name(*number)).collect(),
        };
        if let Some(Place { window, offset }) = wrong.place {
            let (queue, admin) = (&self.queues[window], self.client.admin());
            let peek = admin.peek(queue, TOOLS_GROUP, offset, 1).await;
            let peek = peek.map_err(|error| rocketmq_report("the target: failed to read a message again", &error))?;
            let message = peek.messages.into_iter().find(|message| message.queue_offset == offset);
            finding.id = message.map(|message| message.message_id.to_string()).unwrap_or_default();
            finding.topic = admin.bare_name(&queue.topic).to_owned();
            let Queue { broker_name, queue_id, .. } = queue;
            finding.place.push_str(&format!("; last message: broker {broker_name}, queue {queue_id}, offset {offset}"));
        }
        Ok(finding)
    }
}
