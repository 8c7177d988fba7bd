//! A database of the test set-up, syncs out of it, and what a topic then holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use futures::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row};
use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::connection::TlsFiles;
use rocketmq_connector::worker_config::sync::{
    BatchConfig, DatabaseConfig, Ddl, ErrorConfig, Format, Mode, MySqlSourceConfig, OnInvalid, SourceConfig,
    TargetConfig,
};
use tokio::sync::Mutex;

pub use super::worker_support::sync::{Process, Running};
use super::worker_support::sync::{pipeline, to_topic};
pub use super::worker_support::topic::{change, count, read_all};
use super::worker_support::{Broker, unique};

pub const BROKER: &str = "5.4.0-plain";

/// A database of a test's own in a server, with an administrator's session; [`clean`](Self::clean) removes it.
pub struct Database {
    settings: BTreeMap<String, String>,
    admin: Mutex<Conn>,
    pub name: String,
    folder: tempfile::TempDir,
}

/// Runs a script of the databases.
pub fn script(name: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    let path = format!("{}/tests/cluster/databases/{name}", env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(path).args(arguments).envs(environment.iter().copied()).output().unwrap();
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
}

fn settings(instance: &str) -> BTreeMap<String, String> {
    let folder =
        std::env::var("DATABASES_TEST_RUN").expect("DATABASES_TEST_RUN should name the folder of the databases");
    let path = PathBuf::from(folder).join(instance).join("env");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

async fn connect(settings: &BTreeMap<String, String>, database: Option<&str>) -> Conn {
    let options = OptsBuilder::default()
        .ip_or_hostname(&settings["HOST"])
        .tcp_port(settings["PORT"].parse().unwrap())
        .user(Some(&settings["ADMIN_USER"]))
        .pass(Some(&settings["ADMIN_PASSWORD"]))
        .db_name(database)
        .prefer_socket(false);
    Conn::new(options).await.unwrap()
}

impl Database {
    /// A database in the shared server.
    pub async fn new() -> Self {
        Self::of("mariadb").await
    }

    /// A database in the server of this name.
    pub async fn of(instance: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = settings(instance);
        let mut admin = connect(&settings, None).await;
        let name = unique("rows").replace('-', "_");
        let user = &settings["APP_USER"];
        for statement in [
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"),
            format!("GRANT ALL ON {name}.* TO {user}"),
            format!("USE {name}"),
        ] {
            admin.query_drop(statement).await.unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        for (file, key) in [("username", "APP_USER"), ("password", "APP_PASSWORD")] {
            std::fs::write(folder.path().join(file), &settings[key]).unwrap();
        }
        Self { settings, admin: admin.into(), name, folder }
    }

    /// Connects again after the server was restarted.
    pub async fn reconnect(&mut self) {
        self.admin = connect(&self.settings, Some(&self.name)).await.into();
    }

    /// Another session, which runs transactions.
    pub async fn session(&self) -> impl FnMut(Vec<String>) -> BoxFuture<'static, ()> + use<> {
        let conn = Arc::new(Mutex::new(connect(&self.settings, Some(&self.name)).await));
        move |statements| {
            let conn = Arc::clone(&conn);
            Box::pin(async move {
                let mut conn = conn.lock().await;
                for statement in statements {
                    conn.query_drop(statement).await.unwrap();
                }
            })
        }
    }

    /// Runs statements, as an administrator.
    pub async fn run(&self, statements: &[&str]) {
        let mut admin = self.admin.lock().await;
        for statement in statements {
            admin.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    }

    pub async fn text(&self, query: &str) -> String {
        let found: Option<Row> = self.admin.lock().await.query_first(query).await.unwrap();
        found.and_then(|row| row.get::<Option<String>, _>(0).flatten()).unwrap_or_default()
    }

    /// Where the worker is in the log, and whether a table is loaded.
    pub async fn progress(&self, column: &str, table: &str) -> String {
        let name = if table.is_empty() { String::new() } else { format!("{}.{table}", self.name) };
        self.text(&format!("SELECT {column} FROM rocketmq_connector_sync_table WHERE name = '{name}'")).await
    }

    pub fn setting(&self, name: &str) -> &str {
        &self.settings[name]
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file that a worker reads; its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub fn tls(&self) -> TlsFiles {
        TlsFiles { ca: Some(self.settings["CA_FILE"].clone()), ..TlsFiles::default() }
    }

    /// A sync of these tables to a topic.
    pub fn sync(&self, tables: &[&str], mode: Mode, broker: &Broker, topic: &str) -> SyncConfig {
        let file = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        let number = self.name.bytes().fold(7_u32, |number, byte| number.wrapping_mul(31).wrapping_add(byte.into()));
        let source = SourceConfig::MySql(MySqlSourceConfig {
            server: DatabaseConfig {
                host: self.settings["HOST"].clone(),
                port: self.settings["PORT"].parse().unwrap(),
                database: self.name.clone(),
                username_file: file("username"),
                password_file: file("password"),
                tls: None,
            },
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            slot: self.name.clone(),
            server_id: number.max(1000),
            ddl: Ddl::Stop,
        });
        let target = TargetConfig::RocketMq(to_topic(broker, topic, &self.name));
        SyncConfig {
            mode,
            format: Format::Tapdata,
            batch: BatchConfig { max_records: 500, max_bytes: 1 << 20, max_wait_millis: 50 },
            errors: ErrorConfig { retry_interval_millis: 500, retry_for_millis: None, on_invalid: OnInvalid::Stop },
            ..pipeline(&self.name, source, target)
        }
    }

    /// Removes the database.
    pub async fn clean(&self) {
        self.run(&[&format!("DROP DATABASE {}", self.name)]).await;
    }
}

pub fn source(config: &mut SyncConfig) -> &mut MySqlSourceConfig {
    match &mut config.source {
        SourceConfig::MySql(source) => source,
        _ => unreachable!("the source of these tests is MySQL"),
    }
}
