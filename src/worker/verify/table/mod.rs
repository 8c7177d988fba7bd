//! One run of a pipeline into tables: reads the windows of the source, makes of each message what it does to a row with the
//! pipeline's own code, and lets the database compare what comes of it with its rows.
//!
//! Rows go on changing while they are compared. They are read in one snapshot of the database, together with the positions that
//! the pipeline keeps there in the transactions of the rows: so it is known up to which message each row is. Those messages are
//! read as well before a row is judged, and a row that seems wrong is looked at again before it is told.

mod attempt;

use std::collections::HashSet;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use super::super::database::{Failure, FailureKind};
use super::super::error::{reported, rocketmq_report};
use super::super::sink::mysql::MySqlConnection;
use super::super::sink::postgres::PostgresConnection;
use super::super::sink::table::change::{Rules, Unknown};
use super::super::sink::table::compare::Compare;
use super::super::sink::table::schema::{Dialect, Keyed};
use super::super::transform::Steps;
use super::ledger::Place;
use super::refused;
use super::rows::Part;
use super::run::{CLOCKS_APART, Outcome};
use super::verdict::{Judged, Wrong};
use super::window::{Window, cut};
use crate::rocketmq::admin::TOOLS_GROUP;
use crate::rocketmq::{Client, Queue, ReceivedMessage};
use crate::worker_config::SyncConfig;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{FilterConfig, RocketMqSourceConfig, SourceConfig, TableTargetConfig, TargetConfig};
use crate::worker_config::verify::Finding;

/// Most messages of one run.
const MOST_MESSAGES: u64 = 2_000_000;
/// Bytes of rows that are held at the same time; of more, the source is read several times, for a part of the keys each time.
const MOST_BYTES: usize = 48 * 1024 * 1024;
/// How often the source is read at most.
const MOST_PASSES: usize = 64;
/// How often rows that seem wrong are looked at again, and the pause before that.
const LOOKS: usize = 2;
const PAUSE: Duration = Duration::from_secs(1);
/// How often a part is begun anew since a table was changed meanwhile.
const TRIES: usize = 4;

/// What is compared, and with what.
pub struct TableSubject<'a> {
    config: &'a SyncConfig,
    source: &'a RocketMqSourceConfig,
    target: &'a TableTargetConfig,
    steps: &'a Steps,
    from: Client,
}

/// Why a part has not come to its end.
enum Trouble {
    /// A table was changed meanwhile.
    Outdated(String),
    Failed(ReportedError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Outdated => Self::Outdated(failure.message),
            _ => Self::Failed(failure.report()),
        }
    }
}

impl From<ReportedError> for Trouble {
    fn from(error: ReportedError) -> Self {
        Self::Failed(error)
    }
}

impl<'a> TableSubject<'a> {
    /// What a pipeline reads and writes.
    ///
    /// # Errors
    /// Its source or target cannot be compared, which the operator tells as well.
    pub fn new(config: &'a SyncConfig, steps: &'a Steps, from: &Client) -> Result<Self, ReportedError> {
        let (SourceConfig::RocketMq(source), TargetConfig::Postgres(target) | TargetConfig::MySql(target)) =
            (&config.source, &config.target)
        else {
            let message = "only a sync from RocketMQ to RocketMQ or to tables can be verified";
            return Err(reported("NotImplemented", message, "remove spec.verify, or compare by other means"));
        };
        if matches!(source.filter, FilterConfig::Sql(_)) {
            let message = "a sync with source.filter.sql cannot be verified";
            return Err(reported("NotImplemented", message, "use filter.tags or a transform"));
        }
        Ok(Self { config, source, target, steps, from: from.clone() })
    }

    /// Compares. Everything in the windows was acknowledged to the source. Lists `most` rows.
    ///
    /// # Errors
    /// The source or the database cannot be read, or a table cannot be compared.
    pub async fn run(&self, windows: Vec<Window>, most: usize) -> Result<Outcome, ReportedError> {
        match &self.config.target {
            TargetConfig::MySql(_) => Run::new(self, Dialect::MySql, windows, most).compare::<MySqlConnection>().await,
            _ => Run::new(self, Dialect::Postgres, windows, most).compare::<PostgresConnection>().await,
        }
    }
}

/// A run.
struct Run<'a> {
    subject: &'a TableSubject<'a>,
    windows: Vec<Window>,
    most: usize,
    is_cut: bool,
    /// Those of the windows, then others whose messages may be about the same rows.
    queues: Vec<Queue>,
    /// From where the others are read.
    others: Vec<i64>,
    hashes: RandomState,
    /// Places of records that the target has refused.
    refused: HashSet<String>,
    rules: Rules,
    tables: Vec<(String, Arc<Keyed>)>,
}

impl<'a> Run<'a> {
    fn new(subject: &'a TableSubject<'a>, dialect: Dialect, mut windows: Vec<Window>, most: usize) -> Self {
        let is_cut = cut(&mut windows, MOST_MESSAGES);
        let queues = windows.iter().map(|window| window.queue.clone()).collect();
        let unknown = if subject.target.create_table { Unknown::RefuseValues } else { Unknown::Refuse };
        let rules = Rules { dialect, write: subject.config.write, unknown };
        let (others, refused, tables) = (Vec::new(), HashSet::new(), Vec::new());
        let hashes = RandomState::new();
        Self { subject, windows, most, is_cut, queues, others, hashes, refused, rules, tables }
    }

