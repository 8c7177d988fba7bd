//! What a pipeline makes of rows, with the pipeline's own code, and by what a row is known in the topics.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use super::super::super::error::reported;
use super::super::super::record::{Fields, Operation, Record};
use super::super::super::sink::rocketmq::Composer;
use super::super::super::source::database::row::{Cells, Shape};
use super::super::super::transform::Steps;
use super::content::{feed, said};
use crate::worker_config::SyncConfig;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{Format, OnInvalid, RocketMqTargetConfig, TransformConfig};

/// Most topics of one sync.
const MOST_TOPICS: usize = 1_000;

/// Makes messages of rows.
pub struct Maker<'a> {
    steps: &'a Steps,
    /// The steps without filters: they tell the key of a row that is left out.
    unfiltered: Steps,
    has_steps: bool,
    composer: Composer,
    tables: Vec<Compared>,
    hashes: RandomState,
}

/// A table that is compared.
#[derive(Debug, Clone)]
pub struct Compared {
    /// What its records share.
    pub shape: Shape,
    /// Names of the fields of its messages that identify a row.
    pub key: Vec<String>,
    /// Names of fields whose values are not compared: those of the key, and those that depend on the change and not on the row.
    pub uncompared: Vec<String>,
    /// The topic that its rows go to, unless a step says otherwise.
    pub topic: String,
}

/// What the pipeline makes of a row.
#[derive(Debug)]
pub struct Made {
    /// By what the row is known.
    pub hash: u64,
    /// The topic that it goes to.
    pub topic: String,
    /// The table as messages name it.
    pub entity: String,
    /// Fields of the row, as a reader of the topic has them.
    pub fields: Fields,
    /// Whether it is left out, so that the topic need not have it.
    pub is_left_out: bool,
}

impl<'a> Maker<'a> {
    /// Prepares for the tables of these shapes.
    ///
    /// # Errors
    /// The rows of a table cannot be told apart in the topics.
    pub fn new(
        config: &SyncConfig,
        target: &RocketMqTargetConfig,
        steps: &'a Steps,
        shapes: Vec<Shape>,
    ) -> Result<Self, ReportedError> {
        let is_filter = |step: &&TransformConfig| matches!(step, TransformConfig::Filter(_));
        let rest: Vec<TransformConfig> = config.transforms.iter().filter(|step| !is_filter(step)).cloned().collect();
        let unfiltered = Steps::compile(&rest).map_err(|error| error.report())?;
        let composer = Composer::new(config, target)
            .map_err(|error| reported("InvalidWorkerConfig", error.to_string(), "correct target.topicMapping"))?;
        let passing = passing_fields(&config.transforms)?;
        let mut tables = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let key = key_names(&config.transforms, &shape)?;
            let topic = topic_of(&composer, &shape);
            let uncompared = key.iter().cloned().chain(passing.iter().cloned()).collect();
            tables.push(Compared { shape, key, uncompared, topic });
        }
        let has_steps = !config.transforms.is_empty();
        Ok(Self { steps, unfiltered, has_steps, composer, tables, hashes: RandomState::new() })
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &[Compared] {
        &self.tables
    }

    /// What the pipeline makes of a row of the table with this number.
    ///
    /// # Errors
    /// The message does not have the key.
    pub fn row(&self, table: usize, cells: Cells) -> Result<Made, ReportedError> {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut record = self.tables[table].shape.record((0, 0), Operation::Insert, cells, None, now);
        let original = self.has_steps.then(|| record.clone());
        if self.steps.apply(&mut record).unwrap_or(false)
            && let Some((topic, fields)) = self.composed(&record)
        {
            return self.made(table, topic, record.entity.into(), fields, false);
        }
        // Left out by a filter, or invalid.
        let mut original = original.unwrap_or(record);
        let before = original.fields().cloned().unwrap_or_default();
        let composed = match self.unfiltered.apply(&mut original) {
            Ok(true) => self.composed(&original),
            _ => None,
        };
        if let Some((topic, fields)) = composed
            && self.tables[table].key.iter().all(|name| fields.contains_key(name))
        {
            return self.made(table, topic, original.entity.into(), fields, true);
        }
        let Compared { shape, key, topic, .. } = &self.tables[table];
        let hash =
            self.hash(table, topic, &shape.key_fields, &before).or_else(|| self.hash(table, topic, key, &before));
        let (topic, entity) = (topic.clone(), shape.entity.to_string());
        Ok(Made { hash: hash.unwrap_or_default(), topic, entity, fields: before, is_left_out: true })
    }

