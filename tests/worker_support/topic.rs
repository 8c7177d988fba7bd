//! What a topic holds.

use std::collections::BTreeMap;
use std::time::Duration;

use rocketmq_connector::rocketmq::{Consumer, ConsumerConfig, ReceivedMessage, StartFrom, Subscription};
use serde_json::Value;

use super::{Broker, LIMIT, unique};

/// Messages in a topic.
pub async fn count(broker: &Broker, topic: &str) -> usize {
    let client = broker.client();
    let stats = client.admin().topic_stats(topic).await.unwrap_or_default();
    client.shutdown().await;
    stats.iter().map(|queue| queue.max_offset).sum::<i64>() as usize
}

/// Everything that a topic holds, queue by queue in the order of the offsets.
pub async fn read_all(broker: &Broker, topic: &str) -> Vec<ReceivedMessage> {
    let total = count(broker, topic).await;
    let client = broker.client();
    let mut config = ConsumerConfig::new(unique("reader"), vec![Subscription::all(topic)]);
    config.start_from = StartFrom::First;
    config.max_in_flight_messages = total + 1;
    let consumer = Consumer::start(&client, config).unwrap();
    let mut messages = Vec::new();
    while messages.len() < total {
        let next = tokio::time::timeout(LIMIT, consumer.recv()).await.unwrap().unwrap();
        messages.push(next.message().clone());
        next.ack();
    }
    consumer.shutdown(Duration::from_secs(2)).await;
    client.shutdown().await;
    messages.sort_by_key(|message| (message.queue_id, message.queue_offset));
    messages
}

/// Operation and body of a message.
pub fn change(message: &ReceivedMessage) -> (String, Value) {
    (message.properties["mqOp"].to_string(), serde_json::from_slice(&message.body).unwrap())
}

/// The rows `(id, v)` that a target has which follows the messages of a topic with one queue, and how many rows each
/// truncation has taken from it.
pub fn rows(messages: &[ReceivedMessage]) -> (BTreeMap<i64, i64>, Vec<usize>) {
    let (mut rows, mut truncations) = (BTreeMap::new(), Vec::new());
    for message in messages {
        let (operation, body) = change(message);
        match operation.as_str() {
            "truncate" => truncations.push(std::mem::take(&mut rows).len()),
            "delete" => _ = rows.remove(&body["id"].as_i64().unwrap()),
            _ => _ = rows.insert(body["id"].as_i64().unwrap(), body["v"].as_i64().unwrap()),
        }
    }
    (rows, truncations)
}
