//! A database server of this run only, and sessions with it that may fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::broker::Variant;
use super::net::{Disk, Side};

/// Size of the disk of a server whose disk is to be full.
const DISK: u32 = 512;
/// Longest time of a statement.
const LIMIT: Duration = Duration::from_secs(10);

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    Postgres,
    MariaDb,
}

pub struct DatabaseServer {
    pub dialect: Dialect,
    instance: String,
    port: u16,
    address: String,
    settings: BTreeMap<String, String>,
    /// Password of the worker's user.
    password: Mutex<String>,
    disk: Option<Disk>,
}

impl DatabaseServer {
    pub fn start(dialect: Dialect, side: Side, variant: Variant, address: &str) -> Self {
        let first = if dialect == Dialect::Postgres { 25_432 } else { 25_306 };
        let is_small = variant == Variant::SmallDisk;
        let port = first + u16::from(side == Side::Target) + 2 * u16::from(is_small);
        let instance = format!("faults-{dialect:?}-{}-{variant:?}", side.name()).to_lowercase();
        let folder = run_folder().join(&instance);
        let disk = is_small.then(|| Disk::mount(&folder, DISK));
        let (settings, password) = (BTreeMap::new(), Mutex::default());
        let mut server = Self { dialect, instance, port, address: address.to_owned(), settings, password, disk };
        server.up(is_small);
        let text = std::fs::read_to_string(folder.join("env")).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        server.settings = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        server.password = server.setting("APP_PASSWORD").to_owned().into();
        server
    }

    fn script(name: &str) -> Command {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/databases").join(name))
    }

    fn up(&self, keep: bool) {
        let kind = if self.dialect == Dialect::Postgres { "postgres" } else { "mariadb" };
        let mut command = Self::script("up.sh");
        command.args([kind, &self.instance, &self.port.to_string()]).env("BIND_ADDRESS", &self.address);
        if keep {
            command.env("KEEP", "1");
        }
        // The server would keep a pipe open.
        assert!(command.stdout(Stdio::null()).status().unwrap().success(), "{} does not start", self.instance);
    }

    fn pid(&self) -> String {
        let path = run_folder().join(&self.instance).join("pid");
        std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
    }

    /// SIGKILL to all of its processes.
    pub fn kill(&self) {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let all = std::iter::once(pid.as_str()).chain(children.split_whitespace());
        let _ = Command::new("kill").arg("-9").args(all).stderr(Stdio::null()).status();
    }

    /// Starts it with its data; what runs is ended in good order first.
    pub fn start_again(&self) {
        self.up(true);
    }

    pub fn stop(&self) {
        let _ = Self::script("down.sh").arg(&self.instance).status();
        self.disk.iter().for_each(Disk::unmount);
    }

    pub fn fill_disk(&self) {
        self.disk.as_ref().unwrap().fill(0);
    }

    /// Gives the space back, and starts the server if it has ended for the lack of it.
    pub fn free_disk(&self) {
        self.disk.as_ref().unwrap().free();
        if !Path::new(&format!("/proc/{}", self.pid())).exists() {
            self.up(true);
        }
    }

    fn setting(&self, key: &str) -> &str {
        &self.settings[key]
    }

    pub fn host(&self) -> &str {
        &self.address
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn name(&self) -> &str {
        self.setting("DATABASE")
    }

    /// User and password of workers.
    pub fn credentials(&self) -> (String, String) {
        (self.setting("APP_USER").to_owned(), self.password.lock().unwrap().clone())
    }

    /// Gives the workers' user another password.
    pub async fn change_password(&self, password: &str) {
        let user = self.setting("APP_USER");
        let statement = match self.dialect {
            Dialect::Postgres => format!("ALTER ROLE {user} PASSWORD '{password}'"),
            Dialect::MariaDb => format!("ALTER USER {user} IDENTIFIED BY '{password}'"),
        };
        self.session().await.unwrap().run(&[statement]).await.unwrap();
        password.clone_into(&mut self.password.lock().unwrap());
    }

    /// Ends all sessions of the workers' user.
    pub async fn end_sessions(&self) {
        let user = self.setting("APP_USER");
        let mut session = self.session().await.unwrap();
        match self.dialect {
            Dialect::Postgres => {
                let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'");
                session.rows(&end).await.unwrap();
            }
            Dialect::MariaDb => session.run(&[format!("KILL USER {user}")]).await.unwrap(),
        }
    }

    /// A session as administrator.
    pub async fn session(&self) -> Result<Session, String> {
        let connecting = async {
            match self.dialect {
                Dialect::Postgres => {
                    let mut config = tokio_postgres::Config::new();
                    config.host(&self.address).port(self.port).dbname(self.name());
                    config.user(self.setting("ADMIN_USER")).password(self.setting("ADMIN_PASSWORD"));
                    let (client, connection) = config.connect(NoTls).await.map_err(|error| error.to_string())?;
                    tokio::spawn(connection);
                    Ok(Session::Postgres(client))
                }
                Dialect::MariaDb => {
                    let options = OptsBuilder::default()
                        .ip_or_hostname(&self.address)
                        .tcp_port(self.port)
                        .db_name(Some(self.name()))
                        .user(Some(self.setting("ADMIN_USER")))
                        .pass(Some(self.setting("ADMIN_PASSWORD")))
                        .prefer_socket(false);
                    Conn::new(options).await.map(Session::MariaDb).map_err(|error| error.to_string())
                }
            }
        };
        tokio::time::timeout(LIMIT, connecting).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }
}

/// A session with a server; it is of no use after an error.
pub enum Session {
    Postgres(Client),
    MariaDb(Conn),
}

impl Session {
    /// The rows of a query, as texts.
    pub async fn rows(&mut self, query: &str) -> Result<Vec<Vec<String>>, String> {
        let querying = async {
            match self {
                Self::Postgres(client) => {
                    let messages = client.simple_query(query).await.map_err(|error| error.to_string())?;
                    let row = |message| match message {
                        SimpleQueryMessage::Row(row) => {
                            Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
                        }
                        _ => None,
                    };
                    Ok(messages.into_iter().filter_map(row).collect())
                }
                Self::MariaDb(conn) => {
                    let rows: Vec<Row> = conn.query(query).await.map_err(|error| error.to_string())?;
                    let text = |value: Value| match value {
                        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                        _ => String::new(),
                    };
                    Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
                }
            }
        };
        tokio::time::timeout(LIMIT * 3, querying).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    pub async fn run(&mut self, statements: &[String]) -> Result<(), String> {
        for statement in statements {
            self.rows(statement).await?;
        }
        Ok(())
    }

    /// Runs statements as one transaction.
    pub async fn transaction(&mut self, statements: Vec<String>) -> Result<(), String> {
        let begin = std::iter::once("BEGIN".to_owned());
        let all: Vec<String> = begin.chain(statements).chain(["COMMIT".to_owned()]).collect();
        self.run(&all).await
    }

    /// The number that a query gives.
    pub async fn number(&mut self, query: &str) -> Result<usize, String> {
        let rows = self.rows(query).await?;
        rows.first().and_then(|row| row.first()?.parse().ok()).ok_or_else(|| format!("{query}: no number"))
    }
}

fn run_folder() -> PathBuf {
    let folder = std::env::var("DATABASES_TEST_RUN");
    PathBuf::from(folder.expect("DATABASES_TEST_RUN should name the folder of the databases"))
}
