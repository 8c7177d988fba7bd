//! A table that is truncated while it is read in full: what a target that follows has at the end is what the table has. The kinds of
//! databases say by [`Table`] how that is done in each.

use std::collections::BTreeMap;
use std::path::Path;

use rocketmq_connector::worker_config::SyncConfig;

use super::sync::{Process, Running};
use super::topic::{change, count, read_all, rows};
use super::{Broker, eventually};

/// The table `orders (id, v, note)` with rows whose `v` is 0, in a database of a test's own.
pub trait Table {
    /// A sync of the table, full load and changes.
    fn sync(&self, broker: &Broker, topic: &str) -> SyncConfig;

    /// A folder for a worker of its own.
    fn folder(&self) -> &Path;

    /// Empties the table and fills it anew, also where later chunks read, with a `v` that is not 0; then changes go on.
    async fn truncate(&self);

    /// Changes some of the rows.
    async fn change(&self);

    /// Waits until everything that the table has now is at the topic.
    async fn all_told(&self, running: &Running);

    /// Whether a worker has told that the table is loaded.
    async fn is_loaded(&self) -> bool;

    /// Whether it is known durably that the chunks of the load were truncated.
    async fn is_truncation_durable(&self) -> bool;

    /// `v` by `id`.
    async fn rows(&self) -> BTreeMap<i64, i64>;

    /// Removes the database.
    async fn clean(&self);
}

/// `id:v` pairs with commas between them, as databases join them.
pub fn pairs(text: &str) -> BTreeMap<i64, i64> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once(':'));
    pairs.map(|(id, v)| (id.parse().unwrap(), v.parse().unwrap())).collect()
}

/// Slow enough for a truncation to come in the middle of the load.
fn slow(table: &impl Table, broker: &Broker, topic: &str) -> SyncConfig {
    let mut config = table.sync(broker, topic);
    config.batch.max_records = 50;
    config
}

pub async fn during_the_load(broker: &Broker, table: &impl Table) {
    let topic = broker.topic("truncated", 1).await;
    let running = Running::start(&slow(table, broker, &topic)).await;
    eventually("the first rows", async || count(broker, &topic).await > 1_000).await;
    table.truncate().await;
    running.until("the load", |_, sync| sync.tables.first().is_some_and(|table| table.is_complete)).await;
    table.change().await;
    table.all_told(&running).await;
    running.stop().await;
    let messages = read_all(broker, &topic).await;
    let (rows, truncations) = rows(&messages);
    println!("{} messages, truncations of {truncations:?} rows, {} rows left", messages.len(), rows.len());
    assert!(truncations.len() == 1 && truncations[0] > 1_000, "{truncations:?}");
    assert_eq!(rows, table.rows().await);
    table.clean().await;
}

/// The chunks from the second on are read behind the truncation; whoever is killed behind it must not take their rows for told.
pub async fn with_kills_before_and_behind(broker: &Broker, table: &impl Table) {
    let topic = broker.topic("truncated", 1).await;
    let config = slow(table, broker, &topic);
    let process = Process::start(table.folder(), &config);
    eventually("the first rows", async || count(broker, &topic).await > 1_000).await;
    drop(process);
    table.truncate().await;
    let process = Process::start(table.folder(), &config);
    eventually("the load", async || table.is_loaded().await).await;
    eventually("the truncation is durable", async || table.is_truncation_durable().await).await;
    drop(process);
    table.change().await;
    let last = Running::start(&config).await;
    table.all_told(&last).await;
    last.stop().await;
    let messages = read_all(broker, &topic).await;
    let (rows, truncations) = rows(&messages);
    assert_eq!(rows, table.rows().await);
    // Rows that were read behind the truncation stand before it, and came again.
    let is_truncation = |operation: &str| operation == "truncate";
    let before = messages.iter().map(change).take_while(|(operation, _)| !is_truncation(operation));
    let anew = before.filter(|(_, body)| body["v"] != 0).count();
    println!(
        "{} messages, truncations of {truncations:?} rows, {anew} rows read behind and told again",
        messages.len()
    );
    assert!(anew > 1_000, "{anew}: no chunk was read behind the truncation");
    table.clean().await;
}
