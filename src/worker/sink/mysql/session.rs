//! A session with MySQL or MariaDB that does not wait for ever for an answer: when its server is silent, the server is asked
//! over another connection what became of the session.
//!
//! A connection that has died without a word could be left to the kernel, as those to other servers are. But the library keeps
//! its socket to itself: the kernel would give the connection up only after a quarter of an hour. To ask has a merit of its own:
//! a statement that takes long is told from one that never arrived, through proxies and address translation, too.

use std::pin::pin;
use std::time::{Duration, Instant};

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Error, Params, Row};
use tokio::time::timeout;

use super::super::super::database::mysql::{DUPLICATE, REST, connect, failure};
use super::super::super::database::{Access, Failure, FailureKind};
use crate::worker_config::sync::DatabaseConfig;

/// Silence after which the server is asked: a long statement may be on its way there for some time, and looks like none until then.
const SILENCE: Duration = Duration::from_secs(30);
/// The same for short statements.
const SHORT_SILENCE: Duration = Duration::from_secs(10);
/// Most bytes of a short statement.
const SHORT: usize = 16 * 1024;
/// Time between two questions, and the longest time of one behind its connecting.
const AGAIN: Duration = Duration::from_secs(5);
/// By what a server's count of its seconds and ours may differ.
const ROUNDING: Duration = Duration::from_secs(2);
/// Seconds of rest that tell a session which waits for us from one whose answer is on its way.
const AT_REST: i64 = 10;

/// A session.
pub struct Session {
    conn: Conn,
    place: Place,
    is_closed: bool,
    /// When the server has answered last.
    used: Instant,
}

/// Where a session is, and how to ask for it there.
struct Place {
    config: DatabaseConfig,
    access: Access,
    /// Its number at the server.
    id: u64,
    /// The server's own name: behind one address there may be several, each with sessions of its own.
    server: String,
    opened: Instant,
}

/// What a server tells of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It waits for a statement, and so never got ours, or has answered.
    Waits,
    /// The server was started behind it.
    Gone,
    /// It works. Or nothing is known of it: while it runs a trigger it has the rights of the trigger's owner, and is not shown
    /// to the user.
    Works,
}

impl Session {
    /// Connects. Gives the server's longest statement in bytes, too, where it tells it.
    ///
    /// # Errors
    /// The server cannot be reached or does not let the worker in.
    pub async fn open(config: &DatabaseConfig, access: &Access) -> Result<(Self, Option<usize>), Failure> {
        let mut conn = connect(config, access).await?;
        let told = conn.query_first("SELECT CONNECTION_ID(), @@hostname, @@max_allowed_packet").await;
        let (id, server, longest): (u64, Option<String>, Option<usize>) = match told {
            Ok(told) => told.unwrap_or_default(),
            Err(error) => return Err(failure(config, "failed to prepare the session", &error)),
        };
        let server = server.unwrap_or_default();
        let opened = Instant::now();
        let place = Place { config: config.clone(), access: access.clone(), id, server, opened };
        Ok((Self { conn, place, is_closed: false, used: opened }, longest))
    }

    /// Whether it is not to be used any more.
    pub fn is_closed(&self) -> bool {
        self.is_closed || self.used.elapsed() >= REST
    }

    /// Runs a statement; the number of rows that it has changed. `what` says what is tried, as in all of these.
    ///
    /// # Errors
    /// The server refuses it, or the session is lost.
    pub async fn run(&mut self, what: &str, statement: impl AsRef<str>) -> Result<u64, Failure> {
        let answer = self.place.answer(patience(statement.as_ref()), self.conn.query_drop(statement.as_ref())).await;
        self.heard(what, answer).map(|()| self.conn.affected_rows())
    }

    /// Runs a statement that adds rows; false when one of them is there already.
    ///
    /// # Errors
    /// The server refuses it for another reason, or the session is lost.
    pub async fn add(&mut self, what: &str, statement: impl AsRef<str>) -> Result<bool, Failure> {
        match self.place.answer(patience(statement.as_ref()), self.conn.query_drop(statement.as_ref())).await {
            Some(Err(Error::Server(error))) if error.code == DUPLICATE => self.heard(what, Some(Ok(false))),
            answer => self.heard(what, answer.map(|answer| answer.map(|()| true))),
        }
    }

    /// Rows of a statement.
    ///
    /// # Errors
    /// The server refuses it, or the session is lost.
    pub async fn query<Found>(&mut self, what: &str, statement: impl AsRef<str>) -> Result<Vec<Found>, Failure>
    where
        Found: FromRow + Send + 'static,
    {
        let answer = self.place.answer(patience(statement.as_ref()), self.conn.query(statement.as_ref())).await;
        self.heard(what, answer)
    }

