//! Source and tables compared: rows that are lost, altered or back again are told by key, and nothing else is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rocketmq_connector::rocketmq::Message;
use rocketmq_connector::worker::database::{Access, FailureKind};
use rocketmq_connector::worker::sink::mysql::MySqlConnection;
use rocketmq_connector::worker::sink::postgres::PostgresConnection;
use rocketmq_connector::worker::sink::table::compare::{Compare, Seen, Wanted};
use rocketmq_connector::worker::sink::table::schema::Keyed;
use rocketmq_connector::worker::sink::table::value::Cell;
use rocketmq_connector::worker_config::sync::{Format, OnExists, OnInvalid, OnMissing, SourceConfig};
use rocketmq_connector::worker_config::verify::{Difference, VerifyConfig, VerifyReport};
use rocketmq_connector::worker_config::{SyncConfig, WorkerReport};

use super::databases::Server;
use super::worker_support::verify::{command, listed, outcome};
use super::worker_support::{Broker, unique};
use super::{Running, publish, sync, tapdata, target};

fn verified(broker: &Broker, topic: &str, server: &Server, table: &str) -> SyncConfig {
    let mut config = sync(broker, topic, server, table);
    config.verify = Some(VerifyConfig { interval_millis: None, window_millis: Some(600_000), max_reported: 100 });
    config
}

/// Waits until everything is written and acknowledged.
async fn dealt_with(running: &Running, count: u64) {
    let dealt = |sync: &rocketmq_connector::worker_config::report::SyncReport| {
        sync.written + sync.repeated + sync.left_out + sync.skipped + sync.dead_lettered
    };
    running.until("the end", |_, sync| dealt(sync) == count && sync.in_flight == 0 && sync.lag == Some(0)).await;
}

/// A message about the row `id`, in the order of that row.
fn about(topic: &str, operation: &str, id: usize, body: &str) -> Message {
    tapdata(topic, operation, body).with_sharding_key(id.to_string())
}

/// Values that a database writes otherwise than they come.
fn row(id: usize) -> String {
    format!(
        r#"{{"id":{id},"name":"name {id}","price":{id}.005,"weight":0.1,"at":"2026-01-02T03:04:05.1239+02:00","seen":1700000000123,
        "due":"2026-02-03","doc":{{"b":{id},"a":[1.50,"x"]}},"text_doc":"{{\"z\": 1,  \"a\":2}}","code":"ab","raw":"AQID","paid":true,
        "flags":["a\"b",null],"kind":"6CCD780C-BABA-1026-9564-5B8C656024DB","level":"high"}}"#
    )
}

