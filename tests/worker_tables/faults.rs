//! Whatever ends in between: each record is written once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rocketmq_connector::rocketmq::{Message, Producer, ProducerConfig};
use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::Format;

use super::databases::Server;
use super::worker_support::relay::Relay;
use super::worker_support::{Broker, LIMIT, unique};
use super::{Process, Running, publish, run_through, server_of, sync, target};

/// A sync that only appends: a record that is written twice is two rows.
fn appending(broker: &Broker, topic: &str, server: &Server, table: &str) -> SyncConfig {
    let mut config = sync(broker, topic, server, table);
    config.format = Format::Json;
    target(&mut config).key_fields = Vec::new();
    config
}

/// Sends numbers until it is told to stop; how many.
fn publishing(broker: &Broker, topic: &str, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let (broker, topic, stop) = (broker.clone(), topic.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let client = broker.client();
        let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let messages = (sent..sent + 50).map(|n| Message::new(&topic, format!(r#"{{"n":{n}}}"#)));
            for result in producer.send_batch(messages.collect()).await {
                result.unwrap();
            }
            sent += 50;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        producer.shutdown().await;
        client.shutdown().await;
        sent
    })
}

/// Waits until the table has `count` rows, and tells how many numbers it has more than once.
async fn settled(server: &Server, table: &str, count: usize, log: impl Fn() -> String) -> (usize, usize) {
    let (mut last, mut quiet) = (0, Instant::now());
    loop {
        let rows = server.count(&format!("SELECT count(*) FROM {table}")).await;
        if rows != last {
            (last, quiet) = (rows, Instant::now());
        }
        if rows >= count && quiet.elapsed() > Duration::from_secs(2) {
            break;
        }
        assert!(quiet.elapsed() < LIMIT, "{rows} of {count} rows have come: {}", log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let distinct = server.count(&format!("SELECT count(DISTINCT n) FROM {table}")).await;
    (count - distinct, last - distinct)
}

/// Kills the worker with SIGKILL again and again while messages flow. `SYNC_KILLS` sets how often.
async fn killed(server: Server, writers: usize) {
    let kills: usize = std::env::var("SYNC_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let broker = Broker::named("5.4.0-plain");
    let (topic, table) = (broker.topic("kill", 4).await, unique("kill").replace('-', "_"));
    let config = SyncConfig { writers, ..appending(&broker, &topic, &server, &table) };
    let (folder, stop) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
    let sending = publishing(&broker, &topic, &stop);
    for _ in 0..kills {
        let process = Process::start(folder.path(), &config);
        // Moments that differ from run to run, from before the first message to far into the flow.
        let nanos = jiff::Timestamp::now().as_nanosecond().unsigned_abs();
        tokio::time::sleep(Duration::from_millis(700 + (nanos % 1_900) as u64)).await;
        drop(process);
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sending.await.unwrap();
    let last = Process::start(folder.path(), &config);
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    super::worker_support::eventually("the table", async || {
        let places = format!("SELECT count(*) FROM information_schema.tables WHERE table_name = '{table}'");
        server.count(&places).await > 0
    })
    .await;
    let (lost, repeated) = settled(&server, &table, sent, log).await;
    drop(last);
    println!(
        "{}, {writers} writers: {kills} kills, {sent} messages: {lost} lost, {repeated} repeated",
        server.setting("KIND")
    );
    assert_eq!((lost, repeated), (0, 0), "{}", log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_writes_each_record_once_to_postgres() {
    killed(Server::named("postgres"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_of_four_writers_writes_each_record_once_to_postgres() {
    killed(Server::named("postgres"), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_writes_each_record_once_to_mariadb() {
    killed(Server::named("mariadb"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_of_four_writers_writes_each_record_once_to_mariadb() {
    killed(Server::named("mariadb"), 4).await;
}

/// The database goes away and comes back while messages flow.
async fn restarted(server: Server) {
    let broker = Broker::named("4.9.7-plain");
    let (topic, table) = (broker.topic("restart", 4).await, unique("restart").replace('-', "_"));
    let config = appending(&broker, &topic, &server, &table);
    let stop = Arc::new(AtomicBool::new(false));
    let sending = publishing(&broker, &topic, &stop);
    let running = Running::start(&config).await;
    for round in 1..=2_u64 {
        running.until("a flow", |_, sync| sync.written > 300 * round).await;
        server.restart();
        let before = running.report().sync.unwrap().written;
        running
            .until("a flow again", |report, sync| sync.written > before + 100 && report.state == WorkerState::Running)
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sending.await.unwrap();
    let (lost, repeated) = settled(&server, &table, sent, || format!("{:#?}", running.report())).await;
    let report = running.report().sync.unwrap();
    running.stop().await;
    server.stop();
    println!("{}: 2 restarts, {sent} messages: {lost} lost, {repeated} repeated", server.setting("KIND"));
    assert_eq!((lost, repeated, report.written as usize), (0, 0, sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgres_loses_and_repeats_nothing() {
    restarted(Server::start("postgres", "restarted-postgres", 15433)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_mariadb_loses_and_repeats_nothing() {
    restarted(Server::start("mariadb", "restarted-mariadb", 13307)).await;
}

/// Nothing on the way tells that the connection is dead; only the server knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_mariadb_that_died_without_a_word_is_given_up_within_a_minute() {
    let (broker, server) = (Broker::named("5.4.0-plain"), Server::named("mariadb"));
    let (topic, table) = (broker.topic("dead", 4).await, unique("dead").replace('-', "_"));
    let mut config = appending(&broker, &topic, &server, &table);
    let relay = Relay::to(&format!("{}:{}", server.setting("HOST"), server.setting("PORT"))).await;
    (server_of(&mut config).host, server_of(&mut config).port) =
        (relay.address().ip().to_string(), relay.address().port());
    let stop = Arc::new(AtomicBool::new(false));
    let sending = publishing(&broker, &topic, &stop);
    let running = Running::start(&config).await;
    running.until("a flow", |_, sync| sync.written > 300).await;
    let (before, began) = (running.report().sync.unwrap().written, Instant::now());
    relay.forget();
    running.until("a flow again", |_, sync| sync.written > before + 500).await;
    let silence = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let sent = sending.await.unwrap();
    let (lost, repeated) = settled(&server, &table, sent, || format!("{:#?}", running.report())).await;
    running.stop().await;
    println!("dead connection: on after {silence:?}, {sent} messages: {lost} lost, {repeated} repeated");
    assert_eq!((lost, repeated), (0, 0));
    assert!(silence < Duration::from_secs(60), "{silence:?}");
}

/// A statement may take longer than a server may be silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_statement_of_mariadb_is_not_given_up() {
    let (broker, server) = (Broker::named("5.4.0-plain"), Server::named("mariadb"));
    let (topic, table) = (broker.topic("slow", 1).await, unique("slow").replace('-', "_"));
    let config = appending(&broker, &topic, &server, &table);
    publish(&broker, vec![Message::new(&topic, r#"{"n":0}"#)]).await;
    let running = Running::start(&config).await;
    running.until("the first", |_, sync| sync.written == 1).await;
    let name = format!("{table}_slow");
    server.run(&format!("CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW SET @slept = SLEEP(42)")).await;
    publish(&broker, vec![Message::new(&topic, r#"{"n":1}"#)]).await;
    let report = running.until("the second", |_, sync| sync.written == 2).await;
    running.stop().await;
    assert_eq!((report.failed_writes, report.repeated), (0, 0));
    assert_eq!(server.count(&format!("SELECT count(*) FROM {table}")).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_overtaken_writes_nothing() {
    let broker = Broker::named("5.4.0-plain");
    for server in ["postgres", "mariadb"].map(Server::named) {
        let (topic, table) = (broker.topic("overtaken", 1).await, unique("overtaken").replace('-', "_"));
        let config = appending(&broker, &topic, &server, &table);
        let messages =
            |from: usize| (from..from + 10).map(|n| Message::new(&topic, format!(r#"{{"n":{n}}}"#))).collect();
        publish(&broker, messages(0)).await;
        let running = Running::start(&config).await;
        running.until("the first ten", |_, sync| sync.written == 10).await;
        // As if another worker, which has the queue meanwhile, had written the next five.
        let sync = &config.name;
        let later = jiff::Timestamp::now().as_millisecond() + 3_600_000;
        server
            .run(&format!(
                "UPDATE rocketmq_connector_positions SET record_offset = 14, newest_millis = {later} WHERE sync = '{sync}'"
            ))
            .await;
        publish(&broker, messages(10)).await;
        let report = running.until("the others", |_, sync| sync.written + sync.repeated == 20).await;
        assert_eq!((report.written, report.repeated), (15, 5), "{}", server.setting("KIND"));
        running.stop().await;
        let first = server.count(&format!("SELECT min(n) FROM {table} WHERE n >= 10")).await;
        assert_eq!((first, server.count(&format!("SELECT count(*) FROM {table}")).await), (15, 15));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_its_offset_was_committed_is_not_written_again() {
    let broker = Broker::named("4.9.7-plain");
    for server in ["postgres", "mariadb"].map(Server::named) {
        let (topic, table) = (broker.topic("again", 2).await, unique("again").replace('-', "_"));
        let mut config = appending(&broker, &topic, &server, &table);
        let messages = (0..30).map(|n| Message::new(&topic, format!(r#"{{"n":{n}}}"#))).collect();
        publish(&broker, messages).await;
        assert_eq!(run_through(&config, 30).await.written, 30);
        // Another group reads all of it again, for the same sync.
        if let rocketmq_connector::worker_config::sync::SourceConfig::RocketMq(source) = &mut config.source {
            source.group = unique("again");
        }
        let report = run_through(&config, 30).await;
        assert_eq!((report.written, report.repeated), (0, 30), "{}", server.setting("KIND"));
        assert_eq!(server.count(&format!("SELECT count(*) FROM {table}")).await, 30);
    }
}
