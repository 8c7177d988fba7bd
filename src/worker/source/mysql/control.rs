//! A session whose statements are always carried through, even if nobody waits for their outcome any more: a statement that
//! is given up halfway would leave its answer to the next one.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row, Value};
use tokio::sync::Mutex;

use super::super::super::database::mysql::failure;
use super::super::super::error::reported;
use super::{Result, Trouble, unexpected};
use crate::worker_config::sync::DatabaseConfig;

/// Silence after which a server is gone.
const LIMIT: Duration = Duration::from_secs(60);

/// Rows as texts.
pub type Texts = Vec<Vec<Option<String>>>;

/// A session.
pub struct Control {
    conn: Arc<Mutex<Conn>>,
    server: DatabaseConfig,
}

impl Control {
    /// Statements go to `conn`, whose server is named in messages.
    pub fn new(conn: Conn, server: &DatabaseConfig) -> Self {
        Self { conn: Arc::new(Mutex::new(conn)), server: server.clone() }
    }

    /// What an error means, of this or another session with the server.
    pub fn failed(&self, what: &str, error: &Error) -> Trouble {
        failure(&self.server, what, error).into()
    }

    async fn carry_through<Outcome: Send + 'static>(
        &self,
        what: &str,
        work: impl Future<Output = std::result::Result<Outcome, Error>> + Send + 'static,
    ) -> Result<std::result::Result<Outcome, Error>> {
        match tokio::time::timeout(LIMIT, tokio::spawn(work)).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => Err(unexpected(format!("{what}: {error}"))),
            Err(_) => {
                let server = &self.server;
                let message =
                    format!("{what}: no answer from MySQL at {}:{} within {LIMIT:?}", server.host, server.port);
                Err(Trouble::Again(reported("DatabaseUnreachable", message, "check that the server runs")))
            }
        }
    }

    /// Rows of a statement, or the server's refusal.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn try_rows(&self, what: &str, statement: &str) -> Result<std::result::Result<Texts, Error>> {
        let (conn, statement) = (Arc::clone(&self.conn), statement.to_owned());
        let work = async move { conn.lock().await.query::<Row, _>(statement).await };
        let text = |value: Value| match value {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        };
        let outcome = self.carry_through(what, work).await?;
        Ok(outcome.map(|rows| rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()))
    }

    /// Rows of a statement.
    ///
    /// # Errors
    /// The server refuses it, or is lost.
    pub async fn rows(&self, what: &str, statement: &str) -> Result<Texts> {
        self.try_rows(what, statement).await?.map_err(|error| self.failed(what, &error))
    }

    /// Runs statements as one transaction.
    ///
    /// # Errors
    /// The server refuses one, and has done none; or it is lost.
    pub async fn run(&self, what: &str, statements: Vec<String>) -> Result<()> {
        let conn = Arc::clone(&self.conn);
        let work = async move {
            let mut conn = conn.lock().await;
            conn.query_drop("START TRANSACTION").await?;
            for statement in statements {
                if let Err(error) = conn.query_drop(statement).await {
                    conn.query_drop("ROLLBACK").await?;
                    return Err(error);
                }
            }
            conn.query_drop("COMMIT").await
        };
        self.carry_through(what, work).await?.map_err(|error| self.failed(what, &error))
    }
}
