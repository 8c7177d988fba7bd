//! What records do to rows.

use rocketmq_connector::rocketmq::Message;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::{Format, OnExists, OnInvalid, OnMissing};

use super::databases::Server;
use super::worker_support::{Broker, unique};
use super::{Running, group, publish, run_through, sync, tapdata, target};

/// Both databases, with a table of this test's own.
fn servers(stem: &str) -> [(Server, String); 2] {
    ["postgres", "mariadb"].map(|instance| (Server::named(instance), unique(stem).replace('-', "_")))
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_make_and_change_rows_of_a_table_that_is_made() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("tapdata", 1).await;
    let messages = [
        ("insert", r#"{"id":1,"name":"a","price":1.5,"paid":true,"tags":["x"]}"#),
        ("insert", r#"{"id":2,"name":"b'\\","price":2.5,"paid":false,"tags":null}"#),
        ("insert", r#"{"id":3,"name":"c"}"#),
        ("update", r#"{"id":1,"name":"A"}"#),
        ("delete", r#"{"id":2}"#),
        ("update", r#"{"id":4,"name":"d","later":"é"}"#),
        ("delete", r#"{"id":9}"#),
        ("insert", r#"{"id":3,"name":"C","price":3.5}"#),
        ("delete", r#"{"id":4}"#),
        ("insert", r#"{"id":4,"name":"D"}"#),
    ];
    publish(&broker, messages.map(|(operation, body)| tapdata(&topic, operation, body)).to_vec()).await;
    for (server, table) in servers("ops") {
        let report = run_through(&sync(&broker, &topic, &server, &table), 10).await;
        assert_eq!((report.written, report.left_out, report.repeated), (9, 1, 0), "{}", server.setting("KIND"));
        let columns = "concat(id, ' ', name, ' ', coalesce(price, 0), ' ', coalesce(later, '-'))";
        let shown = server.rows(&format!("SELECT {columns} FROM {table} ORDER BY id")).await;
        assert_eq!(shown, ["1 A 1.5 -", "3 C 3.5 -", "4 D 0 -"]);
        let paid = if server.is_postgres() { "paid::text" } else { "CAST(paid AS CHAR)" };
        assert!(
            ["true", "1"].contains(&server.rows(&format!("SELECT {paid} FROM {table} WHERE id = 1")).await[0].as_str())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn debezium_and_raw_messages_are_rows() {
    let broker = Broker::named("4.9.7-plain");
    let topic = broker.topic("debezium", 1).await;
    let events = [
        r#"{"op":"c","before":null,"after":{"id":1,"name":"a","at":1700000000123}}"#,
        r#"{"op":"u","before":{"id":1,"name":"a"},"after":{"id":7,"name":"moved","at":1700000000123}}"#,
        r#"{"op":"r","before":null,"after":{"id":2,"name":"b","at":null}}"#,
        r#"{"op":"d","before":{"id":2,"name":"b"},"after":null}"#,
    ];
    let events = events.map(|event| Message::new(&topic, event).with_tag("t").with_key("k1").with_property("p", "v"));
    publish(&broker, events.to_vec()).await;
    for (server, table) in servers("debezium") {
        let at = if server.is_postgres() { "timestamp with time zone" } else { "datetime(3)" };
        server.run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(20), at {at})")).await;
        let owner = server.setting("APP_USER");
        if server.is_postgres() {
            server.run(&format!("ALTER TABLE {table} OWNER TO {owner}")).await;
        }
        let mut config = sync(&broker, &topic, &server, &table);
        config.format = Format::Debezium;
        target(&mut config).create_table = false;
        target(&mut config).key_fields = Vec::new();
        assert_eq!(run_through(&config, 4).await.written, 4);
        let at = if server.is_postgres() { "extract(epoch FROM at)::bigint" } else { "floor(unix_timestamp(at))" };
        let shown = server.rows(&format!("SELECT concat(id, ' ', name, ' ', {at}) FROM {table}")).await;
        assert_eq!(shown, ["7 moved 1700000000"]);

        let raw = unique("raw").replace('-', "_");
        let mut config = sync(&broker, &topic, &server, &raw);
        config.format = Format::Raw;
        target(&mut config).key_fields = Vec::new();
        assert_eq!(run_through(&config, 4).await.written, 4);
        let body = if server.is_postgres() { "convert_from(body, 'UTF8')" } else { "CONVERT(body USING utf8mb4)" };
        let query = format!(
            "SELECT concat(topic, ' ', queue_offset, ' ', tag, ' ', message_keys, ' ', {body}) FROM {raw} ORDER BY queue_offset"
        );
        let shown = server.rows(&query).await;
        assert_eq!(shown[3], format!(r#"{topic} 3 t k1 {{"op":"d","before":{{"id":2,"name":"b"}},"after":null}}"#));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_about_rows_that_exist_or_are_missing() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("policies", 1).await;
    let messages = [
        ("insert", r#"{"id":1,"name":"new"}"#),
        ("insert", r#"{"id":2,"name":"new"}"#),
        ("update", r#"{"id":2,"name":"changed"}"#),
        ("update", r#"{"id":3,"name":"nobody"}"#),
        ("delete", r#"{"id":4}"#),
    ];
    publish(&broker, messages.map(|(operation, body)| tapdata(&topic, operation, body)).to_vec()).await;
    for (server, table) in servers("policies") {
        let owner = server.setting("APP_USER");
        // A second unique index: MySQL would take either for the key.
        server
            .run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(20), mail varchar(20) UNIQUE)"))
            .await;
        if server.is_postgres() {
            server.run(&format!("ALTER TABLE {table} OWNER TO {owner}")).await;
        }
        server.run(&format!("INSERT INTO {table} VALUES (1, 'old', 'm')")).await;
        let mut config = sync(&broker, &topic, &server, &table);
        (config.write.insert, config.write.update, config.write.delete) =
            (OnExists::Ignore, OnMissing::Log, OnMissing::Log);
        let report = run_through(&config, 5).await;
        assert_eq!((report.written, report.left_out), (2, 3), "{}", server.setting("KIND"));
        let shown = server.rows(&format!("SELECT concat(id, ' ', name) FROM {table} ORDER BY id")).await;
        assert_eq!(shown, ["1 old", "2 changed"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_table_refuses_is_named_and_the_others_are_written() {
    let broker = Broker::named("5.4.0-plain");
    for (server, table) in servers("poison") {
        let topic = broker.topic("poison", 1).await;
        let mut messages: Vec<_> =
            (0..40).map(|id| tapdata(&topic, "insert", &format!(r#"{{"id":{id},"name":"n{id}"}}"#))).collect();
        messages[7] = tapdata(&topic, "insert", r#"{"id":7,"name":"far too long for its column"}"#);
        messages[23] = tapdata(&topic, "insert", r#"{"id":"no number","name":"x"}"#);
        messages[30] = tapdata(&topic, "insert", r#"{"id":5,"name":"again"}"#);
        messages[31] = tapdata(&topic, "insert", r#"{"name":"no key"}"#);
        publish(&broker, messages).await;
        server.run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(8))")).await;
        let owner = server.setting("APP_USER");
        if server.is_postgres() {
            server.run(&format!("ALTER TABLE {table} OWNER TO {owner}")).await;
        }
        let mut config = sync(&broker, &topic, &server, &table);
        config.write.insert = OnExists::Fail;
        let running = Running::start(&config).await;
        running.until("the stop", |report, sync| report.state == WorkerState::Failing && sync.written == 7).await;
        let error = running.report().last_error.unwrap();
        assert_eq!(error.reason, "RefusedByTable");
        assert!(
            error.message.starts_with(&format!("topic {topic}, broker broker-a, queue 0, offset 7: ")),
            "{}",
            error.message
        );
        assert!(error.message.contains("too long"), "the database's words should be there: {}", error.message);
        running.stop().await;
        config.errors.on_invalid = OnInvalid::DeadLetter { topic: None };
        let report = run_through(&config, 33).await;
        assert_eq!((report.written, report.dead_lettered), (29, 4), "{}", server.setting("KIND"));
        assert_eq!(server.count(&format!("SELECT count(*) FROM {table}")).await, 36);
        let client = broker.client();
        let stats = client.admin().topic_stats(&format!("%DLQ%{}", group(&config))).await.unwrap();
        assert_eq!(stats.iter().map(|queue| queue.max_offset).sum::<i64>(), 4);
        client.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_and_waited_for() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("missing", 1).await;
    publish(&broker, vec![tapdata(&topic, "insert", r#"{"id":1,"name":"a"}"#)]).await;
    for (server, table) in servers("missing") {
        let mut config = sync(&broker, &topic, &server, &table);
        target(&mut config).create_table = false;
        let running = Running::start(&config).await;
        running
            .until("the trouble", |report, _| {
                report.last_error.as_ref().is_some_and(|error| error.reason == "TableNotFound")
            })
            .await;
        server.run(&format!("CREATE TABLE {table} (id bigint, name varchar(8))")).await;
        if server.is_postgres() {
            server.run(&format!("ALTER TABLE {table} OWNER TO {}", server.setting("APP_USER"))).await;
        }
        running
            .until("no key", |report, _| {
                report.last_error.as_ref().is_some_and(|error| error.reason == "InvalidKeyFields")
            })
            .await;
        server.run(&format!("CREATE UNIQUE INDEX {table}_id ON {table} (id)")).await;
        running.until("the row", |report, sync| sync.written == 1 && report.state == WorkerState::Running).await;
        running.stop().await;
    }
}
