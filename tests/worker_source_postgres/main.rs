//! Syncs out of a real PostgreSQL: full load and changes fit together row by row, whatever ends in between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod changes;
mod support;
mod truncate;
mod verify;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::Mode;
use support::{BROKER, Database, Process, Running, count, read_all};
use worker_support::{Broker, eventually, history};

const ROWS: i64 = 20_000;

async fn orders(database: &Database, rows: i64) {
    database
        .run(&format!(
            "CREATE TABLE $S.orders (id bigint PRIMARY KEY, v integer NOT NULL, note text); \
             INSERT INTO $S.orders SELECT id, 0, repeat('x', 100) FROM generate_series(0, {} - 1) id; ANALYZE $S.orders",
            rows
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_load_and_the_changes_meanwhile_fit_together_row_by_row() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("rows", 4).await;
    orders(&database, ROWS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let table = format!("{}.orders", database.schema);
    let changing = tokio::spawn(history::change_rows(database.session().await, table, ROWS, 500, Arc::clone(&stop)));
    let running = Running::start(&database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic)).await;
    let is_loaded = |sync: &rocketmq_connector::worker_config::report::SyncReport| {
        sync.tables.first().is_some_and(|table| table.is_complete)
    };
    let report = running.until("the load", |_, sync| is_loaded(sync)).await;
    assert!(report.tables[0].rows >= ROWS as u64 * 9 / 10 && report.tables[0].expected_rows.is_some(), "{report:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let history = changing.await.unwrap();
    database.confirmed().await;
    running.until("all", |_, sync| sync.in_flight == 0 && sync.lag == Some(0)).await;
    running.stop().await;
    let compared = history::compare(&history, &read_all(&broker, &topic).await, false);
    println!("{} rows: 0 lost, 0 twice; {compared:?}", history.len());
    assert!(compared.loaded_late > 0 && compared.changes > 0, "{compared:?}: the load and the changes did not meet");
    let chunks = format!("SELECT count(*)::text FROM rocketmq_connector.sync_chunk WHERE slot = '{}'", database.slot);
    assert!(database.text(&chunks).await.parse::<i64>().unwrap() > 3);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_both_phases_loses_nothing() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("killed", 4).await;
    orders(&database, ROWS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let table = format!("{}.orders", database.schema);
    let changing = tokio::spawn(history::change_rows(database.session().await, table, ROWS, 500, Arc::clone(&stop)));
    let mut config = database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic);
    // Slow enough that the first kill comes in the middle of the load.
    config.batch.max_records = 100;
    let loaded = format!(
        "SELECT coalesce(sum(rows), 0)::text FROM rocketmq_connector.sync_table WHERE slot = '{}'",
        database.slot
    );
    for kill in 0..2 {
        let process = Process::start(database.path(), &config);
        let before = count(&broker, &topic).await;
        eventually("rows at the topic", async || count(&broker, &topic).await > before + 3_000).await;
        drop(process);
        let rows: i64 = database.text(&loaded).await.parse().unwrap();
        println!("kill {kill} in the load: {rows} rows are known to be loaded");
        assert!(kill > 0 || rows < ROWS * 9 / 10, "the first kill should come in the middle of the load");
    }
    let is_loaded = format!(
        "SELECT coalesce(bool_or(is_loaded), false)::text FROM rocketmq_connector.sync_table WHERE slot = '{}'",
        database.slot
    );
    for kill in 0..2 {
        let process = Process::start(database.path(), &config);
        eventually("the load", async || database.text(&is_loaded).await == "true").await;
        let before = count(&broker, &topic).await;
        eventually("changes at the topic", async || count(&broker, &topic).await > before + 100).await;
        drop(process);
        println!("kill {kill} in the changes");
    }
    stop.store(true, Ordering::Relaxed);
    let history = changing.await.unwrap();
    let last = Process::start(database.path(), &config);
    database.confirmed().await;
    drop(last);
    let messages = read_all(&broker, &topic).await;
    let compared = history::compare(&history, &messages, true);
    println!("4 kills, {} rows, {} messages: 0 lost, {} twice", history.len(), messages.len(), compared.repeated);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_is_found_again() {
    let script = |name: &str, arguments: &[&str]| {
        let path = format!("{}/tests/cluster/databases/{name}", env!("CARGO_MANIFEST_DIR"));
        let done = Command::new(path).args(arguments).env("KEEP", "1").output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    };
    const INSTANCE: &str = "source-restarts";
    script("up.sh", &["postgres", INSTANCE, "15433"]);
    let (broker, mut database) = (Broker::named(BROKER), Database::of(INSTANCE).await);
    let topic = broker.topic("restart", 2).await;
    orders(&database, 100).await;
    let running = Running::start(&database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic)).await;
    running.until("the load", |_, sync| sync.written == 100).await;
    database.run("UPDATE $S.orders SET v = 1").await;
    running.until("changes", |_, sync| sync.written == 200).await;
    script("down.sh", &[INSTANCE]);
    running.fails_with("DatabaseUnreachable").await;
    script("up.sh", &["postgres", INSTANCE, "15433"]);
    database.reconnect().await;
    database.run("UPDATE $S.orders SET v = 2").await;
    running.until("more changes", |report, sync| sync.written == 300 && report.state == WorkerState::Running).await;
    running.stop().await;
    assert_eq!(count(&broker, &topic).await, 300, "nothing twice");
    database.clean().await;
    script("down.sh", &[INSTANCE]);
}
