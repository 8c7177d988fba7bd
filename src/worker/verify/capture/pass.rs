//! One reading of the tables and of the topics, for a part of the rows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::super::error::{reported, rocketmq_report};
use super::super::super::source::database::inspect::Inspect;
use super::super::ledger::Place;
use super::super::window::{Window, read_all};
use super::content::{Act, Columns, Said, key_text, said};
use super::expected::{Compared, Made};
use super::ledger::{Judged, Ledger, Part, Word};
use super::{Run, at_source, open};
use crate::rocketmq::admin::TOOLS_GROUP;
use crate::rocketmq::{ErrorKind, Queue, ReceivedMessage};
use crate::worker_config::report::ReportedError;

/// Bytes that are held at the same time; of more, everything is read several times, for a part of the keys each time.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Time between the marks of the queues and the look at the database: a change may be in the log, and at the topic, a moment
/// before others can see it.
const BEFORE: Duration = Duration::from_secs(1);
/// Time between an acknowledgement and the reading of the topics: a broker shows messages a moment after it has taken them.
const AFTER: Duration = Duration::from_secs(1);
/// How long the rows of one moment are read; then those of another one are, so that nothing is held up at the database.
const LONGEST: Duration = Duration::from_secs(10);
/// Longest time until the sync has acknowledged what the rows can have seen, and the pause between two looks at that.
const BEHIND: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(250);

