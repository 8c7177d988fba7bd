//! A database of the test set-up, syncs out of it, and what a topic then holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::connection::TlsFiles;
use rocketmq_connector::worker_config::sync::{
    BatchConfig, DatabaseConfig, Ddl, ErrorConfig, Format, Mode, OnInvalid, PostgresSourceConfig, SourceConfig,
    TargetConfig,
};
use tokio_postgres::{Client, NoTls};

pub use super::worker_support::sync::{Process, Running};
use super::worker_support::sync::{pipeline, to_topic};
pub use super::worker_support::topic::{change, count, read_all};
use super::worker_support::{Broker, eventually, unique};

pub const BROKER: &str = "5.4.0-plain";

/// A schema of its own in a database, with the slot that belongs to it; [`clean`](Self::clean) removes both.
pub struct Database {
    settings: BTreeMap<String, String>,
    pub client: Client,
    pub schema: String,
    pub slot: String,
    folder: tempfile::TempDir,
}

fn settings(instance: &str) -> BTreeMap<String, String> {
    let folder =
        std::env::var("DATABASES_TEST_RUN").expect("DATABASES_TEST_RUN should name the folder of the databases");
    let path = PathBuf::from(folder).join(instance).join("env");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Database {
    /// A schema in the shared database.
    pub async fn new() -> Self {
        Self::of("postgres").await
    }

    pub async fn of(instance: &str) -> Self {
        let settings = settings(instance);
        let client = connect(&settings).await;
        let name = unique("rows").replace('-', "_");
        client.batch_execute(&format!("CREATE SCHEMA {name}")).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (file, key) in [("username", "APP_USER"), ("password", "APP_PASSWORD")] {
            std::fs::write(folder.path().join(file), &settings[key]).unwrap();
        }
        Self { settings, client, slot: name.clone(), schema: name, folder }
    }

    /// Connects again after the server was restarted.
    pub async fn reconnect(&mut self) {
        self.client = connect(&self.settings).await;
    }

    /// Another session, which runs transactions.
    pub async fn session(&self) -> impl FnMut(Vec<String>) -> BoxFuture<'static, ()> + use<> {
        let client = Arc::new(connect(&self.settings).await);
        move |statements| {
            let client = Arc::clone(&client);
            Box::pin(async move { client.batch_execute(&statements.join(";")).await.unwrap() })
        }
    }

    pub async fn run(&self, statements: &str) {
        let statements = statements.replace("$S", &self.schema);
        self.client.batch_execute(&statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    pub async fn text(&self, query: &str) -> String {
        let row = self.client.query_one(&query.replace("$S", &self.schema), &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    pub fn setting(&self, name: &str) -> &str {
        &self.settings[name]
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn tls(&self) -> TlsFiles {
        TlsFiles { ca: Some(self.settings["CA_FILE"].clone()), ..TlsFiles::default() }
    }

    /// A sync of these tables to a topic.
    pub fn sync(&self, tables: &[&str], mode: Mode, broker: &Broker, topic: &str) -> SyncConfig {
        let file = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        let source = SourceConfig::Postgres(PostgresSourceConfig {
            server: DatabaseConfig {
                host: self.settings["HOST"].clone(),
                port: self.settings["PORT"].parse().unwrap(),
                database: self.settings["DATABASE"].clone(),
                username_file: file("username"),
                password_file: file("password"),
                tls: None,
            },
            tables: tables.iter().map(|table| format!("{}.{table}", self.schema)).collect(),
            slot: self.slot.clone(),
            publication: self.slot.clone(),
            ddl: Ddl::Stop,
        });
        let target = TargetConfig::RocketMq(to_topic(broker, topic, &self.slot));
        SyncConfig {
            mode,
            format: Format::Tapdata,
            batch: BatchConfig { max_records: 500, max_bytes: 1 << 20, max_wait_millis: 50 },
            errors: ErrorConfig { retry_interval_millis: 500, retry_for_millis: None, on_invalid: OnInvalid::Stop },
            ..pipeline(&self.slot, source, target)
        }
    }

    /// Waits until everything that the log has now is confirmed.
    pub async fn confirmed(&self) {
        let now = self.text("SELECT pg_current_wal_lsn()::text").await;
        let query = format!(
            "SELECT (confirmed_flush_lsn >= '{now}')::text FROM pg_replication_slots WHERE slot_name = '{}'",
            self.slot
        );
        eventually("the slot is confirmed", async || self.text(&query).await == "true").await;
    }

    /// Removes the slot, when nobody uses it any more, and the schema.
    pub async fn clean(&self) {
        let slot = &self.slot;
        let drop =
            format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'");
        eventually("the slot is free", async || self.client.batch_execute(&drop).await.is_ok()).await;
        self.run(&format!(
            "DROP PUBLICATION IF EXISTS {slot}; DROP SCHEMA $S CASCADE; \
             DELETE FROM rocketmq_connector.sync_table WHERE slot = '{slot}'; \
             DELETE FROM rocketmq_connector.sync_chunk WHERE slot = '{slot}'"
        ))
        .await;
    }
}

async fn connect(settings: &BTreeMap<String, String>) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host(&settings["HOST"]).port(settings["PORT"].parse().unwrap()).dbname(&settings["DATABASE"]);
    config.user(&settings["APP_USER"]).password(&settings["APP_PASSWORD"]);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub fn source(config: &mut SyncConfig) -> &mut PostgresSourceConfig {
    match &mut config.source {
        SourceConfig::Postgres(source) => source,
        _ => unreachable!("the source of these tests is PostgreSQL"),
    }
}
