//! Tables and topics compared: rows that are lost, altered behind the pipeline's back or left over are told by key, and nothing else is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::sync::{Format, Mode, TransformConfig};
use rocketmq_connector::worker_config::verify::Difference::{Different, Extra, Missing};
use rocketmq_connector::worker_config::verify::VerifyReport;

use super::orders;
use super::support::{BROKER, Database, Process, Running, count};
use super::worker_support::verify::{command, compared, figures, listed, outcome, raise_no_alarm, runs, verified};
use super::worker_support::{Broker, eventually, history};

/// Does something to a table that the log's readers are not told.
async fn unseen(database: &Database, table: &str, statements: &str) {
    let slot = &database.slot;
    database.run(&format!("ALTER PUBLICATION {slot} DROP TABLE $S.{table}")).await;
    database.run(statements).await;
    database.run(&format!("ALTER PUBLICATION {slot} ADD TABLE $S.{table}")).await;
}

async fn all_written(running: &Running, database: &Database, rows: u64) {
    running
        .until("the load", |_, sync| sync.tables.iter().all(|table| table.is_complete) && sync.written >= rows)
        .await;
    database.confirmed().await;
}

const ITEMS: &str = "CREATE TABLE $S.items (id bigint, part text, name text, amount numeric(12,2), wide numeric, f8 double precision, \
    f4 real, at timestamptz, local timestamp, day date, raw bytea, doc jsonb, js json, tags text[], numbers numeric[], span interval, \
    ok boolean, code uuid, big text, PRIMARY KEY (part, id)); ALTER TABLE $S.items ALTER big SET STORAGE EXTERNAL";

