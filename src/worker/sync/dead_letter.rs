//! The dead-letter topic of a pipeline: records that can never be processed, with the reason in their properties.

use super::super::record::{Invalid, Payload, Record};
use super::Setting;
use super::cluster::{self, Followed};
use crate::rocketmq::{Error, ErrorKind, Message, Producer, ProducerConfig};
use crate::worker::error::{reported, rocketmq_report};
use crate::worker_config::ClusterConfig;
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::{OnInvalid, SourceConfig, SyncConfig, TargetConfig};

/// Properties of a dead letter.
const REASON_PROPERTY: &str = "connector-reason";
const MESSAGE_PROPERTY: &str = "connector-message";
/// The pipeline.
pub const SYNC_PROPERTY: &str = "connector-sync";
/// Where the record stands in the source, as [`Record::place`] has it.
pub const PLACE_PROPERTY: &str = "connector-place";
/// Longest reason in a property, which must leave room for those of the record.
const LONGEST_MESSAGE: usize = 1024;
/// Read and write.
const PERMISSION: i32 = 6;

/// Where records go that can never be processed.
pub struct DeadLetters {
    cluster: ClusterConfig,
    topic: String,
    group: String,
    sync: String,
    opened: Option<(Followed, Producer)>,
}

impl DeadLetters {
    /// The dead-letter topic of a pipeline; none unless its policy asks for one.
    #[must_use]
    pub fn of(config: &SyncConfig) -> Option<Self> {
        let OnInvalid::DeadLetter { topic } = &config.errors.on_invalid else { return None };
        // Of two clusters, it is the source's: that is where such messages are looked for.
        let (cluster, group) = match (&config.source, &config.target) {
            (SourceConfig::RocketMq(source), _) => (&source.cluster, &source.group),
            (_, TargetConfig::RocketMq(target)) => (&target.cluster, &target.group),
            _ => return None,
        };
        let topic = topic.clone().unwrap_or_else(|| format!("%DLQ%{group}"));
        Some(Self { cluster: cluster.clone(), topic, group: group.clone(), sync: config.name.clone(), opened: None })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Moves records to the topic, in their order.
    ///
    /// # Errors
    /// The topic does not have them all; they are to be sent again.
    pub async fn send(&mut self, setting: &Setting, dead: &[(Record, Invalid)]) -> Result<(), ReportedError> {
        let what = format!("failed to write to the dead-letter topic {}", self.topic);
        let messages: Vec<Message> = dead.iter().map(|(record, why)| self.message(record, why)).collect();
        let producer = self.producer(setting).await?;
        for result in producer.send_batch(messages).await {
            match result {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                    self.create().await.map_err(|error| rocketmq_report(&what, &error))?;
                    return Err(reported(
                        "TopicNotFound",
                        format!("{what}: it was created"),
                        "nothing: it is tried again",
                    ));
                }
                Err(error) => return Err(rocketmq_report(&what, &error)),
            }
        }
        Ok(())
    }

    /// Ends the producer.
    pub async fn close(self) {
        if let Some((cluster, producer)) = self.opened {
            producer.shutdown().await;
            cluster.close().await;
        }
    }

    async fn producer(&mut self, setting: &Setting) -> Result<Producer, ReportedError> {
        if let Some((_, producer)) = &self.opened {
            return Ok(producer.clone());
        }
        let cluster = cluster::connect(setting, &self.cluster, "the dead-letter topic").await?;
        let producer = Producer::new(cluster.client(), ProducerConfig::new(format!("{}-dead-letters", self.group)))
            .map_err(|error| rocketmq_report("failed to build the producer of dead letters", &error))?;
        self.opened = Some((cluster, producer.clone()));
        Ok(producer)
    }

    async fn create(&self) -> Result<(), Error> {
        match &self.opened {
            Some((cluster, _)) => cluster.client().admin().create_topic(&self.topic, 1, PERMISSION).await,
            None => Ok(()),
        }
    }

    fn message(&self, record: &Record, why: &Invalid) -> Message {
        let body = match (&record.original, &record.payload) {
            (Some(original), _) | (None, Payload::Raw(original)) => original.clone(),
            // Fields out of a database can always be written as JSON.
            (None, Payload::Fields { fields, .. }) => serde_json::to_vec(fields).unwrap_or_default().into(),
        };
        let mut message = Message::new(self.topic.as_str(), body);
        message.tag.clone_from(&record.message.tag);
        message.keys.clone_from(&record.message.keys);
        message.properties.clone_from(&record.message.properties);
        let text: String = why.message.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect();
        let ours = [
            (REASON_PROPERTY, why.reason.to_owned()),
            (MESSAGE_PROPERTY, text),
            (SYNC_PROPERTY, self.sync.clone()),
            (PLACE_PROPERTY, record.place()),
        ];
        message.properties.extend(ours);
        message
    }
}
