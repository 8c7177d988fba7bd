//! Syncs out of a real MariaDB: full load and changes fit together row by row, whatever ends in between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod changes;
mod lost;
mod settings;
mod support;
mod truncate;
mod types;
mod verify;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rocketmq_connector::worker_config::report::{SyncReport, WorkerState};
use rocketmq_connector::worker_config::sync::Mode;
use support::{BROKER, Database, Process, Running, count, read_all, script};
use worker_support::{Broker, eventually, history};

const ROWS: i64 = 20_000;

async fn orders(database: &Database, rows: i64) {
    let insert = format!("INSERT INTO orders SELECT seq, 0, repeat('x', 100) FROM seq_0_to_{}", rows - 1);
    let create = "CREATE TABLE orders (id bigint PRIMARY KEY, v int NOT NULL, note text)";
    database.run(&[create, &insert, "ANALYZE TABLE orders"]).await;
}

fn is_loaded(sync: &SyncReport) -> bool {
    sync.tables.first().is_some_and(|table| table.is_complete)
}

/// Runs a statement that changes one row, and waits until it and everything before it is at the topic.
async fn all(running: &Running, database: &Database, statement: &str) {
    let before = running.report().sync.unwrap_or_default().written;
    database.run(&[statement]).await;
    running
        .until("the last change", |_, sync| sync.written > before && sync.in_flight == 0 && sync.lag == Some(0))
        .await;
}

const LAST: &str = "INSERT INTO orders (id, v) VALUES (-1, 0)";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_load_and_the_changes_meanwhile_fit_together_row_by_row() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("rows", 4).await;
    orders(&database, ROWS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let session = database.session().await;
    let changing = tokio::spawn(history::change_rows(session, "orders".to_owned(), ROWS, 500, Arc::clone(&stop)));
    let running = Running::start(&database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic)).await;
    let report = running.until("the load", |_, sync| is_loaded(sync)).await;
    assert!(report.tables[0].rows >= ROWS as u64 * 9 / 10 && report.tables[0].expected_rows.is_some(), "{report:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut history = changing.await.unwrap();
    all(&running, &database, LAST).await;
    history.insert(-1, vec![None, Some(0)]);
    running.stop().await;
    let compared = history::compare(&history, &read_all(&broker, &topic).await, false);
    println!("{} rows: 0 lost, 0 twice; {compared:?}", history.len());
    assert!(compared.loaded_late > 0 && compared.changes > 0, "{compared:?}: the load and the changes did not meet");
    let chunks = database.text("SELECT count(*) FROM rocketmq_connector_sync_chunk").await;
    assert!(chunks.parse::<i64>().unwrap() > 3);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_both_phases_loses_nothing() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("killed", 4).await;
    orders(&database, ROWS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let session = database.session().await;
    let changing = tokio::spawn(history::change_rows(session, "orders".to_owned(), ROWS, 500, Arc::clone(&stop)));
    let mut config = database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic);
    // Slow enough that the first kill comes in the middle of the load.
    config.batch.max_records = 100;
    for kill in 0..3 {
        let process = Process::start(database.path(), &config);
        let before = count(&broker, &topic).await;
        eventually("rows at the topic", async || count(&broker, &topic).await > before + 6_000).await;
        drop(process);
        let rows: i64 = database.progress("loaded_rows", "orders").await.parse().unwrap_or_default();
        println!("kill {kill} in the load: {rows} rows are known to be loaded");
        assert!(kill > 0 || rows < ROWS * 9 / 10, "the first kill should come in the middle of the load");
    }
    for kill in 0..3 {
        let process = Process::start(database.path(), &config);
        eventually("the load", async || database.progress("is_loaded", "orders").await == "1").await;
        let before = count(&broker, &topic).await;
        eventually("changes at the topic", async || count(&broker, &topic).await > before + 100).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        drop(process);
        println!("kill {kill} in the changes, at {}", database.progress("position", "").await);
    }
    stop.store(true, Ordering::Relaxed);
    let mut history = changing.await.unwrap();
    let last = Running::start(&config).await;
    all(&last, &database, LAST).await;
    history.insert(-1, vec![None, Some(0)]);
    last.stop().await;
    let messages = read_all(&broker, &topic).await;
    let compared = history::compare(&history, &messages, true);
    println!("6 kills, {} rows, {} messages: 0 lost, {} twice", history.len(), messages.len(), compared.repeated);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_is_found_again() {
    const INSTANCE: &str = "mysql-source-restarts";
    script("up.sh", &["mariadb", INSTANCE, "14307"], &[]);
    let (broker, mut database) = (Broker::named(BROKER), Database::of(INSTANCE).await);
    let topic = broker.topic("restart", 2).await;
    orders(&database, 100).await;
    let running = Running::start(&database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic)).await;
    running.until("the load", |_, sync| sync.written == 100).await;
    database.run(&["UPDATE orders SET v = 1", "FLUSH BINARY LOGS", "UPDATE orders SET v = 2 WHERE id < 50"]).await;
    running.until("changes", |_, sync| sync.written == 250).await;
    script("down.sh", &[INSTANCE], &[]);
    running.fails_with("DatabaseUnreachable").await;
    script("up.sh", &["mariadb", INSTANCE, "14307"], &[("KEEP", "1")]);
    database.reconnect().await;
    database.run(&["UPDATE orders SET v = 3"]).await;
    running.until("more changes", |report, sync| sync.written == 350 && report.state == WorkerState::Running).await;
    running.stop().await;
    assert_eq!(count(&broker, &topic).await, 350, "nothing twice");
    // What the server has thrown away meanwhile cannot be made up for.
    database.run(&["UPDATE orders SET v = 4", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS"]).await;
    let newest = database.text("SHOW MASTER STATUS").await;
    // Not before the server has noticed that nobody reads them any more.
    let purge = format!("PURGE BINARY LOGS TO '{newest}'");
    let is_purged = async || {
        database.run(&[&purge]).await;
        database.text("SHOW BINARY LOGS").await == newest
    };
    eventually("the logs are gone", is_purged).await;
    let running = Running::start(&database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic)).await;
    let message = running.fails_with("LogLost").await;
    assert!(message.contains("does not have its binary log"), "{message}");
    running.stop().await;
    database.run(&["RESET MASTER"]).await;
    let place = "binlog.000001:330:1000000000";
    let stand_in = format!("UPDATE rocketmq_connector_sync_table SET position = '{place}' WHERE name = ''");
    database.run(&[&stand_in, "UPDATE orders SET v = 5"]).await;
    let running = Running::start(&database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic)).await;
    let message = running.fails_with("LogLost").await;
    assert!(message.contains("another one than before"), "{message}");
    running.stop().await;
    database.clean().await;
    script("down.sh", &[INSTANCE], &[]);
}