    async fn compare<C: Compare>(mut self) -> Result<Outcome, ReportedError> {
        let mut kept: Option<C> = None;
        let ends = self.windows.iter().map(|window| window.to).collect();
        let mut outcome = Outcome { ends, is_cut: self.is_cut, ..Outcome::default() };
        if self.windows.iter().all(Window::is_empty) {
            return Ok(outcome);
        }
        let since = self.oldest().await?;
        self.refused = refused::places(self.subject.config, &self.subject.from, since).await?;
        let mut judged = self.round(&mut kept, None).await?;
        let (mut counts, span) = (judged.counts, judged.span);
        for _ in 0..LOOKS {
            if judged.hashes.is_empty() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            self.look_around(since).await?;
            self.refused = refused::places(self.subject.config, &self.subject.from, since).await?;
            judged = self.round(&mut kept, Some(&judged.hashes)).await?;
            let again = judged.counts;
            counts.target += again.target;
            counts.undecided += again.undecided;
            (counts.missing, counts.different, counts.extra) = (again.missing, again.different, again.extra);
        }
        (outcome.counts, outcome.span) = (counts, span);
        for wrong in &judged.wrong {
            outcome.findings.push(self.finding(wrong).await?);
        }
        Ok(outcome)
    }

    /// A time before which no message of the windows was stored.
    async fn oldest(&self) -> Result<i64, ReportedError> {
        let mut oldest = jiff::Timestamp::now().as_millisecond();
        for window in self.windows.iter().filter(|window| !window.is_empty()) {
            let first = self.message(&window.queue, window.from).await?;
            oldest = first.map_or(oldest, |first| oldest.min(first.store_timestamp));
        }
        Ok(oldest.saturating_sub(CLOCKS_APART).max(0))
    }

    /// The message at an offset, or the first behind it that the broker still has.
    async fn message(&self, queue: &Queue, offset: i64) -> Result<Option<ReceivedMessage>, ReportedError> {
        let admin = self.subject.from.admin();
        let failed = |error| rocketmq_report("the source: failed to read a message", &error);
        let mut peek = admin.peek(queue, TOOLS_GROUP, offset, 1).await.map_err(failed)?;
        if peek.messages.is_empty() && peek.min_offset > offset {
            peek = admin.peek(queue, TOOLS_GROUP, peek.min_offset, 1).await.map_err(failed)?;
        }
        Ok(peek.messages.into_iter().next())
    }

    /// Takes up the queues of the same topics that are not among the windows, as other workers read them: a row whose messages
    /// stand in several queues has no order that could be judged.
    async fn look_around(&mut self, since: i64) -> Result<(), ReportedError> {
        let admin = self.subject.from.admin();
        let failed = |error| rocketmq_report("the source: failed to look for queues", &error);
        let mut topics: Vec<ByteString> = self.windows.iter().map(|window| window.queue.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            for queue in admin.queues(&topic).await.map_err(failed)?.0 {
                if !self.queues.contains(&queue) {
                    self.others.push(admin.search_offset(&queue, since).await.map_err(failed)?);
                    self.queues.push(queue);
                }
            }
        }
        Ok(())
    }

    /// Compares all rows, or those with some hashes.
    async fn round<C: Compare>(
        &mut self,
        kept: &mut Option<C>,
        only: Option<&HashSet<u64>>,
    ) -> Result<Judged, ReportedError> {
        let (mut judged, mut todo, mut passes) = (Judged::default(), vec![(0, 1)], 0);
        while let Some((number, of)) = todo.pop() {
            passes += 1;
            if passes > MOST_PASSES {
                let message = format!("the window has more rows than {MOST_PASSES} readings of the source compare");
                return Err(reported("TooMuch", message, "choose a shorter verify.window or interval"));
            }
            let (part, later) = self.part(kept, Part { number, of, only }).await?;
            judged.add(part, self.most);
            todo.extend(later);
        }
        Ok(judged)
    }

    async fn part<C: Compare>(
        &mut self,
        kept: &mut Option<C>,
        part: Part<'_>,
    ) -> Result<(Judged, Vec<(u64, u64)>), ReportedError> {
        let mut why = String::new();
        for attempt in 1..=TRIES {
            match self.attempt(kept, part, attempt == TRIES).await {
                Ok(done) => return Ok(done),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Outdated(message)) => {
                    tracing::info!(message, "a table was changed while it was compared; it is looked at again");
                    why = message;
                }
            }
        }
        Err(reported("TableChanged", why, "compare when nobody changes the definition of the table"))
    }

    /// A row that is wrong in words; the newest message about it is read once more.
    async fn finding(&self, wrong: &Wrong) -> Result<Finding, ReportedError> {
        let Place { window, offset } = wrong.place;
        let queue = &self.queues[window];
        let message = self.message(queue, offset).await?.filter(|message| message.queue_offset == offset);
        let (name, keyed) = &self.tables[wrong.table];
        let column = |number: &u16| keyed.table.column(*number).name.clone();
        let key: Vec<_> =
            keyed.key.iter().zip(&wrong.key).map(|(at, value)| format!("{}={value}", column(at))).collect();
        let Queue { topic, broker_name, queue_id } = queue;
        let topic = self.subject.from.admin().bare_name(topic).to_owned();
        Ok(Finding {
            kind: wrong.kind,
            key: key.join(", "),
            id: message.map(|message| message.message_id.to_string()).unwrap_or_default(),
            place: format!("topic {topic}, broker {broker_name}, queue {queue_id}, offset {offset}"),
            topic: name.clone(),
            columns: wrong.columns.iter().map(column).collect(),
        })
    }
}
