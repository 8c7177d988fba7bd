//! What single changes become, and what stops a sync.

use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::{Ddl, Format, Mode};
use serde_json::{Value, json};

use super::support::{BROKER, Database, Running, change, count, read_all, source};
use super::worker_support::{Broker, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_as_they_happened() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("changes", 4).await;
    database
        .run(
            "CREATE TABLE $S.plain (id integer PRIMARY KEY, name text, big text, amount numeric, at timestamptz, tags text[], doc jsonb); \
             CREATE TABLE $S.whole (id integer PRIMARY KEY, name text, big text); \
             ALTER TABLE $S.plain ALTER big SET STORAGE EXTERNAL; ALTER TABLE $S.whole ALTER big SET STORAGE EXTERNAL; \
             ALTER TABLE $S.whole REPLICA IDENTITY FULL; CREATE TABLE $S.other (id integer)",
        )
        .await;
    let mut config = database.sync(&["plain", "whole"], Mode::Incremental, &broker, &topic);
    source(&mut config).server.tls = Some(database.tls());
    let running = Running::start(&config).await;
    running.until("the slot", |report, sync| report.state == WorkerState::Running && sync.lag == Some(0)).await;
    let (first, changes) = (
        "INSERT INTO $S.plain VALUES (1, 'it''s', repeat('b', 9000), 12.50, '2026-11-26 09:00:00+01', '{a,NULL}', '{\"n\": 1}')",
        [
            "UPDATE $S.plain SET name = NULL WHERE id = 1",
            "UPDATE $S.plain SET id = 2 WHERE id = 1",
            "DELETE FROM $S.plain WHERE id = 2",
            "INSERT INTO $S.whole VALUES (1, 'a', repeat('c', 9000))",
            "UPDATE $S.whole SET name = 'b'",
            "DELETE FROM $S.whole",
            "BEGIN; INSERT INTO $S.plain (id) VALUES (8); ROLLBACK",
            "BEGIN; INSERT INTO $S.plain (id) VALUES (9), (10); COMMIT",
            "TRUNCATE $S.plain",
        ],
    );
    database.run(first).await;
    for statements in changes {
        database.run(statements).await;
    }
    running.until("the changes", |_, sync| sync.written == 11).await;
    // Nothing of the sync's happens, and the slot goes on.
    database.run("INSERT INTO $S.other SELECT generate_series(1, 1000)").await;
    database.confirmed().await;
    running.stop().await;

    let messages = read_all(&broker, &topic).await;
    let of = |key: &str, short: bool| -> Vec<(String, Value)> {
        let of_key = messages.iter().filter(|message| message.keys.first().map(|key| &**key) == Some(key));
        let of_key = of_key.filter(|message| message.body.len() < 1000 || !short);
        of_key.map(change).collect()
    };
    let (b, c) = ("b".repeat(9000), "c".repeat(9000));
    let row = |id: i32, name: Value| json!({"id": id, "name": name, "amount": 12.5, "at": "2026-11-26T08:00:00Z", "tags": ["a", null], "doc": {"n": 1}});
    let operation = |name: &str, body: Value| (name.to_owned(), body);
    let mut first = row(1, json!("it's"));
    first["big"] = json!(b);
    let (plain, whole): (Vec<_>, Vec<_>) = of("1", false)
        .into_iter()
        .partition(|(_, body)| body.get("doc").is_some() || body.as_object().unwrap().len() == 1);
    assert_eq!(
        plain,
        [operation("insert", first), operation("update", row(1, Value::Null)), operation("delete", json!({"id": 1}))],
        "an update of the key is a deletion and an insert"
    );
    let whole_row = |name: &str| json!({"id": 1, "name": name, "big": c});
    assert_eq!(
        whole,
        [operation("insert", whole_row("a")), operation("update", whole_row("b")), operation("delete", whole_row("b"))]
    );
    assert_eq!(of("2", false), [operation("insert", row(2, Value::Null)), operation("delete", json!({"id": 2}))]);
    assert_eq!((of("8", false).len(), of("9", false).len(), of("10", false).len()), (0, 1, 1));
    let unchanged: Vec<_> =
        messages.iter().filter_map(|message| message.properties.get("connector-unchanged")).collect();
    assert_eq!(unchanged, ["big", "big"], "what the log leaves out is named, and FULL leaves nothing out");
    let truncated: Vec<_> = messages.iter().filter(|message| message.properties["mqOp"] == "truncate").collect();
    assert_eq!(change(truncated[0]).1, json!({"table": format!("{}.plain", database.schema)}));
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_refused_until_its_changes_can_be_told() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("keyless", 4).await;
    database.run("CREATE TABLE $S.log (line text); INSERT INTO $S.log VALUES ('a'), ('b'), ('b')").await;
    let mut config = database.sync(&["log"], Mode::FullAndIncremental, &broker, &topic);
    config.format = Format::Debezium;
    let running = Running::start(&config).await;
    let message = running.fails_with("NoReplicaIdentity").await;
    assert!(message.contains("would refuse its updates"), "{message}");
    database.run("UPDATE $S.log SET line = 'c' WHERE line = 'a'").await;
    database.run("ALTER TABLE $S.log REPLICA IDENTITY FULL").await;
    running.until("the load", |_, sync| sync.written == 3).await;
    database.run("UPDATE $S.log SET line = 'd' WHERE line = 'c'; DELETE FROM $S.log WHERE line = 'd'").await;
    running.until("changes", |_, sync| sync.written == 5).await;
    running.stop().await;
    let messages = read_all(&broker, &topic).await;
    let events: Vec<Value> = messages.iter().map(|message| change(message).1).collect();
    let of = |event: &Value| (event["op"].clone(), event["before"]["line"].clone(), event["after"]["line"].clone());
    let (loaded, changed) = events.split_at(3);
    let mut loaded: Vec<_> = loaded.iter().map(|event| event["after"]["line"].as_str().unwrap()).collect();
    loaded.sort_unstable();
    assert_eq!(loaded, ["b", "b", "c"], "all in one queue, the load first");
    let changed: Vec<_> = changed.iter().map(of).collect();
    assert_eq!(changed, [(json!("u"), json!("c"), json!("d")), (json!("d"), json!("d"), Value::Null)]);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_at_a_time_reads_a_slot() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("fence", 1).await;
    database.run("CREATE TABLE $S.t (id integer PRIMARY KEY)").await;
    let config = database.sync(&["t"], Mode::Incremental, &broker, &topic);
    let first = Running::start(&config).await;
    first.until("the slot", |report, sync| report.state == WorkerState::Running && sync.lag == Some(0)).await;
    let second = Running::start(&config).await;
    let message = second.fails_with("SlotInUse").await;
    assert!(message.contains("is in use: process") && message.contains(&database.slot), "{message}");
    database.run("INSERT INTO $S.t VALUES (1)").await;
    first.until("a change", |_, sync| sync.written == 1).await;
    first.stop().await;
    database.run("INSERT INTO $S.t VALUES (2)").await;
    second.until("a change", |report, sync| sync.written == 1 && report.state == WorkerState::Running).await;
    second.stop().await;
    assert_eq!(count(&broker, &topic).await, 2);
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_is_treated_by_the_policy() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("ddl", 1).await;
    database.run("CREATE TABLE $S.t (id integer PRIMARY KEY)").await;
    let mut config = database.sync(&["t"], Mode::Incremental, &broker, &topic);
    let running = Running::start(&config).await;
    running.until("the slot", |report, sync| report.state == WorkerState::Running && sync.lag == Some(0)).await;
    database.run("INSERT INTO $S.t VALUES (1)").await;
    running.until("a change", |_, sync| sync.written == 1).await;
    database.run("ALTER TABLE $S.t ADD note text DEFAULT 'n'").await;
    database.run("INSERT INTO $S.t VALUES (2)").await;
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
    running.stop().await;
    let messages: Vec<_> = read_all(&broker, &topic).await.iter().map(change).collect();
    let note = json!({"name": "note", "type": "text"});
    let definition = json!({"table": format!("{}.t", database.schema), "change": "column note is new",
        "columns": [{"name": "id", "type": "integer"}, note]});
    let expected = [("insert", json!({"id": 1})), ("ddl", definition), ("insert", json!({"id": 2, "note": "n"}))];
    assert_eq!(messages, expected.map(|(operation, body)| (operation.to_owned(), body)));
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_load_comes_to_an_end_and_is_not_repeated() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("full", 2).await;
    database
        .run(
            "CREATE TABLE $S.t (a text, b uuid DEFAULT gen_random_uuid(), PRIMARY KEY (a, b)); \
             INSERT INTO $S.t SELECT (i % 7)::text FROM generate_series(1, 9000) i; CREATE TABLE $S.empty (id integer)",
        )
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
    let keys: std::collections::BTreeSet<_> = messages.iter().map(|message| message.keys.clone()).collect();
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
    let slots = format!("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = '{}'", database.slot);
    assert_eq!(database.text(&slots).await, "0");
    database.clean().await;
}
