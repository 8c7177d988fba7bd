//! Records that are not at the target since it has refused them: those of the dead-letter topic.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::super::error::{reported, rocketmq_report};
use super::super::sync::dead_letter::{DeadLetters, PLACE_PROPERTY, SYNC_PROPERTY};
use super::window::{Window, read_all};
use crate::rocketmq::{Client, ErrorKind};
use crate::worker_config::SyncConfig;
use crate::worker_config::report::ReportedError;

/// Most places that are held, about 10 MiB.
const MOST: usize = 100_000;

/// The places in the source of those records of a pipeline that are in its dead-letter topic, on the cluster of the source, since a
/// time in milliseconds since the Unix epoch; none where there is no such topic.
///
/// # Errors
/// The topic cannot be read, or holds more than can be held.
pub async fn places(config: &SyncConfig, client: &Client, since: i64) -> Result<HashSet<String>, ReportedError> {
    let Some(letters) = DeadLetters::of(config) else { return Ok(HashSet::new()) };
    let (admin, topic) = (client.admin(), letters.topic());
    let failed = |error| rocketmq_report(&format!("failed to look into the dead-letter topic {topic}"), &error);
    let starts = match admin.search_offsets(topic, since).await {
        Ok(starts) => starts,
        Err(error) if error.kind() == ErrorKind::TopicNotFound => return Ok(HashSet::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut windows = Vec::with_capacity(starts.len());
    for (queue, from) in starts {
        let to = admin.max_offset(&queue).await.map_err(failed)?;
        windows.push(Window { queue, from, to });
    }
    let places = Mutex::new(HashSet::new());
    read_all(client, &windows, "the dead-letter topic", &|_, mut message| {
        let is_ours = message.properties.get(SYNC_PROPERTY).is_some_and(|sync| *sync == config.name);
        if let Some(place) = message.properties.remove(PLACE_PROPERTY).filter(|_| is_ours) {
            let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
            if places.len() <= MOST {
                places.insert(place.to_string());
            }
        }
    })
    .await?;
    let places = places.into_inner().unwrap_or_else(PoisonError::into_inner);
    match places.len() > MOST {
        false => Ok(places),
        true => Err(reported(
            "TooMuch",
            format!(
                "the dead-letter topic {topic} holds more than {MOST} messages of this sync of the time that is compared"
            ),
            "choose a shorter verify.window, or correct the sender first",
        )),
    }
}