    /// Topic and content of the message of a record.
    fn composed(&self, record: &Record) -> Option<(String, Fields)> {
        let message = self.composer.compose(record).ok().flatten()?;
        let said = said(&message.properties, &message.body)?;
        Some((message.topic.into(), said.fields))
    }

    fn made(
        &self,
        table: usize,
        topic: String,
        entity: String,
        fields: Fields,
        is_left_out: bool,
    ) -> Result<Made, ReportedError> {
        let Compared { shape, key, .. } = &self.tables[table];
        let hash = self.hash(table, &topic, key, &fields).ok_or_else(|| {
            let message =
                format!("table {}: its messages do not have all of the fields {}", shape.entity, key.join(", "));
            not_comparable(message)
        })?;
        Ok(Made { hash, topic, entity, fields, is_left_out })
    }

    /// By what the row of a message of a topic is known; none without all fields of the key.
    #[must_use]
    pub fn hash_of(&self, table: usize, topic: &str, fields: &Fields) -> Option<u64> {
        self.hash(table, topic, &self.tables[table].key, fields)
    }

    fn hash(&self, table: usize, topic: &str, key: &[String], fields: &Fields) -> Option<u64> {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = self.hashes.build_hasher();
        (table, topic).hash(&mut hasher);
        for name in key {
            feed(fields.get(name)?, &mut hasher);
        }
        Some(hasher.finish())
    }
}

/// Whether the deletion of a row always has a message: not where a filter or a field that it lacks may leave it out.
#[must_use]
pub fn tells_deletions(config: &SyncConfig, target: &RocketMqTargetConfig) -> bool {
    let has_filter = config.transforms.iter().any(|step| matches!(step, TransformConfig::Filter(_)));
    let names_fields = target.tag_field.is_some() || target.key_fields.is_some() || target.sharding_key_field.is_some();
    let stops = config.errors.on_invalid == OnInvalid::Stop;
    !has_filter && (stops || (config.transforms.is_empty() && !names_fields))
}

/// Names of the key's fields behind the steps.
fn key_names(steps: &[TransformConfig], shape: &Shape) -> Result<Vec<String>, ReportedError> {
    if shape.key_fields.is_empty() {
        let message = format!("table {}: has no primary key, so its rows cannot be told apart", shape.entity);
        return Err(not_comparable(message));
    }
    let mut key = shape.key_fields.to_vec();
    for step in steps {
        let lost = match step {
            TransformConfig::Rename(names) => {
                // One after the other, as the step has it.
                for (old, new) in names {
                    key.iter_mut().filter(|name| *name == old).for_each(|name| name.clone_from(new));
                }
                None
            }
            TransformConfig::Drop(names) => key.iter().find(|name| names.contains(name)),
            TransformConfig::Add(values) => key.iter().find(|name| values.contains_key(*name)),
            _ => None,
        };
        if let Some(lost) = lost {
            let message = format!(
                "table {}: the transforms take field {lost} of its key away, so its rows cannot be told apart in the topic",
                shape.entity
            );
            return Err(not_comparable(message));
        }
    }
    Ok(key)
}

