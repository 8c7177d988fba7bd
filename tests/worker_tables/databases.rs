//! The databases of the test set-up, as tests look into them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mysql_async::prelude::Queryable;
use rocketmq_connector::worker_config::connection::TlsFiles;
use rocketmq_connector::worker_config::sync::DatabaseConfig;

/// A running database, with the files that a worker reads.
pub struct Server {
    settings: BTreeMap<String, String>,
    instance: String,
    files: tempfile::TempDir,
}

impl Server {
    /// The instance of this name: `postgres` or `mariadb`.
    pub fn named(instance: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path = folder().join(instance).join("env");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let settings = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let server = Self { settings, instance: instance.to_owned(), files: tempfile::tempdir().unwrap() };
        server.file("username", server.setting("APP_USER"));
        server.file("password", server.setting("APP_PASSWORD"));
        server
    }

    /// An instance of the test's own, which it may stop.
    pub fn start(kind: &str, instance: &str, port: u16) -> Self {
        up(kind, instance, port, false);
        Self::named(instance)
    }

    /// Stops the instance and starts it again with its data.
    pub fn restart(&self) {
        let port = self.setting("PORT").parse().unwrap();
        up(self.setting("KIND"), &self.instance, port, true);
    }

    /// Stops the instance.
    pub fn stop(&self) {
        script("down.sh", &[&self.instance], false);
    }

    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map(String::as_str).unwrap_or_default()
    }

    pub fn is_postgres(&self) -> bool {
        self.setting("KIND") == "postgres"
    }

    /// Writes a file that a worker reads; its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub fn config(&self) -> DatabaseConfig {
        let path = |name: &str| self.files.path().join(name).to_string_lossy().into_owned();
        DatabaseConfig {
            host: self.setting("HOST").to_owned(),
            port: self.setting("PORT").parse().unwrap(),
            database: self.setting("DATABASE").to_owned(),
            username_file: path("username"),
            password_file: path("password"),
            tls: None,
        }
    }

    /// TLS that trusts the authority of the server, or another one.
    pub fn tls(&self, ca: &str) -> TlsFiles {
        TlsFiles { ca: Some(self.setting(ca).to_owned()), ..TlsFiles::default() }
    }

    /// Runs statements as the administrator.
    pub async fn run(&self, statements: &str) {
        if self.is_postgres() {
            self.postgres().await.batch_execute(statements).await.unwrap();
        } else {
            let mut conn = self.mysql().await;
            for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
                conn.query_drop(statement).await.unwrap();
            }
            conn.disconnect().await.unwrap();
        }
    }

    /// The rows of a query with one column of text.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        if self.is_postgres() {
            let rows = self.postgres().await.query(query, &[]).await.unwrap();
            rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_else(|| "NULL".to_owned())).collect()
        } else {
            let mut conn = self.mysql().await;
            let rows: Vec<Option<String>> = conn.query(query).await.unwrap();
            conn.disconnect().await.unwrap();
            rows.into_iter().map(|row| row.unwrap_or_else(|| "NULL".to_owned())).collect()
        }
    }

    /// A number that a query gives; 0 while it fails.
    pub async fn count(&self, query: &str) -> usize {
        let query = if self.is_postgres() {
            format!("SELECT ({query})::text")
        } else {
            format!("SELECT CAST(({query}) AS CHAR)")
        };
        self.rows(&query).await[0].parse().unwrap()
    }

    async fn postgres(&self) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config.host(self.setting("HOST")).port(self.setting("PORT").parse().unwrap()).dbname(self.setting("DATABASE"));
        config.user(self.setting("ADMIN_USER")).password(self.setting("ADMIN_PASSWORD"));
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn mysql(&self) -> mysql_async::Conn {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname(self.setting("HOST"))
            .tcp_port(self.setting("PORT").parse().unwrap())
            .db_name(Some(self.setting("DATABASE")))
            .user(Some(self.setting("ADMIN_USER")))
            .pass(Some(self.setting("ADMIN_PASSWORD")))
            .prefer_socket(false);
        mysql_async::Conn::new(options).await.unwrap()
    }
}

/// Where instances live: `DATABASES_TEST_RUN`, or beside the brokers.
fn folder() -> PathBuf {
    match std::env::var("DATABASES_TEST_RUN") {
        Ok(folder) => PathBuf::from(folder),
        Err(_) => {
            let brokers =
                std::env::var("ROCKETMQ_TEST_RUN").expect("DATABASES_TEST_RUN should name the databases' folder");
            Path::new(&brokers).with_file_name("databases")
        }
    }
}

fn up(kind: &str, instance: &str, port: u16, keep: bool) {
    script("up.sh", &[kind, instance, &port.to_string()], keep);
}

fn script(name: &str, arguments: &[&str], keep: bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/databases").join(name);
    let mut command = Command::new(&path);
    command.args(arguments).env("DATABASES_TEST_RUN", folder()).stdout(std::process::Stdio::null());
    if keep {
        command.env("KEEP", "1");
    }
    assert!(command.status().unwrap().success(), "{} {arguments:?} failed", path.display());
}
