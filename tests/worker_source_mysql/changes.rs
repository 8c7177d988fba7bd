//! What single changes become, and what stops a sync.

use std::time::Instant;

use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::{Ddl, Format, Mode};
use serde_json::{Value, json};

use super::all;
use super::support::{BROKER, Database, Running, change, count, read_all, source};
use super::worker_support::{Broker, eventually};

/// Waits until changes are read.
pub async fn reads(running: &Running) {
    running.until("the log", |report, sync| report.state == WorkerState::Running && sync.lag == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_as_they_happened() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("changes", 4).await;
    database
        .run(&[
            "CREATE TABLE plain (id int unsigned PRIMARY KEY, name text, amount decimal(10,2), doc json, \
             twice int AS (id * 2) STORED)",
            "CREATE TABLE other (id int)",
        ])
        .await;
    let mut config = database.sync(&["plain"], Mode::Incremental, &broker, &topic);
    source(&mut config).server.tls = Some(database.tls());
    let running = Running::start(&config).await;
    reads(&running).await;
    database
        .run(&[
            "INSERT INTO plain (id, name, amount, doc) VALUES (1, 'it''s', 12.50, '{\"n\": 1}')",
            "UPDATE plain SET name = NULL WHERE id = 1",
            "UPDATE plain SET id = 2 WHERE id = 1",
            "DELETE FROM plain WHERE id = 2",
            "BEGIN",
            "INSERT INTO plain (id) VALUES (8)",
            "ROLLBACK",
            "BEGIN",
            "INSERT INTO plain (id) VALUES (9), (10)",
            "INSERT INTO other VALUES (1)",
            "SAVEPOINT a",
            "DELETE FROM plain WHERE id = 9",
            "ROLLBACK TO a",
            "COMMIT",
            "TRUNCATE TABLE plain",
            "TRUNCATE other",
        ])
        .await;
    running.until("the changes", |_, sync| sync.written == 8 && sync.in_flight == 0).await;
    running.stop().await;

    let messages = read_all(&broker, &topic).await;
    let of = |key: &str| -> Vec<(String, Value)> {
        let of_key = messages.iter().filter(|message| message.keys.first().map(|key| &**key) == Some(key));
        of_key.map(change).collect()
    };
    let row = |id: i32, name: Value| json!({"id": id, "name": name, "amount": 12.5, "doc": {"n": 1}});
    let operation = |name: &str, body: Value| (name.to_owned(), body);
    assert_eq!(
        of("1"),
        [
            operation("insert", row(1, json!("it's"))),
            operation("update", row(1, Value::Null)),
            operation("delete", row(1, Value::Null)),
        ],
        "an update of the key is a deletion and an insert"
    );
    assert_eq!(of("2"), [operation("insert", row(2, Value::Null)), operation("delete", row(2, Value::Null))]);
    assert_eq!((of("8").len(), of("9").len(), of("10").len()), (0, 1, 1));
    let truncated: Vec<_> = messages.iter().filter(|message| message.properties["mqOp"] == "truncate").collect();
    assert_eq!(change(truncated[0]).1, json!({"table": format!("{}.plain", database.name)}));
    assert_eq!(messages.len(), 8);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_read_in_one_piece_and_in_order() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("keyless", 4).await;
    database.run(&["CREATE TABLE log (line text)", "INSERT INTO log VALUES ('a'), ('b'), ('b')"]).await;
    let mut config = database.sync(&["log"], Mode::FullAndIncremental, &broker, &topic);
    config.format = Format::Debezium;
    let running = Running::start(&config).await;
    running.until("the load", |_, sync| sync.written == 3).await;
    database.run(&["UPDATE log SET line = 'd' WHERE line = 'a'", "DELETE FROM log WHERE line = 'd'"]).await;
    running.until("changes", |_, sync| sync.written == 5).await;
    running.stop().await;
    let messages = read_all(&broker, &topic).await;
    let events: Vec<Value> = messages.iter().map(|message| change(message).1).collect();
    let of = |event: &Value| (event["op"].clone(), event["before"]["line"].clone(), event["after"]["line"].clone());
    let (loaded, changed) = events.split_at(3);
    let mut loaded: Vec<_> = loaded.iter().map(|event| event["after"]["line"].as_str().unwrap()).collect();
    loaded.sort_unstable();
    assert_eq!(loaded, ["a", "b", "b"], "all in one queue, the load first");
    let changed: Vec<_> = changed.iter().map(of).collect();
    assert_eq!(changed, [(json!("u"), json!("a"), json!("d")), (json!("d"), json!("d"), Value::Null)]);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_at_a_time_reads() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("fence", 1).await;
    database.run(&["CREATE TABLE t (id int PRIMARY KEY)"]).await;
    let config = database.sync(&["t"], Mode::Incremental, &broker, &topic);
    let first = Running::start(&config).await;
    reads(&first).await;
    let second = Running::start(&config).await;
    let message = second.fails_with("SourceInUse").await;
    assert!(message.contains("is in use: connection") && message.contains(&database.name), "{message}");
    database.run(&["INSERT INTO t VALUES (1)"]).await;
    first.until("a change", |_, sync| sync.written == 1).await;
    first.stop().await;
    database.run(&["INSERT INTO t VALUES (2)"]).await;
    second.until("a change", |report, sync| sync.written == 1 && report.state == WorkerState::Running).await;
    // Whoever has lost the lock connects again, and writes no progress until it has it.
    let lock = format!("SELECT IS_USED_LOCK('rmq.{}')", database.name);
    let before = database.text(&lock).await;
    database.run(&[&format!("KILL {before}"), "INSERT INTO t VALUES (3)"]).await;
    second.until("one more", |report, sync| sync.written == 2 && report.state == WorkerState::Running).await;
    eventually("another session", async || !["", &before].contains(&database.text(&lock).await.as_str())).await;
    second.stop().await;
    assert_eq!(count(&broker, &topic).await, 3);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_is_treated_by_the_policy() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("ddl", 1).await;
    database.run(&["CREATE TABLE t (id int PRIMARY KEY)"]).await;
    let mut config = database.sync(&["t"], Mode::Incremental, &broker, &topic);
    let running = Running::start(&config).await;
    reads(&running).await;
    database.run(&["INSERT INTO t VALUES (1)"]).await;
    running.until("a change", |_, sync| sync.written == 1).await;
    database.run(&["ALTER TABLE t ADD note varchar(20) DEFAULT 'n'", "INSERT INTO t (id) VALUES (2)"]).await;
    let message = running.fails_with("DefinitionChanged").await;
    assert!(message.ends_with("has changed: column note is new"), "{message}");
    running.stop().await;
    // It stays stopped until somebody decides.
    let running = Running::start(&config).await;
    running.fails_with("DefinitionChanged").await;
    running.stop().await;
    source(&mut config).ddl = Ddl::Forward;
    let running = Running::start(&config).await;
    running.until("the rest", |_, sync| sync.written == 2).await;
    // Each row is told with the columns that it had, although they are others by now.
    database
        .run(&[
            "BEGIN",
            "INSERT INTO t (id) VALUES (3)",
            "COMMIT",
            "ALTER TABLE t DROP note",
            "INSERT INTO t (id) VALUES (4)",
            "DROP TABLE t",
        ])
        .await;
    running.until("more", |_, sync| sync.written == 6).await;
    running.stop().await;
    let messages: Vec<_> = read_all(&broker, &topic).await.iter().map(change).collect();
    let table = format!("{}.t", database.name);
    let id = json!({"name": "id", "type": "int"});
    let note = json!({"name": "note", "type": "varchar of 80 bytes"});
    let expected = [
        ("insert", json!({"id": 1})),
        ("ddl", json!({"table": table, "change": "column note is new", "columns": [id, note]})),
        ("insert", json!({"id": 2, "note": "n"})),
        ("insert", json!({"id": 3, "note": "n"})),
        ("ddl", json!({"table": table, "change": "column note is gone", "columns": [id]})),
        ("insert", json!({"id": 4})),
        ("ddl", json!({"table": table, "change": "the table was dropped"})),
    ];
    assert_eq!(messages, expected.map(|(operation, body)| (operation.to_owned(), body)));
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_load_comes_to_an_end_and_is_not_repeated() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("full", 2).await;
    database
        .run(&[
            "CREATE TABLE t (a varchar(10) CHARACTER SET latin1, b binary(16), c decimal(5,1), d datetime(3), \
             PRIMARY KEY (a, b, c, d))",
            "INSERT INTO t SELECT concat('ä', seq % 7), unhex(md5(seq)), seq % 13 / 10, \
             '2026-11-26' + INTERVAL seq % 11 SECOND FROM seq_1_to_9000",
            "CREATE TABLE empty (id int) ENGINE = InnoDB",
        ])
        .await;
    let config = database.sync(&["t", "empty"], Mode::Full, &broker, &topic);
    for _ in 0..2 {
        let running = Running::start(&config).await;
        let report =
            running.until("the end", |_, sync| sync.tables.iter().filter(|table| table.is_complete).count() == 2).await;
        assert_eq!(report.tables.iter().map(|table| table.rows).max(), Some(9000));
        eventually("all rows", async || count(&broker, &topic).await >= 9000).await;
        running.stop().await;
    }
    let messages = read_all(&broker, &topic).await;
    let keys: std::collections::BTreeSet<_> = messages.iter().map(|message| message.body.clone()).collect();
    assert_eq!((messages.len(), keys.len()), (9000, 9000));
    // What happened to a table that was not read for a while is not known.
    for tables in [&["empty"][..], &["t", "empty"]] {
        let running = Running::start(&database.sync(tables, Mode::Full, &broker, &topic)).await;
        running
            .until("the end", |_, sync| sync.tables.iter().filter(|table| table.is_complete).count() == tables.len())
            .await;
        running.stop().await;
    }
    eventually("all rows again", async || count(&broker, &topic).await == 18_000).await;
    database.clean().await;
}

/// Keys of texts are placed among the chunks as the database orders them, not as their bytes are.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_rows_with_keys_of_text_fit_to_their_chunks() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("texts", 4).await;
    database
        .run(&[
            "CREATE TABLE t (k varchar(40) CHARACTER SET latin1 COLLATE latin1_german2_ci, n int, v int NOT NULL, \
             PRIMARY KEY (k, n))",
            "INSERT INTO t SELECT concat(elt(seq % 4 + 1, 'Ärger', 'zebra', 'affe', 'Öl'), seq), seq % 3, 0 \
             FROM seq_1_to_20000",
        ])
        .await;
    let mut changing = database.session().await;
    let changes = tokio::spawn(async move {
        let started = Instant::now();
        for number in 0..u32::MAX {
            let which = number % 100;
            changing(vec![format!("UPDATE t SET v = v + 1 WHERE k LIKE '%{which:02}' AND n = {}", number % 3)]).await;
            if started.elapsed().as_secs() >= 8 {
                return;
            }
        }
    });
    let running = Running::start(&database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic)).await;
    running.until("the load", |_, sync| sync.tables.first().is_some_and(|table| table.is_complete)).await;
    changes.await.unwrap();
    all(&running, &database, "INSERT INTO t VALUES ('last', 0, 0)").await;
    running.stop().await;
    let mut states: std::collections::BTreeMap<String, Vec<i64>> = std::collections::BTreeMap::new();
    for message in read_all(&broker, &topic).await {
        let row = change(&message).1;
        states.entry(format!("{}/{}", row["k"], row["n"])).or_default().push(row["v"].as_i64().unwrap());
    }
    let (mut late, mut later) = (0, 0);
    for (key, states) in &states {
        assert!(states.windows(2).all(|pair| pair[1] == pair[0] + 1), "{key}: {states:?}");
        (late, later) = (late + usize::from(states[0] > 0), later + states.len() - 1);
    }
    let sum = states.values().map(|states| states[states.len() - 1]).sum::<i64>();
    assert_eq!(sum.to_string(), database.text("SELECT sum(v) FROM t").await, "the last state of each row is there");
    println!("{} rows with keys of text: {late} loaded late, {later} changes, 0 lost, 0 twice", states.len());
    assert!(late > 0 && later > 0 && states.len() == 20_001);
    database.clean().await;
}