/// A table with columns of many types.
async fn table(server: &Server) -> String {
    let table = unique("verified").replace('-', "_");
    let types = if server.is_postgres() {
        "price numeric(10,2), weight real, at timestamp(3), seen timestamptz, due date, doc jsonb, text_doc json, code char(6), \
         raw bytea, paid boolean, flags text[], kind uuid, level varchar(10)"
    } else {
        "price decimal(10,2), weight float, at datetime(3), seen timestamp(6) NULL, due date, doc json, text_doc longtext, \
         code char(6), raw blob, paid boolean, flags longtext, kind uuid, level enum('low','High')"
    };
    server.run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(40), {types})")).await;
    if server.is_postgres() {
        server.run(&format!("ALTER TABLE {table} OWNER TO {}", server.setting("APP_USER"))).await;
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_lost_altered_or_back_again_are_told_by_key() {
    for (broker, instance) in [("5.4.0-plain", "postgres"), ("4.9.7-plain", "mariadb")] {
        let (broker, server) = (Broker::named(broker), Server::named(instance));
        let (topic, table) = (broker.topic("verified", 3).await, table(&server).await);
        let mut config = verified(&broker, &topic, &server, &table);
        target(&mut config).create_table = false;
        publish(&broker, (0..200).map(|id| about(&topic, "insert", id, &row(id))).collect()).await;
        let renamed = |id: usize| about(&topic, "update", id, &format!(r#"{{"id":{id},"name":"renamed {id}"}}"#));
        publish(&broker, (0..50).map(renamed).collect()).await;
        let deleted = |id: usize| about(&topic, "delete", id, &format!(r#"{{"id":{id}}}"#));
        publish(&broker, (150..170).map(deleted).collect()).await;
        let running = Running::start(&config).await;
        dealt_with(&running, 270).await;
        let report = outcome(&running, "1").await;
        assert_eq!((report.error.as_ref(), report.findings.as_slice()), (None, &[][..]), "{instance}");
        let counts = report.counts;
        assert_eq!((counts.source, counts.target, counts.left_out, counts.undecided), (270, 200, 0, 0), "{instance}");
        assert!(!counts.has_differences() && report.from_millis <= report.to_millis);

        for statement in [
            "DELETE FROM TABLE WHERE id IN (3, 104)",
            // Letters differ whatever the collation.
            "UPDATE TABLE SET name = 'RENAMED 5' WHERE id = 5",
            "UPDATE TABLE SET price = price + 0.01 WHERE id = 106",
            "UPDATE TABLE SET weight = 0.2, paid = NULL WHERE id = 107",
            "INSERT INTO TABLE (id, name) VALUES (150, 'back'), (151, 'back')",
            // Of somebody else.
            "INSERT INTO TABLE (id, name) VALUES (9001, 'foreign')",
        ] {
            server.run(&statement.replace("TABLE", &table)).await;
        }
        if server.is_postgres() {
            // The order of names and the space between them are nothing that JSON tells.
            let doc = r#"doc = '{"b": 108, "a": [1.5, "x"]}', text_doc = '{"a":2,"z":1}'"#;
            server.run(&format!("UPDATE {table} SET {doc} WHERE id = 108")).await;
        }
        let report = outcome(&running, "2").await;
        let expected = vec![
            (Difference::Missing, "id=104", String::new()),
            (Difference::Missing, "id=3", String::new()),
            (Difference::Different, "id=106", "price".to_owned()),
            (Difference::Different, "id=107", "weight,paid".to_owned()),
            (Difference::Different, "id=5", "name".to_owned()),
            (Difference::Extra, "id=150", String::new()),
            (Difference::Extra, "id=151", String::new()),
        ];
        assert_eq!(listed(&report), expected, "{instance}");
        let counts = report.counts;
        assert_eq!((counts.missing, counts.different, counts.extra), (2, 3, 2));
        assert_eq!((counts.source, counts.target, counts.undecided), (270, 193, 0));
        for finding in &report.findings {
            assert!(finding.place.starts_with(&format!("topic {topic}, broker broker-a, queue ")), "{finding:?}");
            assert!(!finding.id.is_empty() && finding.topic == table, "{finding:?}");
        }
        running.stop().await;

        // A window across a restart: messages of before and after it, and rows that they have put right.
        let mut later = vec![about(&topic, "insert", 3, &row(3)), about(&topic, "update", 5, &row(5)), deleted(150)];
        later.extend((300..310).map(|id| about(&topic, "insert", id, &row(id))));
        publish(&broker, later).await;
        let running = Running::start(&config).await;
        dealt_with(&running, 13).await;
        let report = outcome(&running, "3").await;
        let expected = vec![
            (Difference::Missing, "id=104", String::new()),
            (Difference::Different, "id=106", "price".to_owned()),
            (Difference::Different, "id=107", "weight,paid".to_owned()),
            (Difference::Extra, "id=151", String::new()),
        ];
        assert_eq!(listed(&report), expected, "{instance}");
        assert_eq!((report.counts.source, report.counts.target), (283, 206), "{instance}");
        running.stop().await;
    }
}

/// Changes of few rows, many of each, while they are compared all the time.
async fn steady(broker: &str, server: &Server) {
    let broker = Broker::named(broker);
    let (topic, table) = (broker.topic("steady", 4).await, unique("steady").replace('-', "_"));
    let mut config = verified(&broker, &topic, server, &table);
    config.verify = Some(VerifyConfig { interval_millis: Some(200), window_millis: None, max_reported: 100 });
    let running = Running::start(&config).await;
    running.until("the queues", |_, sync| sync.partitions == 4 && sync.lag == Some(0)).await;
    // Long enough for the worker to note where it begins.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut there = BTreeMap::new();
    for round in 0..125 {
        let messages = (round * 100..(round + 1) * 100).map(|number: usize| {
            // Few rows: most change again between the end of a window and the moment at which they are compared.
            let id = number * 7919 % 90;
            if number.is_multiple_of(11) {
                there.remove(&id);
                return about(&topic, "delete", id, &format!(r#"{{"id":{id}}}"#));
            }
            there.insert(id, number);
            let operation = if number.is_multiple_of(2) { "update" } else { "insert" };
            about(
                &topic,
                operation,
                id,
                &format!(r#"{{"id":{id},"v":{number},"half":{number}.5,"note":"n {number}"}}"#),
            )
        });
        publish(&broker, messages.collect()).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let done = |report: &WorkerReport| report.verify.as_ref().is_some_and(|verify| verify.counts.source == 12_500);
    running.until("all to be compared", |report, _| done(report)).await;
    let report = running.report().verify.unwrap();
    let VerifyReport { runs, duration_millis, counts, .. } = &report;
    println!("{}: {runs} runs of {counts:?}, the last took {duration_millis} ms", server.setting("KIND"));
    assert!(*runs >= 10 && counts.target >= 450, "{report:#?}");
    assert!(!counts.has_differences() && report.error.is_none(), "{report:#?}");
    assert_eq!((counts.undecided, counts.left_out), (0, 0));
    running.stop().await;
    let query = format!("SELECT concat(id, ' ', v) FROM {table} ORDER BY id");
    let expected: Vec<_> = there.iter().map(|(id, number)| format!("{id} {number}")).collect();
    assert_eq!(server.rows(&query).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_on_changing_in_postgres_raise_no_alarm() {
    steady("5.4.0-plain", &Server::named("postgres")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_on_changing_in_mariadb_raise_no_alarm() {
    steady("4.9.7-plain", &Server::named("mariadb")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policies_leave_out_is_no_difference() {
    let broker = Broker::named("5.4.0-plain");
    for server in ["postgres", "mariadb"].map(Server::named) {
        let (topic, table) = (broker.topic("leaves", 1).await, unique("leaves").replace('-', "_"));
        server.run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(8))")).await;
        if server.is_postgres() {
            server.run(&format!("ALTER TABLE {table} OWNER TO {}", server.setting("APP_USER"))).await;
        }
        server.run(&format!("INSERT INTO {table} VALUES (1, 'old'), (2, 'two')")).await;
        let mut config = verified(&broker, &topic, &server, &table);
        (config.write.insert, config.write.update) = (OnExists::Ignore, OnMissing::Ignore);
        config.errors.on_invalid = OnInvalid::DeadLetter { topic: None };
        let messages = [
            ("insert", r#"{"id":1,"name":"new"}"#),
            ("insert", r#"{"id":5,"name":"five"}"#),
            ("update", r#"{"id":2,"name":"TWO"}"#),
            ("update", r#"{"id":9,"name":"nobody"}"#),
            ("insert", r#"{"id":6,"name":"far too long for it"}"#),
            ("delete", r#"{"id":7}"#),
            ("update", r#"{"id":5,"name":"FIVE"}"#),
            ("update", r#"{"id":5,"name":"far too long for it"}"#),
            ("insert", "no json"),
        ];
        publish(&broker, messages.map(|(operation, body)| tapdata(&topic, operation, body)).to_vec()).await;
        let running = Running::start(&config).await;
        dealt_with(&running, 9).await;
        let counts = outcome(&running, "1").await.counts;
        assert!(!counts.has_differences(), "{counts:?}");
        assert_eq!((counts.source, counts.left_out, counts.target, counts.undecided), (9, 3, 4, 1), "{counts:?}");
        server.run(&format!("DELETE FROM {table} WHERE id = 1")).await;
        server.run(&format!("UPDATE {table} SET name = 'five' WHERE id = 5")).await;
        server.run(&format!("UPDATE {table} SET name = 'two' WHERE id = 2")).await;
        let report = outcome(&running, "2").await;
        let expected = vec![
            (Difference::Missing, "id=1", String::new()),
            (Difference::Different, "id=2", "name".to_owned()),
            (Difference::Different, "id=5", "name".to_owned()),
        ];
        assert_eq!(listed(&report), expected, "{}", server.setting("KIND"));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_refused_with_the_reason() {
    let broker = Broker::named("4.9.7-plain");
    for server in ["postgres", "mariadb"].map(Server::named) {
        let (topic, table) = (broker.topic("keyless", 1).await, unique("keyless").replace('-', "_"));
        let mut config = verified(&broker, &topic, &server, &table);
        config.format = Format::Json;
        target(&mut config).key_fields = Vec::new();
        publish(&broker, vec![Message::new(&topic, r#"{"n":1}"#)]).await;
        let running = Running::start(&config).await;
        dealt_with(&running, 1).await;
        let error = outcome(&running, "1").await.error.unwrap();
        assert_eq!(error.reason, "NotComparable", "{error:?}");
        assert!(error.message.contains("has no key"), "{error:?}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_compares_tables_that_messages_name() {
    let broker = Broker::named("5.4.0-plain");
    for server in ["postgres", "mariadb"].map(Server::named) {
        // The table is named after the topic.
        let (topic, group) = (broker.topic("command", 2).await, unique("command"));
        let kind = if server.is_postgres() { "postgres" } else { "mysql" };
        let manifest = format!(
            r#"
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQConnection
metadata: {{ name: from }}
spec: {{ nameServers: ["{}"] }}
---
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQSync
metadata: {{ name: {group} }}
spec:
  source: {{ connectionRef: {{ name: from }}, topics: [{topic}], consumerGroup: {group} }}
  target:
    {kind}:
      server:
        host: {}
        port: {}
        database: {}
        username: {{ value: {} }}
        password: {{ value: {} }}
      keyFields: [id]
      createTable: true
  format: Tapdata
  verify: {{}}
"#,
            broker.name_server(),
            server.setting("HOST"),
            server.setting("PORT"),
            server.setting("DATABASE"),
            server.setting("APP_USER"),
            server.setting("APP_PASSWORD"),
        );
        let verify = |arguments: &[&str]| command(&manifest, arguments);
        let mut config = verified(&broker, &topic, &server, "");
        target(&mut config).table = None;
        if let SourceConfig::RocketMq(source) = &mut config.source {
            source.group = group.clone();
        }
        let message = |id: usize| about(&topic, "insert", id, &format!(r#"{{"id":{id},"v":"x"}}"#));
        publish(&broker, (0..40).map(message).collect()).await;
        let running = Running::start(&config).await;
        dealt_with(&running, 40).await;
        running.stop().await;
        let (code, text) = verify(&["--window", "10m"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains("        40  in the window of the source\n        40  at the target as they should be"),
            "{text}"
        );
        let quoted = if server.is_postgres() { format!("\"{topic}\"") } else { format!("`{topic}`") };
        server.run(&format!("DELETE FROM {quoted} WHERE id = 7")).await;
        server.run(&format!("UPDATE {quoted} SET v = 'y' WHERE id = 8")).await;
        let (code, text) = verify(&["--window", "10m"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!(" → {topic} (v)\n")) && text.contains("Missing    id=7  topic "), "{text}");
        let (code, text) = verify(&["--window", "10m", "-o", "json"]);
        assert_eq!(code, Some(1), "{text}");
        let report: VerifyReport = serde_json::from_str(&text).unwrap();
        let expected =
            vec![(Difference::Missing, "id=7", String::new()), (Difference::Different, "id=8", "v".to_owned())];
        assert_eq!(listed(&report), expected);
    }
}

/// Rows and positions of a look are of one moment, whatever others commit meanwhile.
async fn one_moment<C: Compare>(server: &Server) {
    let (table, sync) = (unique("moment").replace('-', "_"), unique("moment"));
    server.run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name varchar(20))")).await;
    if server.is_postgres() {
        server.run(&format!("ALTER TABLE {table} OWNER TO {}", server.setting("APP_USER"))).await;
    }
    server.run(&format!("INSERT INTO {table} VALUES (1, 'before'), (2, 'before')")).await;
    let config = server.config();
    let mut connection = C::open(&config, &Access::read(&config).unwrap(), &sync).await.unwrap();
    let position =
        "INSERT INTO rocketmq_connector_positions (sync, source_partition, record_offset, record_index, newest_millis)";
    server.run(&format!("{position} VALUES ('{sync}', 'p', 7, 0, 1)")).await;
    let described = connection.describe(&table).await.unwrap().unwrap();
    let keyed = Arc::new(Keyed::new(described, &[]).unwrap());
    let text = |text: &'static str| Cell::Text(Cow::Borrowed(text));
    let (keys, values) = ([[text("1")], [text("2")], [text("3")]], vec![(1, text("before"))]);
    let wanted: Vec<_> = keys.iter().map(|key| Wanted { key, values: &values }).collect();
    let tables = [Arc::clone(&keyed)];
    let positions = connection.look(&sync, &tables).await.unwrap();
    assert_eq!(positions.of("p").map(|stored| stored.offset), Some(7));
    server.run(&format!("UPDATE {table} SET name = 'after' WHERE id = 1")).await;
    server.run(&format!("DELETE FROM {table} WHERE id = 2")).await;
    server.run(&format!("INSERT INTO {table} VALUES (3, 'before')")).await;
    server.run(&format!("UPDATE rocketmq_connector_positions SET record_offset = 8 WHERE sync = '{sync}'")).await;
    for _ in 0..2 {
        let seen = connection.compare(&keyed, 0, &wanted).await.unwrap();
        assert_eq!(seen, [Seen::Same, Seen::Same, Seen::Missing], "{}", server.setting("KIND"));
        // Values that the table cannot hold end nothing.
        let key = [text("no number")];
        let refused = connection.compare(&keyed, 0, &[Wanted { key: &key, values: &values }]).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Data, "{refused}");
    }
    connection.leave().await.unwrap();
    let positions = connection.look(&sync, &tables).await.unwrap();
    assert_eq!(positions.of("p").map(|stored| stored.offset), Some(8));
    let seen = connection.compare(&keyed, 0, &wanted).await.unwrap();
    assert_eq!(seen, [Seen::Different(vec![1]), Seen::Missing, Seen::Same], "{}", server.setting("KIND"));
    connection.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_positions_are_looked_at_as_of_one_moment() {
    one_moment::<PostgresConnection>(&Server::named("postgres")).await;
    one_moment::<MySqlConnection>(&Server::named("mariadb")).await;
}
