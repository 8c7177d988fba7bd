//! A table that is truncated while it is read in full: what a target that follows has at the end is what the table has.

use std::collections::BTreeMap;

use rocketmq_connector::worker_config::sync::Mode;

use super::support::{BROKER, Database, Process, Running, change, count, read_all};
use super::worker_support::topic::rows;
use super::worker_support::{Broker, eventually};
use super::{LAST, ROWS, all, is_loaded, orders};

async fn table(database: &Database) -> BTreeMap<i64, i64> {
    database.run(&["SET SESSION group_concat_max_len = 10000000"]).await;
    let text = database.text("SELECT group_concat(concat(id, ':', v)) FROM orders").await;
    let pairs = text.split(',').filter_map(|pair| pair.split_once(':'));
    pairs.map(|(id, v)| (id.parse().unwrap(), v.parse().unwrap())).collect()
}

/// Empties the table and fills it anew, also where later chunks read; then changes go on.
async fn truncate(database: &Database) {
    database
        .run(&[
            "TRUNCATE TABLE orders",
            "INSERT INTO orders (id, v) SELECT seq, 7 FROM seq_0_to_11999",
            "UPDATE orders SET v = 8 WHERE id % 3 = 0",
            "DELETE FROM orders WHERE id % 5 = 0",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_during_the_load_leaves_what_the_table_has() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("truncated", 1).await;
    orders(&database, ROWS).await;
    let mut config = database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic);
    // Slow enough for the truncation to come in the middle.
    config.batch.max_records = 50;
    let running = Running::start(&config).await;
    eventually("the first rows", async || count(&broker, &topic).await > 1_000).await;
    truncate(&database).await;
    running.until("the load", |_, sync| is_loaded(sync)).await;
    database.run(&["UPDATE orders SET v = 9 WHERE id % 7 = 1"]).await;
    all(&running, &database, LAST).await;
    running.stop().await;
    let messages = read_all(&broker, &topic).await;
    let (rows, truncations) = rows(&messages);
    println!("{} messages, truncations of {truncations:?} rows, {} rows left", messages.len(), rows.len());
    assert!(truncations.len() == 1 && truncations[0] > 1_000, "{truncations:?}");
    assert_eq!(rows, table(&database).await);
    database.clean().await;
}

/// The chunks from the second on are read behind the truncation; whoever is killed behind it must not take their rows for told.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_before_and_behind_a_truncation_leaves_what_the_table_has() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("truncated", 1).await;
    orders(&database, ROWS).await;
    let mut config = database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic);
    config.batch.max_records = 50;
    let process = Process::start(database.path(), &config);
    eventually("the first rows", async || count(&broker, &topic).await > 1_000).await;
    drop(process);
    truncate(&database).await;
    let process = Process::start(database.path(), &config);
    eventually("the load", async || database.progress("is_loaded", "orders").await == "1").await;
    let chunks = "SELECT count(*) FROM rocketmq_connector_sync_chunk";
    eventually("the truncation is durable", async || database.text(chunks).await == "0").await;
    drop(process);
    database.run(&["UPDATE orders SET v = 9 WHERE id % 7 = 1"]).await;
    let last = Running::start(&config).await;
    all(&last, &database, LAST).await;
    last.stop().await;
    let messages = read_all(&broker, &topic).await;
    let (rows, truncations) = rows(&messages);
    assert_eq!(rows, table(&database).await);
    // Rows that were read behind the truncation stand before it, and came again.
    let is_truncation = |operation: &str| operation == "truncate";
    let before = messages.iter().map(change).take_while(|(operation, _)| !is_truncation(operation));
    let anew = before.filter(|(_, body)| body["v"] != 0).count();
    println!(
        "{} messages, truncations of {truncations:?} rows, {anew} rows read behind and told again",
        messages.len()
    );
    assert!(anew > 1_000, "{anew}: no chunk was read behind the truncation");
    database.clean().await;
}