fn items(from: usize, to: usize) -> String {
    format!(
        "INSERT INTO $S.items SELECT i, 'p ' || i % 3, 'it''s ' || i, i * 1.10, 0.10000000000000000000001 * i, i / 3.0::float8, \
         i / 7.0::real, timestamptz '2026-11-26 09:00:00.1+01' + i * interval '1 ms', timestamp '2026-11-26 09:00:00' + i * interval '1 us', \
         date '0044-03-15 BC' + i, decode(repeat('0aff', i), 'hex'), '{{\"b\": 1.50, \"a\": [1.0, null, 1e3]}}', '{{\"z\": 1, \"a\": 1.0, \"a\": 2}}', \
         ARRAY['a', NULL, 'x \"y\"'], ARRAY[1.50, 'NaN'], make_interval(days => i, secs => i / 3.0), i % 2 = 0, gen_random_uuid(), \
         repeat('b', 9000) FROM generate_series({from}, {to}) i"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_altered_or_left_over_is_told_by_key() {
    let broker = Broker::named(BROKER);
    for format in [Format::Tapdata, Format::Debezium, Format::Json] {
        let database = Database::new().await;
        let topic = broker.topic("verified", 4).await;
        database.run(ITEMS).await;
        database.run(&items(1, 40)).await;
        let mut config = verified(database.sync(&["items"], Mode::FullAndIncremental, &broker, &topic), None);
        config.format = format;
        let running = Running::start(&config).await;
        all_written(&running, &database, 40).await;
        database.run(&items(41, 60)).await;
        // Of these the log does not tell the large value.
        database.run("UPDATE $S.items SET name = 'another' WHERE id BETWEEN 10 AND 50").await;
        database.run("UPDATE $S.items SET id = -id WHERE id > 55; DELETE FROM $S.items WHERE id < -58").await;
        let report = compared(&running, "1").await;
        assert_eq!(figures(&report), (58, 0, 0, 0, 0), "{format:?}: {report:#?}");
        assert_eq!((report.counts.source, report.findings.len()), (58, 0));
        assert!(report.from_millis.is_some() && report.from_millis <= report.to_millis);

        unseen(
            &database,
            "items",
            "INSERT INTO $S.items (id, part, name) VALUES (1001, 'p 1', 'lost'); DELETE FROM $S.items WHERE id = 6; \
             UPDATE $S.items SET name = 'altered', amount = amount + 0.01 WHERE id = 5; UPDATE $S.items SET big = 'c' WHERE id = 15",
        )
        .await;
        let report = compared(&running, "2").await;
        assert_eq!(figures(&report), (55, 1, 2, 1, 0), "{format:?}: {report:#?}");
        let expected = vec![
            (Missing, "part=p 1, id=1001", String::new()),
            (Different, "part=p 0, id=15", "big".to_owned()),
            (Different, "part=p 2, id=5", "amount,name".to_owned()),
            (Extra, "part=p 0, id=6", String::new()),
        ];
        assert_eq!(listed(&report), expected);
        let table = format!("table {}.items", database.schema);
        for finding in &report.findings {
            let is_lost = finding.kind == Missing;
            assert_eq!(finding.topic, topic);
            assert!(
                finding.place.starts_with(&table) && finding.place.contains("; last message: ") != is_lost,
                "{finding:?}"
            );
            assert_eq!(finding.id.is_empty(), is_lost, "{finding:?}");
        }
        // What is changed again is right again.
        database
            .run("UPDATE $S.items SET name = name WHERE id IN (5, 1001); UPDATE $S.items SET big = 'd' WHERE id = 15")
            .await;
        let report = compared(&running, "3").await;
        assert_eq!(figures(&report), (58, 0, 0, 1, 0), "{format:?}: {report:#?}");
        running.stop().await;
        database.clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_on_changing_raise_no_alarm() {
    const ROWS: i64 = 6_000;
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("alarms", 4).await;
    orders(&database, ROWS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let table = format!("{}.orders", database.schema);
    let changing = tokio::spawn(history::change_rows(database.session().await, table, ROWS, 500, Arc::clone(&stop)));
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
    stop.store(true, Ordering::Relaxed);
    let history = changing.await.unwrap();
    let changes: usize = history.values().map(|states| states.len() - 1).sum();
    let report = compared(&running, "at the end").await;
    let left = history.values().filter(|states| states.last().unwrap().is_some()).count() as u64;
    assert_eq!(figures(&report), (left, 0, 0, 0, 0), "{report:#?}");
    println!(
        "{} runs over {changes} changes: 0 false alarms; the last took {} ms",
        reports.len() + 1,
        report.duration_millis
    );
    running.stop().await;
    database.clean().await;
}

fn filtered(config: &mut SyncConfig) {
    let rename = TransformConfig::Rename(BTreeMap::from([("id".to_owned(), "number".to_owned())]));
    let map =
        BTreeMap::from([("twice".to_owned(), "record.v * 2".to_owned()), ("act".to_owned(), "operation".to_owned())]);
    config.transforms = vec![
        TransformConfig::Filter("!has(record.v) || record.v < 100".to_owned()),
        rename,
        TransformConfig::Map(map),
        TransformConfig::Mask(vec!["note".to_owned()]),
    ];
}

#[tokio::test(flavor = "multi_thread")]
async fn what_transforms_leave_out_or_change_is_expected_so() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("transformed", 2).await;
    database
        .run(
            "CREATE TABLE $S.a (id integer PRIMARY KEY, v integer NOT NULL, note text); CREATE TABLE $S.b (LIKE $S.a INCLUDING ALL); \
             ALTER TABLE $S.a REPLICA IDENTITY FULL; ALTER TABLE $S.b REPLICA IDENTITY FULL; \
             INSERT INTO $S.a SELECT i, i, 'a' FROM generate_series(91, 109) i; INSERT INTO $S.b SELECT i, 1, 'b' FROM generate_series(91, 100) i",
        )
        .await;
    let mut config = verified(database.sync(&["a", "b"], Mode::FullAndIncremental, &broker, &topic), None);
    config.format = Format::Debezium;
    filtered(&mut config);
    let running = Running::start(&config).await;
    all_written(&running, &database, 19).await;
    database.run("UPDATE $S.a SET note = 'c' WHERE id = 95; INSERT INTO $S.a VALUES (1, 1, 'd'), (2, 200, 'e')").await;
    let report = compared(&running, "1").await;
    assert_eq!((figures(&report), report.counts.left_out), ((20, 0, 0, 0, 0), 11), "{report:#?}");
    // Rows that were passed on, and are left out since; one that is gone, which the filter may have kept from the topic.
    database.run("UPDATE $S.a SET v = 1000 WHERE id = 96").await;
    unseen(&database, "a", "DELETE FROM $S.a WHERE id = 97; UPDATE $S.a SET v = 7 WHERE id = 98").await;
    let report = compared(&running, "2").await;
    assert_eq!((figures(&report), report.counts.left_out), ((17, 0, 1, 0, 1), 12), "{report:#?}");
    assert_eq!(listed(&report), [(Different, "number=98", "twice,v".to_owned())]);
    // All rows of one table are gone, and some are back.
    database.run("UPDATE $S.a SET note = 'f' WHERE id = 98; TRUNCATE $S.b; INSERT INTO $S.b VALUES (91, 1, 'g'), (7, 1, 'h')").await;
    let report = compared(&running, "3").await;
    assert_eq!(figures(&report), (10, 0, 0, 0, 1), "{report:#?}");
    running.stop().await;

    // Where messages do not tell the table, rows of the same key are not to be told apart.
    config.format = Format::Tapdata;
    let running = Running::start(&config).await;
    running.until("the log", |_, sync| sync.lag == Some(0)).await;
    let error = outcome(&running, "4").await.error.unwrap();
    assert!(error.reason == "NotComparable" && error.message.contains("has rows of several tables"), "{error:?}");
    running.stop().await;
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_never_changed_are_not_missed_where_only_changes_are_read() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("changes", 2).await;
    database.run("CREATE TABLE $S.t (id integer PRIMARY KEY, v integer); INSERT INTO $S.t SELECT i, 0 FROM generate_series(1, 9) i").await;
    let config = verified(database.sync(&["t"], Mode::Incremental, &broker, &topic), None);
    let running = Running::start(&config).await;
    running.until("the slot", |_, sync| sync.lag == Some(0)).await;
    database
        .run("UPDATE $S.t SET v = 1 WHERE id < 4; DELETE FROM $S.t WHERE id IN (3, 9); INSERT INTO $S.t VALUES (10, 0)")
        .await;
    let report = compared(&running, "1").await;
    assert_eq!((figures(&report), report.counts.source), ((3, 0, 0, 0, 5), 8), "{report:#?}");
    unseen(&database, "t", "UPDATE $S.t SET v = 2 WHERE id = 1; DELETE FROM $S.t WHERE id = 2").await;
    let report = compared(&running, "2").await;
    assert_eq!(listed(&report), [(Different, "id=1", "v".to_owned()), (Extra, "id=2", String::new())]);
    running.stop().await;
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_once_is_compared_as_it_is() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("once", 2).await;
    database.run("CREATE TABLE $S.t (id integer PRIMARY KEY, v integer); INSERT INTO $S.t SELECT i, 0 FROM generate_series(1, 9) i").await;
    let config = verified(database.sync(&["t"], Mode::Full, &broker, &topic), None);
    let running = Running::start(&config).await;
    running.until("the load", |_, sync| sync.written == 9).await;
    let report = compared(&running, "1").await;
    assert_eq!(figures(&report), (9, 0, 0, 0, 0), "{report:#?}");
    database.run("INSERT INTO $S.t VALUES (10, 0); UPDATE $S.t SET v = 1 WHERE id = 1").await;
    let report = compared(&running, "2").await;
    assert_eq!(listed(&report), [(Missing, "id=10", String::new()), (Different, "id=1", "v".to_owned())]);
    running.stop().await;
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_differences_and_ends_with_a_code() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("command", 2).await;
    database.run("CREATE TABLE $S.t (id integer PRIMARY KEY, v integer); INSERT INTO $S.t SELECT i, 0 FROM generate_series(1, 50) i").await;
    let manifest = |slot: &str| {
        format!(
            r#"
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQConnection
metadata: {{ name: to }}
spec: {{ nameServers: ["{}"] }}
---
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQSync
metadata: {{ name: rows }}
spec:
  source:
    postgres:
      server:
        host: {}
        port: {}
        database: {}
        username: {{ value: {} }}
        password: {{ value: {} }}
      tables: [{}.t]
      slotName: {slot}
      publication: {slot}
  target: {{ connectionRef: {{ name: to }}, topic: {topic} }}
  mode: FullAndIncremental
  format: Tapdata
  verify: {{}}
"#,
            broker.name_server(),
            database.setting("HOST"),
            database.setting("PORT"),
            database.setting("DATABASE"),
            database.setting("APP_USER"),
            database.setting("APP_PASSWORD"),
            database.schema,
        )
    };
    let running = Running::start(&database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic)).await;
    all_written(&running, &database, 50).await;
    let (code, text) = command(&manifest(&database.slot), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("        50  in the window of the source\n        50  at the target as they should be"),
        "{text}"
    );
    unseen(
        &database,
        "t",
        "DELETE FROM $S.t WHERE id = 7; UPDATE $S.t SET v = 1 WHERE id = 8; INSERT INTO $S.t VALUES (99, 0)",
    )
    .await;
    let (code, text) = command(&manifest(&database.slot), &[]);
    assert_eq!(code, Some(1), "{text}");
    let lost = format!("Missing    id=99  table {}.t → {topic}\n", database.schema);
    assert!(
        text.contains(&lost) && text.contains(&format!(" → {topic} (v)\n")) && text.contains("Extra      id=7 "),
        "{text}"
    );
    let (code, text) = command(&manifest(&database.slot), &["-o", "json", "--max", "2"]);
    let report: VerifyReport = serde_json::from_str(&text).unwrap();
    assert_eq!((code, figures(&report), report.findings.len()), (Some(1), (48, 1, 1, 1, 0), 2));
    running.stop().await;
    let (code, text) = command(&manifest("never_begun"), &[]);
    assert!(code == Some(2) && text.contains("is not read in full yet"), "{code:?}: {text}");
    database.clean().await;
}
