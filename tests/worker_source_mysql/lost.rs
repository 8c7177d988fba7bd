//! Connections that died without a word: the server does not know it, and keeps the sessions of a source that has lost them, with
//! their lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::Mode;
use tokio::task::JoinHandle;

use super::support::{BROKER, Database, Process, Running, count, read_all, source};
use super::worker_support::history::{self, History};
use super::worker_support::relay::Relay;
use super::worker_support::{Broker, eventually};
use super::{LAST, all, orders};

const ROWS: i64 = 2_000;
/// Silence after which the log counts as lost (30 s), the end of its session (3 s), and time to connect. A server gives the lock of a
/// session that it takes for living back after a minute.
const WITH_ITS_OWN_SESSIONS_ENDED: Duration = Duration::from_secs(50);
/// The minute after which the server ends the session, the longest pause between two tries (15 s), and time to connect.
const WITH_SESSIONS_OF_ANOTHER: Duration = Duration::from_secs(85);

/// A sync whose connections to the database can die.
async fn over_a_relay(config: &SyncConfig) -> (Relay, SyncConfig) {
    let mut config = config.clone();
    let server = &mut source(&mut config).server;
    let relay = Relay::to(&format!("{}:{}", server.host, server.port)).await;
    (server.host, server.port) = (relay.address().ip().to_string(), relay.address().port());
    (relay, config)
}

/// Changes rows until it is told to stop.
async fn changing(database: &Database) -> (JoinHandle<History>, Arc<AtomicBool>) {
    let (session, stop) = (database.session().await, Arc::new(AtomicBool::new(false)));
    let changes = history::change_rows(session, "orders".to_owned(), ROWS, 500, Arc::clone(&stop));
    (tokio::spawn(changes), stop)
}

/// Lets the sync write what is left, and compares what was committed with the topic.
async fn nothing_is_lost(
    running: Running,
    changes: JoinHandle<History>,
    database: &Database,
    (broker, topic): (&Broker, &str),
    silence: Duration,
) {
    let mut history = changes.await.unwrap();
    all(&running, database, LAST).await;
    history.insert(-1, vec![None, Some(0)]);
    running.stop().await;
    let messages = read_all(broker, topic).await;
    let compared = history::compare(&history, &messages, true);
    println!(
        "on after {silence:?}; {} rows, {} messages: 0 lost, {} twice",
        history.len(),
        messages.len(),
        compared.repeated
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_connections_died_ends_its_sessions_and_goes_on() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("lost", 4).await;
    orders(&database, ROWS).await;
    let direct = database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic);
    let (relay, config) = over_a_relay(&direct).await;
    let (changes, stop) = changing(&database).await;
    let running = Running::start(&config).await;
    running.until("changes", |_, sync| sync.written > ROWS as u64 + 200).await;
    let (before, began) = (running.report().sync.unwrap().written, Instant::now());
    relay.forget();
    running
        .until("changes again", |report, sync| sync.written > before + 500 && report.state == WorkerState::Running)
        .await;
    let silence = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    nothing_is_lost(running, changes, &database, (&broker, &topic), silence).await;
    assert!(silence < WITH_ITS_OWN_SESSIONS_ENDED, "{silence:?}");
    database.clean().await;
}

/// The node of a worker is gone, and another worker starts elsewhere, which knows nothing of the sessions of the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_place_of_one_that_is_gone_waits_for_its_sessions_and_goes_on() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("replaced", 4).await;
    orders(&database, ROWS).await;
    let direct = database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic);
    let (relay, config) = over_a_relay(&direct).await;
    let (changes, stop) = changing(&database).await;
    let gone = Process::start(database.path(), &config);
    eventually("changes", async || count(&broker, &topic).await > ROWS as usize + 200).await;
    // First the network, so that the server hears nothing of the end of the process.
    relay.forget();
    let began = Instant::now();
    drop(gone);
    let running = Running::start(&direct).await;
    running.fails_with("SourceInUse").await;
    running.until("changes again", |report, sync| sync.written > 500 && report.state == WorkerState::Running).await;
    let silence = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    nothing_is_lost(running, changes, &database, (&broker, &topic), silence).await;
    assert!(silence < WITH_SESSIONS_OF_ANOTHER, "{silence:?}");
    database.clean().await;
}