impl<Config: Sync> Run<'_, Config> {
    /// Compares the rows of a part; gives the parts that were too much to be compared with it. None when rows go to topics that were
    /// not known, so that it is to be begun anew.
    pub(super) async fn pass<Source: Inspect<Config = Config>>(
        &mut self,
        part: Part<'_>,
    ) -> Result<Option<(Judged, Vec<(u64, u64)>)>, ReportedError> {
        let mut source = open::<Source>(self.config, self.source).await?;
        let mut ledger = Ledger::new(part, MOST_BYTES);
        self.find_queues().await?;
        let Some(marks) = self.read_tables(&mut source, &mut ledger).await? else { return Ok(None) };
        ledger.read_from(marks);
        await_acknowledged(&mut source).await?;
        drop(source);
        tokio::time::sleep(AFTER).await;
        self.find_queues().await?;
        let windows = self.windows().await?;
        let ledger = self.read_topics(ledger, &windows).await?;
        let later = ledger.later().to_vec();
        Ok(Some((ledger.close(&self.rules), later)))
    }

    /// Notes all rows; gives the ends of the queues before each look at the database, or none when there are new topics.
    async fn read_tables<Source: Inspect>(
        &mut self,
        source: &mut Source,
        ledger: &mut Ledger<'_>,
    ) -> Result<Option<Vec<Vec<i64>>>, ReportedError> {
        let mut marks = vec![self.look(source).await?];
        let (mut since, mut has_new, mut trouble) = (Instant::now(), false, None);
        for table in 0..self.maker.tables().len() {
            let mut behind: Option<Vec<String>> = None;
            loop {
                if since.elapsed() > LONGEST {
                    source.leave().await.map_err(at_source)?;
                    marks.push(self.look(source).await?);
                    since = Instant::now();
                }
                let place = (table, marks.len() - 1);
                let each = &mut |cells| match self.maker.row(table, cells) {
                    Err(error) => trouble = Some(error),
                    Ok(Made { hash, topic, entity, fields, is_left_out }) => {
                        match self.topics.add(self.config.format, &topic, &entity, table) {
                            Ok(is_new) => has_new |= is_new,
                            Err(error) => trouble = Some(error),
                        }
                        if ledger.wants(hash) {
                            let Compared { key, uncompared, .. } = &self.maker.tables()[table];
                            let cells = (!is_left_out).then(|| self.columns.cells(&fields, uncompared));
                            let text = if ledger.keeps_texts() { key_text(key, &fields) } else { String::new() };
                            ledger.expect(hash, place, cells, text);
                        }
                    }
                };
                behind = source.rows(table, behind.as_deref(), each).await.map_err(at_source)?;
                if let Some(error) = trouble.take() {
                    return Err(error);
                }
                if behind.is_none() {
                    break;
                }
            }
        }
        source.leave().await.map_err(at_source)?;
        Ok((!has_new).then_some(marks))
    }

    /// Looks at the database; gives the ends of the queues before that.
    async fn look<Source: Inspect>(&self, source: &mut Source) -> Result<Vec<i64>, ReportedError> {
        let (admin, mut ends) = (self.client.admin(), Vec::with_capacity(self.queues.len()));
        for queue in &self.queues {
            ends.push(admin.max_offset(queue).await.map_err(|error| unreadable(queue, &error))?);
        }
        tokio::time::sleep(BEFORE).await;
        source.look().await.map_err(at_source)?;
        Ok(ends)
    }

    /// Takes up the queues of all topics; those that are known keep their numbers.
    async fn find_queues(&mut self) -> Result<(), ReportedError> {
        for topic in self.topics.names() {
            match self.client.admin().queues(topic).await {
                Ok((queues, _)) => {
                    for queue in queues {
                        if !self.queues.contains(&queue) {
                            self.queues.push(queue);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::TopicNotFound => {}
                Err(error) => {
                    return Err(rocketmq_report(
                        &format!("the target: failed to look for queues of topic {topic}"),
                        &error,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Everything that the queues hold now; notes which of them have lost messages by age.
    async fn windows(&mut self) -> Result<Vec<Window>, ReportedError> {
        let (admin, mut windows) = (self.client.admin(), Vec::with_capacity(self.queues.len()));
        for queue in &self.queues {
            let failed = |error| unreadable(queue, &error);
            let to = admin.max_offset(queue).await.map_err(failed)?;
            let from = admin.peek(queue, TOOLS_GROUP, 0, 1).await.map_err(failed)?.min_offset.clamp(0, to);
            if from > 0 {
                let topic = admin.bare_name(&queue.topic);
                for (table, is_trimmed) in self.rules.is_trimmed.iter_mut().enumerate() {
                    *is_trimmed |= self.topics.has(topic, table);
                }
            }
            windows.push(Window { queue: queue.clone(), from, to });
        }
        Ok(windows)
    }

    async fn read_topics<'l>(&mut self, ledger: Ledger<'l>, windows: &[Window]) -> Result<Ledger<'l>, ReportedError> {
        let reading = Mutex::new((ledger, std::mem::take(&mut self.columns)));
        let read = read_all(&self.client, windows, "the target", &|window, message| {
            self.take_up(&reading, window, &message);
        })
        .await;
        let (ledger, columns) = reading.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.columns = columns;
        read.map(|()| ledger)
    }

    /// Takes up a message of the queue of this number.
    fn take_up(&self, reading: &Mutex<(Ledger<'_>, Columns)>, window: usize, message: &ReceivedMessage) {
        let Some(Said { act, fields, table }) = said(&message.properties, &message.body) else { return };
        let Some(table) = self.topics.table(self.config.format, &message.topic, table.as_deref()) else { return };
        let hash = match act {
            Act::Clear => Some(0),
            _ => self.maker.hash_of(table, &message.topic, &fields),
        };
        let Some(hash) = hash else { return };
        let Compared { key, uncompared, .. } = &self.maker.tables()[table];
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (ledger, columns) = &mut *reading;
        if act != Act::Clear && !ledger.wants(hash) {
            return;
        }
        let cells = if act == Act::Clear { Box::default() } else { columns.cells(&fields, uncompared) };
        let place = Place { window, offset: message.queue_offset };
        let word = Word { hash, table, act, cells, place, at_millis: message.store_timestamp };
        ledger.find(word, || key_text(key, &fields));
    }
}

async fn await_acknowledged<Source: Inspect>(source: &mut Source) -> Result<(), ReportedError> {
    let since = Instant::now();
    while !source.is_acknowledged().await.map_err(at_source)? {
        if since.elapsed() > BEHIND {
            let message = format!(
                "the sync has not acknowledged within {} s what the database had when it was looked at",
                BEHIND.as_secs()
            );
            return Err(reported(
                "SourceBehind",
                message,
                "look whether the sync runs and what its lag is, then compare again",
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn unreadable(queue: &Queue, error: &crate::rocketmq::Error) -> ReportedError {
    let Queue { topic, broker_name, queue_id } = queue;
    rocketmq_report(&format!("the target: failed to read topic {topic}, broker {broker_name}, queue {queue_id}"), error)
}