/// Names of fields that steps make of the change, which the row does not tell: of an update it is another one than of an insert.
fn passing_fields(steps: &[TransformConfig]) -> Result<Vec<String>, ReportedError> {
    let mut passing: Vec<String> = Vec::new();
    let is_passing = |text: &str, passing: &[String]| {
        let known = passing.iter().map(String::as_str).chain(["operation", "before", "message"]);
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        known.into_iter().any(|name| text.split(|character| !is_word(character)).any(|word| word == name))
    };
    for step in steps {
        match step {
            TransformConfig::Map(map) => {
                let more = map.iter().filter(|(_, text)| is_passing(text, &passing)).map(|(name, _)| name.clone());
                let more: Vec<String> = more.collect();
                passing.extend(more);
            }
            TransformConfig::Rename(names) => {
                for (old, new) in names {
                    passing.iter_mut().filter(|name| *name == old).for_each(|name| name.clone_from(new));
                }
            }
            TransformConfig::Route(text) if is_passing(text, &passing) => {
                return Err(reported(
                    "NotComparable",
                    "transforms.route depends on the change and not on the row, so that no topic has the last word on a row",
                    "route by record alone, or remove spec.verify",
                ));
            }
            _ => {}
        }
    }
    Ok(passing)
}

fn not_comparable(message: String) -> ReportedError {
    reported("NotComparable", message, "give the table a primary key that its messages have, or remove spec.verify")
}

/// The topic of a table's records.
fn topic_of(composer: &Composer, shape: &Shape) -> String {
    let mut cells = Cells::default();
    cells.push("table", (&*shape.entity).into(), 0);
    let record = shape.record((0, 0), Operation::Truncate, cells, None, 0);
    composer.compose(&record).ok().flatten().map(|message| message.topic.into()).unwrap_or_default()
}

/// Topics, and the tables whose rows they have.
#[derive(Debug, Default)]
pub struct Topics(BTreeMap<String, Vec<(String, usize)>>);

impl Topics {
    /// Takes note of rows of a table, which messages name `entity`, in a topic; whether the topic is new.
    ///
    /// # Errors
    /// The topic has rows of another table from which they cannot be told, or there are too many topics.
    pub fn add(&mut self, format: Format, topic: &str, entity: &str, table: usize) -> Result<bool, ReportedError> {
        if let Some(tables) = self.0.get_mut(topic) {
            if tables.iter().any(|(known, number)| known == entity && *number == table) {
                return Ok(false);
            }
            let is_other =
                |(known, number): &(String, usize)| *number != table && (format != Format::Debezium || known == entity);
            if let Some((other, _)) = tables.iter().find(|known| is_other(known)) {
                return Err(reported(
                    "NotComparable",
                    format!(
                        "topic {topic} has rows of several tables, {other} and {entity} among them, which its messages do not tell apart"
                    ),
                    "give each table a topic of its own, or set format: Debezium, whose messages name the table; or remove spec.verify",
                ));
            }
            tables.push((entity.to_owned(), table));
            return Ok(false);
        }
        if self.0.len() >= MOST_TOPICS {
            let message = format!("the rows go to more than {MOST_TOPICS} topics");
            return Err(reported("TooMuch", message, "remove spec.verify, or route to fewer topics"));
        }
        self.0.insert(topic.to_owned(), vec![(entity.to_owned(), table)]);
        Ok(true)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The table of a message of a topic, which names it or does not.
    #[must_use]
    pub fn table(&self, format: Format, topic: &str, entity: Option<&str>) -> Option<usize> {
        let tables = self.0.get(topic)?;
        let named = tables.iter().find(|(known, _)| Some(known.as_str()) == entity);
        let only = tables.first().filter(|(_, first)| tables.iter().all(|(_, table)| table == first));
        let only = only.filter(|_| entity.is_none() || format != Format::Debezium);
        named.or(only).map(|(_, table)| *table)
    }

    /// Whether a topic has rows of a table.
    #[must_use]
    pub fn has(&self, topic: &str, table: usize) -> bool {
        self.0.get(topic).is_some_and(|tables| tables.iter().any(|(_, number)| *number == table))
    }
}

#[cfg(test)]
#[path = "expected_tests.rs"]
mod tests;
