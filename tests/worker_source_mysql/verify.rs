//! Tables and topics compared: rows that are lost, altered behind the pipeline's back or left over are told by key, and nothing else is.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocketmq_connector::worker_config::report::SyncReport;
use rocketmq_connector::worker_config::sync::{Format, Mode};
use rocketmq_connector::worker_config::verify::Difference::{Different, Extra, Missing};

use super::changes::reads;
use super::orders;
use super::support::{BROKER, Database, Process, Running, count};
use super::types::{create, row};
use super::worker_support::verify::{command, compared, figures, listed, outcome, raise_no_alarm, runs, verified};
use super::worker_support::{Broker, eventually, history, unique};

/// Does something that the log does not have.
async fn unseen(database: &Database, statements: &[&str]) {
    database.run(&["SET SESSION sql_log_bin = 0"]).await;
    database.run(statements).await;
    database.run(&["SET SESSION sql_log_bin = 1"]).await;
}

fn is_loaded(sync: &SyncReport) -> bool {
    !sync.tables.is_empty() && sync.tables.iter().all(|table| table.is_complete)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_altered_or_left_over_is_told_by_key() {
    let broker = Broker::named(BROKER);
    for format in [Format::Tapdata, Format::Debezium, Format::Json] {
        let database = Database::new().await;
        let topic = broker.topic("verified", 4).await;
        database
            .run(&["SET NAMES utf8mb4", "SET time_zone = '+00:00'", &create("t"), &row("t", 1, 0), &row("t", 2, 1)])
            .await;
        let mut config = verified(database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic), None);
        config.format = format;
        let running = Running::start(&config).await;
        running.until("the load", |_, sync| sync.written == 2).await;
        reads(&running).await;
        for id in 3..40_usize {
            database.run(&[&row("t", i32::try_from(id).unwrap(), id % 2)]).await;
        }
        database
            .run(&[
                "UPDATE t SET id = -id WHERE id > 30",
                "DELETE FROM t WHERE id < -35",
                "UPDATE t SET c13 = 7 WHERE id = 9",
            ])
            .await;
        let report = compared(&running, "1").await;
        assert_eq!(figures(&report), (35, 0, 0, 0, 0), "{format:?}: {report:#?}");
        assert_eq!((report.counts.source, report.findings.len()), (35, 0));

        unseen(
            &database,
            &[
                &row("t", 1001, 0),
                "UPDATE t SET c13 = 1.5, c7 = 1 WHERE id = 5",
                "DELETE FROM t WHERE id = 6",
                "INSERT INTO t (id) VALUES (1002)",
            ],
        )
        .await;
        let report = compared(&running, "2").await;
        assert_eq!(figures(&report), (33, 2, 1, 1, 0), "{format:?}: {report:#?}");
        let expected = vec![
            (Missing, "id=1001", String::new()),
            (Missing, "id=1002", String::new()),
            (Different, "id=5", "c13,c7".to_owned()),
            (Extra, "id=6", String::new()),
        ];
        assert_eq!(listed(&report), expected);
        let place = format!("table {}.t; last message: broker broker-a, queue ", database.name);
        assert!(
            report.findings.iter().all(|found| found.kind == Missing || found.place.starts_with(&place)),
            "{report:#?}"
        );
        // The table is emptied, and is filled anew.
        database.run(&["UPDATE t SET c7 = 2", "TRUNCATE TABLE t", &row("t", 5, 0), &row("t", 7, 1)]).await;
        let report = compared(&running, "3").await;
        assert_eq!(figures(&report), (2, 0, 0, 0, 0), "{format:?}: {report:#?}");
        running.stop().await;
        database.clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_on_changing_raise_no_alarm_and_hide_none() {
    const ROWS: i64 = 6_000;
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("alarms", 4).await;
    orders(&database, ROWS).await;
    database
        .run(&["INSERT INTO orders VALUES (-1, 1, 'still'), (-2, 2, 'still')", "CREATE TABLE other (id int)"])
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let session = database.session().await;
    let changing = tokio::spawn(history::change_rows(session, "orders".to_owned(), ROWS, 500, Arc::clone(&stop)));
    let config = verified(database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic), Some(300));
    // What is repeated after a crash says what was before once more.
    for _ in 0..2 {
        let process = Process::start(database.path(), &config);
        let before = count(&broker, &topic).await;
        eventually("rows at the topic", async || count(&broker, &topic).await > before + 2_000).await;
        drop(process);
    }
    let running = Running::start(&config).await;
    let reports = runs(&running, 10).await;
    raise_no_alarm(&reports);
    let last = reports.last().map(|report| report.duration_millis);
    unseen(
        &database,
        &[
            "UPDATE orders SET v = 7 WHERE id = -1",
            "DELETE FROM orders WHERE id = -2",
            "INSERT INTO orders VALUES (-3, 0, '')",
        ],
    )
    .await;
    let report = compared(&running, "with differences").await;
    assert_eq!(
        listed(&report),
        [(Missing, "id=-3", String::new()), (Different, "id=-1", "v".to_owned()), (Extra, "id=-2", String::new())]
    );
    stop.store(true, Ordering::Relaxed);
    let history = changing.await.unwrap();
    let changes: usize = history.values().map(|states| states.len() - 1).sum();
    // Others go on writing to the log.
    database.run(&["INSERT INTO other VALUES (1)", "FLUSH BINARY LOGS", "INSERT INTO other VALUES (2)"]).await;
    let report = compared(&running, "at the end").await;
    let left = history.values().filter(|states| states.last().unwrap().is_some()).count() as u64;
    assert_eq!(figures(&report), (left, 1, 1, 1, 0), "{report:#?}");
    println!("{} runs over {changes} changes: 0 false alarms; one took {last:?} ms", reports.len() + 2);
    running.stop().await;
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_the_load_has_seen_do_not_keep_it_waiting() {
    const ROWS: i64 = 12_000;
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("seen", 2).await;
    orders(&database, ROWS).await;
    let mut config = verified(database.sync(&["orders"], Mode::FullAndIncremental, &broker, &topic), None);
    // Slow enough for changes to come before the last rows are read.
    config.batch.max_records = 50;
    let running = Running::start(&config).await;
    eventually("the first rows", async || count(&broker, &topic).await > 200).await;
    database.run(&["UPDATE orders SET v = 1 WHERE id = 11999", "UPDATE orders SET v = 2 WHERE id = 11999"]).await;
    running.until("the load", |_, sync| is_loaded(sync) && sync.written == ROWS as u64).await;
    reads(&running).await;
    let report = compared(&running, "1").await;
    assert_eq!(figures(&report), (ROWS as u64, 0, 0, 0, 0), "{report:#?}");
    assert_eq!(count(&broker, &topic).await, ROWS as usize, "the changes were to be left out");
    assert!(
        report.duration_millis < 25_000,
        "{} ms: it was waited for the next note of the place",
        report.duration_millis
    );
    running.stop().await;
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_read_in_pieces_is_compared_whole() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("whole", 2).await;
    let rows = "INSERT INTO t SELECT CHAR(97 + seq % 3), seq, 0 FROM seq_1_to_6000";
    database.run(&["CREATE TABLE t (k enum('c', 'b', 'a'), n int, v int, PRIMARY KEY (k, n))", rows]).await;
    let config = verified(database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic), None);
    let running = Running::start(&config).await;
    running.until("the load", |_, sync| is_loaded(sync) && sync.written == 6_000).await;
    unseen(&database, &["UPDATE t SET v = 1 WHERE n = 4500"]).await;
    let report = compared(&running, "1").await;
    assert_eq!((figures(&report), report.counts.source), ((5_999, 0, 1, 0, 0), 6_000));
    assert_eq!(listed(&report), [(Different, "k=a, n=4500", "v".to_owned())]);
    running.stop().await;
    database.run(&["CREATE TABLE keyless (v int)"]).await;
    let topic = broker.topic("keyless", 2).await;
    let config = verified(database.sync(&["keyless"], Mode::FullAndIncremental, &broker, &topic), None);
    let running = Running::start(&config).await;
    running.until("the load", |_, sync| is_loaded(sync)).await;
    let error = outcome(&running, "2").await.error.unwrap();
    assert!(error.reason == "NotComparable" && error.message.contains("has no primary key"), "{error:?}");
    running.stop().await;
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_compares_what_a_worker_of_the_same_manifest_does() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("command", 2).await;
    database.run(&["CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT seq, 0 FROM seq_1_to_50"]).await;
    let manifest = format!(
        r#"
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQConnection
metadata: {{ name: to }}
spec: {{ nameServers: ["{}"] }}
---
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQSync
metadata: {{ name: {} }}
spec:
  source:
    mysql:
      server:
        host: {}
        port: {}
        database: {}
        username: {{ value: {} }}
        password: {{ value: {} }}
      tables: [t]
  target: {{ connectionRef: {{ name: to }}, topic: {topic} }}
  mode: FullAndIncremental
  format: Tapdata
  verify: {{}}
"#,
        broker.name_server(),
        unique("rows"),
        database.setting("HOST"),
        database.setting("PORT"),
        database.name,
        database.setting("APP_USER"),
        database.setting("APP_PASSWORD"),
    );
    let (code, text) = command(&manifest, &[]);
    assert!(code == Some(2) && text.contains("is not read in full yet"), "{code:?}: {text}");
    let path = database.file("sync.yaml", &manifest);
    let mut dev = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"));
    let dev = dev.args(["dev", "-f", &path]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let dev = Process(dev);
    eventually("the load", async || {
        count(&broker, &topic).await == 50 && database.progress("is_loaded", "t").await == "1"
    })
    .await;
    let (code, text) = command(&manifest, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("        50  in the window of the source\n        50  at the target as they should be"),
        "{text}"
    );
    unseen(
        &database,
        &["DELETE FROM t WHERE id = 7", "UPDATE t SET v = 1 WHERE id = 8", "INSERT INTO t VALUES (99, 0)"],
    )
    .await;
    let (code, text) = command(&manifest, &[]);
    assert_eq!(code, Some(1), "{text}");
    let lost = format!("Missing    id=99  table {}.t → {topic}\n", database.name);
    assert!(
        text.contains(&lost) && text.contains(&format!(" → {topic} (v)\n")) && text.contains("Extra      id=7 "),
        "{text}"
    );
    drop(dev);
    // What the log has, and nobody reads, is not there.
    database.run(&["UPDATE t SET v = 2 WHERE id = 9"]).await;
    let (code, text) = command(&manifest, &["-o", "json"]);
    assert!(code == Some(2) && text.contains("has not acknowledged within 60 s"), "{code:?}: {text}");
    database.clean().await;
}
