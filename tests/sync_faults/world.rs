//! A pipeline that a fault happens to: its two sides, its configuration, and its workers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::connection::{ClusterConfig, CredentialFiles};
use rocketmq_connector::worker_config::sync::{
    BatchConfig, DatabaseConfig, Ddl, ErrorConfig, Format, HttpTargetConfig, MySqlSourceConfig, OnInvalid,
    PostgresSourceConfig, RocketMqSourceConfig, RocketMqTargetConfig, SourceConfig, TableTargetConfig, TargetConfig,
};

use super::broker::{BrokerServer, Variant, password};
use super::database::{DatabaseServer, Dialect};
use super::net::Side;
use super::secret::Secret;
use super::server::{Kind, Server, Servers};
use super::worker::{self, Worker};
use super::worker_support::sync::{from_topic, pipeline as new_pipeline, to_topic};
use super::worker_support::{eventually, unique};

/// From where to where.
pub struct Pipeline {
    pub name: &'static str,
    pub source: Kind,
    pub target: Kind,
}

pub const PIPELINES: &[Pipeline] = &[
    Pipeline { name: "RocketMQ to RocketMQ", source: Kind::RocketMq, target: Kind::RocketMq },
    Pipeline { name: "RocketMQ to PostgreSQL", source: Kind::RocketMq, target: Kind::Postgres },
    Pipeline { name: "RocketMQ to MariaDB", source: Kind::RocketMq, target: Kind::MariaDb },
    Pipeline { name: "RocketMQ to HTTP", source: Kind::RocketMq, target: Kind::Http },
    Pipeline { name: "PostgreSQL to RocketMQ", source: Kind::Postgres, target: Kind::RocketMq },
    Pipeline { name: "MariaDB to RocketMQ", source: Kind::MariaDb, target: Kind::RocketMq },
];

impl Pipeline {
    pub fn has(&self, kind: Kind) -> bool {
        self.source == kind || self.target == kind
    }

    pub fn kind(&self, side: Side) -> Kind {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }
}

/// Which variant of a side's server a fault needs.
pub fn variant_of(side: Side, variant: Variant) -> Variant {
    if variant == Variant::SmallDisk && side == Side::Source { Variant::Plain } else { variant }
}

/// A pipeline with everything that belongs to it.
pub struct World {
    pub source: Arc<Server>,
    pub target: Arc<Server>,
    /// Topic or table of the source.
    pub origin: String,
    /// Topic or table of the target.
    pub destination: String,
    config: SyncConfig,
    secrets: [Option<Secret>; 2],
    folder: tempfile::TempDir,
    is_apart: bool,
    is_held: AtomicBool,
}

impl World {
    pub async fn new(pipeline: &'static Pipeline, servers: &Servers, variant: Variant) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = |side: Side| servers.get(pipeline.kind(side), side, variant_of(side, variant));
        let (source, target) = tokio::task::block_in_place(|| (server(Side::Source), server(Side::Target)));
        let name = unique("faults").replace('-', "_");
        let secrets = [&source, &target].map(|server| secret(server));
        let (origin, from) = source_of(&source, secrets[0].as_ref(), &name).await;
        let (destination, to) = target_of(&target, secrets[1].as_ref(), &name).await;
        let format = match (pipeline.source, pipeline.target) {
            (Kind::RocketMq, Kind::RocketMq) => Format::Raw,
            (Kind::RocketMq, _) => Format::Json,
            _ => Format::Tapdata,
        };
        let config = SyncConfig {
            format,
            batch: BatchConfig { max_records: 500, max_bytes: 1 << 20, max_wait_millis: 100 },
            errors: ErrorConfig { retry_interval_millis: 5_000, retry_for_millis: None, on_invalid: OnInvalid::Stop },
            ..new_pipeline(&name, from, to)
        };
        let folder = tempfile::tempdir_in(worker::folder("workers")).unwrap();
        let is_apart = servers.net.is_some();
        let world =
            Self { source, target, origin, destination, config, secrets, folder, is_apart, is_held: false.into() };
        world.begin_the_log().await;
        world
    }

