//! Values of all types, which are the same whether they are loaded or changed.

use rocketmq_connector::worker_config::sync::Mode;
use serde_json::{Value, json};

use super::changes::reads;
use super::support::{BROKER, Database, Running, change, read_all};
use super::worker_support::Broker;

/// Definition of a column, values of two rows as statements write them, and as messages have them.
pub const COLUMNS: &[(&str, [&str; 2], [&str; 2])] = &[
    ("tinyint", ["-128", "127"], ["-128", "127"]),
    ("tinyint unsigned", ["0", "255"], ["0", "255"]),
    ("smallint unsigned", ["0", "65535"], ["0", "65535"]),
    ("mediumint", ["-8388608", "8388607"], ["-8388608", "8388607"]),
    ("mediumint unsigned", ["0", "16777215"], ["0", "16777215"]),
    ("int", ["-2147483648", "2147483647"], ["-2147483648", "2147483647"]),
    ("int unsigned", ["0", "4294967295"], ["0", "4294967295"]),
    ("bigint", ["-9223372036854775808", "9223372036854775807"], ["-9223372036854775808", "9223372036854775807"]),
    ("bigint unsigned", ["0", "18446744073709551615"], ["0", "18446744073709551615"]),
    ("year", ["0", "2026"], ["0", "2026"]),
    ("smallint unsigned", ["40000", "3"], ["40000", "3"]),
    ("boolean", ["true", "false"], ["1", "0"]),
    ("float", ["1.1", "16777216"], ["1.1", "16777216.0"]),
    ("double", ["0.1", "-1e300"], ["0.1", "-1e300"]),
    ("decimal(5,2)", ["-12.50", "0.05"], ["-12.5", "0.05"]),
    ("decimal(5,2) unsigned", ["999.99", "0"], ["999.99", "0.0"]),
    ("decimal(30,10)", ["-12345678901234567890.0123456789", "0"], [r#""-12345678901234567890.0123456789""#, "0.0"]),
    ("decimal(18,9)", ["123456789.123456789", "-0.000000001"], [r#""123456789.123456789""#, "-0.000000001"]),
    ("bit(1)", ["b'1'", "b'0'"], ["1", "0"]),
    ("bit(17)", ["b'10000000000000001'", "5"], ["65537", "5"]),
    ("date", ["'2026-11-26'", "'1000-01-01'"], [r#""2026-11-26""#, r#""1000-01-01""#]),
    ("time", ["'-838:59:59'", "'08:00:00'"], [r#""-838:59:59""#, r#""08:00:00""#]),
    ("time(1)", ["'-00:00:00.5'", "'01:02:03.4'"], [r#""-00:00:00.5""#, r#""01:02:03.4""#]),
    ("time(3)", ["'-01:00:00.250'", "'01:02:03.004'"], [r#""-01:00:00.25""#, r#""01:02:03.004""#]),
    ("time(6)", ["'-00:00:01.000001'", "'12:00:00'"], [r#""-00:00:01.000001""#, r#""12:00:00""#]),
    (
        "datetime",
        ["'2026-11-26 08:00:00'", "'9999-12-31 23:59:59'"],
        [r#""2026-11-26T08:00:00""#, r#""9999-12-31T23:59:59""#],
    ),
    (
        "datetime(2)",
        ["'2026-11-26 08:00:00.25'", "'1000-01-01 00:00:00'"],
        [r#""2026-11-26T08:00:00.25""#, r#""1000-01-01T00:00:00""#],
    ),
    (
        "datetime(6)",
        ["'2026-11-26 08:00:00.000001'", "'2026-02-03 04:05:06'"],
        [r#""2026-11-26T08:00:00.000001""#, r#""2026-02-03T04:05:06""#],
    ),
    (
        "timestamp NULL",
        ["'2026-11-26 08:00:00'", "'1970-01-01 00:00:01'"],
        [r#""2026-11-26T08:00:00Z""#, r#""1970-01-01T00:00:01Z""#],
    ),
    (
        "timestamp(3) NULL",
        ["'2026-11-26 08:00:00.5'", "'2038-01-19 03:14:07'"],
        [r#""2026-11-26T08:00:00.5Z""#, r#""2038-01-19T03:14:07Z""#],
    ),
    ("char(5)", ["'a '", "'äöü€😀'"], [r#""a""#, r#""äöü€😀""#]),
    ("char(100)", ["repeat('ä', 100)", "''"], ["100ä", r#""""#]),
    ("varchar(20)", ["'it''s '", "'😀'"], [r#""it's ""#, r#""😀""#]),
    ("varchar(300)", ["'\\\\\"'", "'中'"], [r#""\\\"""#, r#""中""#]),
    ("varchar(20) CHARACTER SET latin1", ["'äß€'", "'a'"], [r#""äß€""#, r#""a""#]),
    ("text CHARACTER SET ascii", ["'a'", "'b'"], [r#""a""#, r#""b""#]),
    ("text CHARACTER SET utf8mb3", ["'é'", "'中'"], [r#""é""#, r#""中""#]),
    ("tinytext", ["'a'", "'b'"], [r#""a""#, r#""b""#]),
    ("mediumtext", ["repeat('m', 70000)", "'b'"], ["70000m", r#""b""#]),
    ("longtext", ["'a'", "'b'"], [r#""a""#, r#""b""#]),
    ("json", [r#"'{"b": [1, null, "x"], "a": 1.5}'"#, "'[]'"], [r#"{"a": 1.5, "b": [1, null, "x"]}"#, "[]"]),
    ("binary(4)", ["x'07'", "x'00000000'"], [r#""BwAAAA==""#, r#""AAAAAA==""#]),
    ("binary(255)", ["x'01'", "repeat(x'02', 255)"], ["binary1", "binary2"]),
    ("varbinary(4)", ["x'0700'", "x''"], [r#""BwA=""#, r#""""#]),
    ("blob", ["x'0aff'", "x'00'"], [r#""Cv8=""#, r#""AA==""#]),
    ("longblob", ["x'0a'", "x'00'"], [r#""Cg==""#, r#""AA==""#]),
    ("enum('small', 'it''s, big', 'Ü')", ["'it''s, big'", "'Ü'"], [r#""it's, big""#, r#""Ü""#]),
    ("enum('x') CHARACTER SET latin1", ["'x'", "NULL"], [r#""x""#, "null"]),
    ("set('a', 'b', 'ö')", ["'ö,a'", "''"], [r#""a,ö""#, r#""""#]),
    ("point", ["ST_GeomFromText('POINT(1 2)')", "NULL"], [r#""AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==""#, "null"]),
    ("int", ["NULL", "NULL"], ["null", "null"]),
];

fn expected(text: &str) -> Value {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| json!(base64::engine::general_purpose::STANDARD.encode(bytes));
    let mut padded = vec![0; 255];
    padded[0] = 1;
    match text {
        "100ä" => json!("ä".repeat(100)),
        "70000m" => json!("m".repeat(70_000)),
        "binary1" => base64(&padded),
        "binary2" => base64(&[2; 255]),
        text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")),
    }
}

/// Creates a table of all types.
pub fn create(table: &str) -> String {
    let columns: Vec<String> =
        COLUMNS.iter().enumerate().map(|(number, (definition, ..))| format!("c{number} {definition}")).collect();
    format!("CREATE TABLE {table} (id int PRIMARY KEY, {})", columns.join(", "))
}

/// Inserts a row with the first or the second values.
pub fn row(table: &str, id: i32, which: usize) -> String {
    let values: Vec<&str> = COLUMNS.iter().map(|(_, values, _)| values[which]).collect();
    format!("INSERT INTO {table} VALUES ({id}, {})", values.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_types_are_the_same_from_the_table_and_from_the_log() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("types", 1).await;
    database
        .run(&["SET NAMES utf8mb4", "SET time_zone = '+00:00'", &create("t"), &row("t", 1, 0), &row("t", 2, 1)])
        .await;
    let config = database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic);
    let running = Running::start(&config).await;
    running.until("the load", |_, sync| sync.written == 2).await;
    reads(&running).await;
    database
        .run(&[&row("t", 3, 0), &row("t", 4, 1), "UPDATE t SET id = -id WHERE id > 2", "DELETE FROM t WHERE id < 0"])
        .await;
    running.until("the changes", |_, sync| sync.written == 10).await;
    running.stop().await;
    let messages: Vec<_> = read_all(&broker, &topic).await.iter().map(change).collect();
    assert_eq!(messages.len(), 10);
    for (operation, body) in &messages {
        let which = usize::from(body["id"].as_i64().unwrap().unsigned_abs() % 2 == 0);
        for (number, (definition, _, texts)) in COLUMNS.iter().enumerate() {
            let (value, expected) = (&body[format!("c{number}")], expected(texts[which]));
            assert_eq!(*value, expected, "{definition} of row {}, {operation}", body["id"]);
        }
    }
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_that_no_calendar_has_are_texts() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("zeros", 1).await;
    let rows = "'0000-00-00', '0000-00-00', '0000-00-00'), (NULL, '2026-00-00', '2026-11-00 01:02:03', NULL";
    database
        .run(&[
            "SET sql_mode = ''",
            "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, a date, b datetime, c timestamp NULL)",
            &format!("INSERT INTO t VALUES (NULL, {rows})"),
        ])
        .await;
    let running = Running::start(&database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic)).await;
    running.until("the load", |_, sync| sync.written == 2).await;
    reads(&running).await;
    database.run(&[&format!("INSERT INTO t VALUES (NULL, {rows})")]).await;
    running.until("the changes", |_, sync| sync.written == 4).await;
    running.stop().await;
    let zero = "0000-00-00 00:00:00";
    let expected = [json!(["0000-00-00", zero, zero]), json!(["2026-00-00", "2026-11-00 01:02:03", null])];
    for (number, message) in read_all(&broker, &topic).await.iter().enumerate() {
        let (_, body) = change(message);
        assert_eq!(json!([body["a"], body["b"], body["c"]]), expected[number % 2]);
    }
    database.clean().await;
}
