//! Settings and rights that a sync cannot work with: each is told with what to do about it.

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::Mode;

use super::changes::reads;
use super::support::{BROKER, Database, Running, script, source};
use super::worker_support::Broker;

/// Runs a sync until it says that it cannot work; reason, message and remedy.
async fn refused(config: &SyncConfig, reason: &str) -> String {
    let running = Running::start(config).await;
    let message = running.fails_with(reason).await;
    let remedy = running.report().last_error.unwrap().remedy;
    running.stop().await;
    println!("{reason}: {message}; {remedy}");
    format!("{message}; {remedy}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_log_what_is_needed_is_told_what_to_change() {
    const INSTANCE: &str = "mysql-source-settings";
    script("up.sh", &["mariadb", INSTANCE, "14308"], &[]);
    let (broker, database) = (Broker::named(BROKER), Database::of(INSTANCE).await);
    let topic = broker.topic("settings", 1).await;
    database.run(&["CREATE TABLE t (id int PRIMARY KEY)"]).await;
    let config = database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic);
    for (name, wrong, right) in [
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_metadata", "NO_LOG", "FULL"),
        ("log_bin_compress", "ON", "OFF"),
    ] {
        database.run(&[&format!("SET GLOBAL {name} = {wrong}")]).await;
        let said = refused(&config, "ReplicationUnavailable").await;
        assert!(said.contains(&format!("{name} of the server is {wrong}")), "{said}");
        assert!(said.contains(&format!("SET GLOBAL {name} = {right}")), "{said}");
        database.run(&[&format!("SET GLOBAL {name} = {right}")]).await;
    }
    // A session that still has another setting is noticed where its changes are in the log.
    let running = Running::start(&config).await;
    reads(&running).await;
    database.run(&["SET SESSION binlog_format = STATEMENT", "INSERT INTO t VALUES (1)"]).await;
    let message = running.fails_with("ReplicationUnavailable").await;
    assert!(message.contains("changes rows of table") && message.contains("and not the rows"), "{message}");
    running.stop().await;
    script("up.sh", &["mariadb", INSTANCE, "14308"], &[("SETTINGS", "skip-log-bin")]);
    let database = Database::of(INSTANCE).await;
    database.run(&["CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await;
    let mut config = database.sync(&["t"], Mode::FullAndIncremental, &broker, &topic);
    let said = refused(&config, "ReplicationUnavailable").await;
    assert!(said.contains("writes no binary log; set log_bin"), "{said}");
    // A full load needs none.
    config.mode = Mode::Full;
    let running = Running::start(&config).await;
    running.until("the load", |_, sync| sync.written == 1 && sync.tables[0].is_complete).await;
    running.stop().await;
    script("down.sh", &[INSTANCE], &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_is_told_which() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("rights", 1).await;
    let user = format!("u{}", &database.name[database.name.len() - 8..]);
    database
        .run(&[
            "CREATE TABLE t (id int PRIMARY KEY)",
            &format!("CREATE USER {user} IDENTIFIED BY 'right-one'"),
            &format!("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON {}.* TO {user}", database.name),
        ])
        .await;
    let mut config = database.sync(&["t"], Mode::Incremental, &broker, &topic);
    source(&mut config).server.username_file = database.file("user", &user);
    source(&mut config).server.password_file = database.file("own", "wrong-one");
    let said = refused(&config, "CredentialsRefused").await;
    assert!(said.contains("correct user name and password"), "{said}");
    database.file("own", "right-one");
    let said = refused(&config, "PermissionDenied").await;
    assert!(said.contains("BINLOG MONITOR") || said.contains("REPLICATION CLIENT"), "{said}");
    database.run(&[&format!("GRANT REPLICATION CLIENT ON *.* TO {user}")]).await;
    let said = refused(&config, "PermissionDenied").await;
    assert!(said.contains("GRANT REPLICATION SLAVE"), "{said}");
    database.run(&[&format!("GRANT REPLICATION SLAVE ON *.* TO {user}")]).await;
    let running = Running::start(&config).await;
    reads(&running).await;
    // A changed password is read when the worker connects again.
    database.run(&[&format!("ALTER USER {user} IDENTIFIED BY 'new-one'")]).await;
    database.file("own", "new-one");
    let lock = format!("SELECT IS_USED_LOCK('rmq.{}')", database.name);
    let session = database.text(&lock).await;
    database.run(&[&format!("KILL {session}"), "INSERT INTO t VALUES (1)"]).await;
    running.until("the change", |report, sync| report.state == WorkerState::Running && sync.written == 1).await;
    running.stop().await;
    database.run(&[&format!("DROP USER {user}")]).await;
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_read_are_named() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("tables", 1).await;
    database
        .run(&[
            "CREATE TABLE aria (id int PRIMARY KEY) ENGINE = Aria",
            "CREATE TABLE typed (id int PRIMARY KEY, u uuid)",
            "CREATE TABLE encoded (id int PRIMARY KEY, c varchar(9) CHARACTER SET gbk)",
            "CREATE TABLE t (id int PRIMARY KEY)",
        ])
        .await;
    for (table, reason, expected) in [
        ("missing", "TableNotFound", "table missing does not exist in database"),
        (
            "aria",
            "UnsupportedEngine",
            "has the engine Aria, whose rows belong to no snapshot; ALTER TABLE `aria` ENGINE = InnoDB",
        ),
        (
            "typed",
            "UnsupportedColumnType",
            "column u of table typed has the type uuid, which is not read; ALTER TABLE `typed`",
        ),
        (
            "encoded",
            "UnsupportedCharacterSet",
            "has the character set gbk, which is not read; ALTER TABLE `encoded`: CONVERT",
        ),
    ] {
        let said = refused(&database.sync(&[table], Mode::Full, &broker, &topic), reason).await;
        assert!(said.contains(expected), "{said}");
    }
    let mut config = database.sync(&["t"], Mode::Incremental, &broker, &topic);
    source(&mut config).server_id = 1;
    let said = refused(&config, "ServerIdInUse").await;
    assert!(said.contains("1 is the server's own id"), "{said}");
    database.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_syncs_of_one_server_id_are_told_so() {
    let (broker, one, two) = (Broker::named(BROKER), Database::new().await, Database::new().await);
    let topic = broker.topic("ids", 1).await;
    let configs = [&one, &two].map(|database| {
        let mut config = database.sync(&["t"], Mode::Incremental, &broker, &topic);
        source(&mut config).server_id = 4_000_000_123;
        config
    });
    for database in [&one, &two] {
        database.run(&["CREATE TABLE t (id int PRIMARY KEY)"]).await;
    }
    let first = Running::start(&configs[0]).await;
    reads(&first).await;
    let second = Running::start(&configs[1]).await;
    let message = first.fails_with("ServerIdInUse").await;
    println!("{message}");
    first.stop().await;
    second.stop().await;
    one.clean().await;
    two.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_distributed_transaction_stops_the_sync_before_it_tells_what_may_not_happen() {
    let (broker, database) = (Broker::named(BROKER), Database::new().await);
    let topic = broker.topic("xa", 1).await;
    database.run(&["CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (id int PRIMARY KEY)"]).await;
    let running = Running::start(&database.sync(&["t"], Mode::Incremental, &broker, &topic)).await;
    reads(&running).await;
    let xa = format!("'{}'", database.name);
    let distributed = async |table: &str, end: &str| {
        let insert = format!("INSERT INTO {table} VALUES (1)");
        let statements = ["XA START", "", "XA END", "XA PREPARE", end];
        for statement in statements {
            let statement = if statement.is_empty() { insert.clone() } else { format!("{statement} {xa}") };
            database.run(&[&statement]).await;
        }
    };
    distributed("other", "XA COMMIT").await;
    database.run(&["INSERT INTO t VALUES (7)"]).await;
    running.until("a change", |_, sync| sync.written == 1).await;
    distributed("t", "XA ROLLBACK").await;
    running.fails_with("DistributedTransaction").await;
    assert_eq!(running.report().sync.unwrap().written, 1);
    running.stop().await;
    database.clean().await;
}