    /// Changes of a database are told from the moment on at which a worker has been there.
    async fn begin_the_log(&self) {
        let Server::Database(database) = &*self.source else { return };
        let query = match database.dialect {
            Dialect::Postgres => "SELECT count(*) FROM pg_replication_slots WHERE slot_name",
            Dialect::MariaDb => "SELECT count(*) FROM rocketmq_connector_sync_table WHERE slot",
        };
        let query = format!("{query} = '{}'", self.origin);
        let _worker = self.start();
        let mut session = database.session().await.unwrap();
        let session = tokio::sync::Mutex::new(&mut session);
        eventually("the place in the log", async || session.lock().await.number(&query).await == Ok(1)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    pub fn server(&self, side: Side) -> Arc<Server> {
        match side {
            Side::Source => Arc::clone(&self.source),
            Side::Target => Arc::clone(&self.target),
        }
    }

    /// The mounted credentials of a side that has some.
    pub fn secret(&self, side: Side) -> Option<&Secret> {
        self.secrets[side as usize].as_ref()
    }

    /// Starts a worker.
    pub fn start(&self) -> Worker {
        Worker::start(&self.config, self.folder.path(), &self.log_path(), self.is_apart)
    }

    /// Publishes nothing more.
    pub fn hold(&self) {
        self.is_held.store(true, Ordering::Relaxed);
    }

    pub fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// What the workers have said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where that is.
    pub fn log_path(&self) -> PathBuf {
        worker::folder("logs").join(format!("{}.log", self.origin))
    }
}

fn secret(server: &Server) -> Option<Secret> {
    match server {
        Server::Broker(broker) if broker.has_users() => {
            broker.let_in(&["first-user"], &[]);
            Some(Secret::new(&[("access", "first-user"), ("secret", &password("first-user"))]))
        }
        Server::Database(database) => {
            let (user, password) = database.credentials();
            Some(Secret::new(&[("username", &user), ("password", &password)]))
        }
        _ => None,
    }
}

fn cluster(broker: &BrokerServer, secret: Option<&Secret>) -> ClusterConfig {
    let credentials = secret.map(|secret| CredentialFiles {
        access_key: secret.path("access"),
        secret_key: secret.path("secret"),
        security_token: None,
    });
    ClusterConfig { credentials, ..broker.broker().cluster() }
}

fn database(server: &DatabaseServer, secret: Option<&Secret>) -> DatabaseConfig {
    let path = |key: &str| secret.map(|secret| secret.path(key)).unwrap_or_default();
    DatabaseConfig {
        host: server.host().to_owned(),
        port: server.port(),
        database: server.name().to_owned(),
        username_file: path("username"),
        password_file: path("password"),
        tls: None,
    }
}

async fn source_of(server: &Server, secret: Option<&Secret>, name: &str) -> (String, SourceConfig) {
    match server {
        Server::Broker(broker) => {
            let topic = broker.broker().topic("fault", 4).await;
            let source = RocketMqSourceConfig {
                cluster: cluster(broker, secret),
                cluster_id: "source".to_owned(),
                ..from_topic(&broker.broker(), &topic, name)
            };
            (topic, SourceConfig::RocketMq(source))
        }
        Server::Database(server) => {
            let mut statements = vec![format!("CREATE TABLE {name} (id varchar(40) PRIMARY KEY, v int NOT NULL)")];
            let (config, source) = (database(server, secret), server.dialect);
            let source = match source {
                Dialect::Postgres => {
                    statements.push(format!("ALTER TABLE {name} OWNER TO {}", server.credentials().0));
                    SourceConfig::Postgres(PostgresSourceConfig {
                        server: config,
                        tables: vec![format!("public.{name}")],
                        slot: name.to_owned(),
                        publication: name.to_owned(),
                        ddl: Ddl::Stop,
                    })
                }
                Dialect::MariaDb => SourceConfig::MySql(MySqlSourceConfig {
                    server: config,
                    tables: vec![name.to_owned()],
                    slot: name.to_owned(),
                    server_id: 100_000 + (jiff::Timestamp::now().as_millisecond() % 1_000_000) as u32,
                    ddl: Ddl::Stop,
                }),
            };
            server.session().await.unwrap().run(&statements).await.unwrap();
            (name.to_owned(), source)
        }
        Server::Receiver(_) => unreachable!("an HTTP endpoint is no source"),
    }
}

async fn target_of(server: &Server, secret: Option<&Secret>, name: &str) -> (String, TargetConfig) {
    match server {
        Server::Broker(broker) => {
            let topic = broker.broker().topic("fault", 4).await;
            let target = RocketMqTargetConfig {
                cluster: cluster(broker, secret),
                cluster_id: "target".to_owned(),
                ..to_topic(&broker.broker(), &topic, name)
            };
            (topic, TargetConfig::RocketMq(target))
        }
        // Without a key: a record that is written twice is two rows.
        Server::Database(server) => {
            let target = TableTargetConfig {
                server: database(server, secret),
                table: Some(name.to_owned()),
                key_fields: Vec::new(),
                create_table: true,
            };
            let target = match server.dialect {
                Dialect::Postgres => TargetConfig::Postgres(target),
                Dialect::MariaDb => TargetConfig::MySql(target),
            };
            (name.to_owned(), target)
        }
        Server::Receiver(receiver) => {
            let target = HttpTargetConfig {
                url: receiver.url(),
                timeout_millis: 10_000,
                headers: std::collections::BTreeMap::new(),
                token_file: None,
                signing_key_file: None,
                tls: None,
            };
            (String::new(), TargetConfig::Http(target))
        }
    }
}