    /// Rows of a statement with values.
    ///
    /// # Errors
    /// The server refuses it, or the session is lost.
    pub async fn exec<Found>(
        &mut self,
        what: &str,
        statement: &str,
        values: impl Into<Params> + Send,
    ) -> Result<Vec<Found>, Failure>
    where
        Found: FromRow + Send + 'static,
    {
        let answer = self.place.answer(SILENCE, self.conn.exec(statement, values)).await;
        self.heard(what, answer)
    }

    fn heard<T>(&mut self, what: &str, answer: Option<Result<T, Error>>) -> Result<T, Failure> {
        self.used = Instant::now();
        let failure = match answer {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => failure(&self.place.config, what, &error),
            None => self.place.lost(what),
        };
        self.is_closed |= failure.kind == FailureKind::Lost;
        Err(failure)
    }
}

impl Place {
    /// Awaits an answer; none where the server has nothing more to say.
    async fn answer<T>(&self, mut patience: Duration, asking: impl Future<Output = T>) -> Option<T> {
        let mut asking = pin!(asking);
        loop {
            if let Ok(answer) = timeout(patience, &mut asking).await {
                return Some(answer);
            }
            tokio::select! {
                biased;
                answer = &mut asking => return Some(answer),
                is_lost = self.is_lost() => if is_lost { return None },
            }
            patience = AGAIN;
        }
    }

    /// Whether the server says that the session is gone or waits for us. One that waits is ended: its locks would keep its
    /// successor out. Where the server cannot be asked, another connection would be no better than this one.
    async fn is_lost(&self) -> bool {
        let Ok(mut other) = connect(&self.config, &self.access).await else { return false };
        let word = match timeout(AGAIN, self.look(&mut other)).await {
            Ok(Ok(word)) => word,
            _ => Word::Works,
        };
        if word == Word::Waits {
            let _ = timeout(AGAIN, other.query_drop(format!("KILL {}", self.id))).await;
        }
        let _ = timeout(AGAIN, other.disconnect()).await;
        word != Word::Works
    }

    async fn look(&self, other: &mut Conn) -> Result<Word, Error> {
        let told: Option<(u64, Option<String>)> = other.query_first("SELECT CONNECTION_ID(), @@hostname").await?;
        let (asking, server) = told.unwrap_or_default();
        if server.unwrap_or_default() != self.server {
            return Ok(Word::Works);
        }
        let age = self.opened.elapsed();
        let uptime: Option<(String, u64)> = other.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
        if uptime.is_some_and(|(_, seconds)| Duration::from_secs(seconds) + ROUNDING < age) {
            return Ok(Word::Gone);
        }
        let sessions: Vec<Row> = other.query("SHOW PROCESSLIST").await?;
        let session = |row: &Row| Listed {
            id: row.get_opt("Id").and_then(Result::ok).unwrap_or_default(),
            command: row.get_opt("Command").and_then(Result::ok).unwrap_or_default(),
            seconds: row.get_opt("Time").and_then(Result::ok).unwrap_or_default(),
        };
        Ok(word_of(&sessions.iter().map(session).collect::<Vec<_>>(), self.id, asking))
    }

    fn lost(&self, what: &str) -> Failure {
        let DatabaseConfig { host, port, .. } = &self.config;
        Failure {
            kind: FailureKind::Lost,
            reason: "DatabaseUnreachable",
            message: format!("{what}: the connection to MySQL at {host}:{port} is dead; the server does nothing on it"),
            remedy: "nothing: another one is made. When it comes again, look for what drops idle connections"
                .to_owned(),
        }
    }
}

/// Silence that a statement may cause.
fn patience(statement: &str) -> Duration {
    if statement.len() > SHORT { SILENCE } else { SHORT_SILENCE }
}

/// A session in the server's list.
struct Listed {
    id: u64,
    command: String,
    /// For how long it has been doing this.
    seconds: i64,
}

/// What a list of sessions tells of the session `id`. A list without the session `asking` is not of the server that numbers them,
/// but comes through a proxy with numbers of its own: it tells nothing.
fn word_of(sessions: &[Listed], id: u64, asking: u64) -> Word {
    let find = |id| sessions.iter().find(|session| session.id == id);
    match (find(asking), find(id)) {
        (Some(_), Some(session)) if session.command == "Sleep" && session.seconds >= AT_REST => Word::Waits,
        _ => Word::Works,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_that_rests_is_lost() {
        let listed = |id, command: &str, seconds| Listed { id, command: command.to_owned(), seconds };
        let sessions = [listed(1, "Query", 70), listed(2, "Sleep", 31), listed(3, "Sleep", 2), listed(4, "Killed", 40)];
        let rests = [1, 2, 3, 4, 5].map(|id| word_of(&sessions, id, 1) == Word::Waits);
        assert_eq!(rests, [false, true, false, false, false]);
        assert_eq!(word_of(&sessions, 2, 9), Word::Works, "a list without the session that asks");
    }
}
