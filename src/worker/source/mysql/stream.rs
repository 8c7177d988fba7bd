//! Change capture: the binary log as records.

use std::time::{Duration, Instant};

use mysql_async::Error;
use mysql_async::binlog::events::Event;

use super::super::super::database::mysql::failure;
use super::super::super::error::reported;
use super::super::database::changes::{Changes, Transaction};
use super::super::database::ledger::End;
use super::change::Reader;
use super::feed::{Feed, Group};
use super::log::kinds;
use super::position::LogName;
use super::run::{Run, Session};
use super::statement::Statement;
use super::{Result, Trouble, unexpected};

/// Silence behind which everything that the log has was read.
const CALM: Duration = Duration::from_millis(50);
/// Time between two notes of places whose changes are not ours. Each is written into the log itself, so not more often.
const IDLE: Duration = Duration::from_secs(30);
/// Flags of MariaDB's event of a transaction: it is one statement; its end is decided later.
const STANDS_ALONE: u8 = 1;
const PREPARED: u8 = 64;

impl Run {
    pub(super) fn stream_failed(&self, error: &Error) -> Trouble {
        let server = &self.config.server;
        let what = format!("failed to read the binary log of {}:{}", server.host, server.port);
        let Error::Server(said) = error else { return failure(server, &what, error).into() };
        let message = format!("{what}: {} (error {})", said.message, said.code);
        let id = self.config.server_id;
        match said.code {
            // To register as a replica needs a right of its own, which this error does not tell.
            1045 | 1227 => Trouble::Again(reported(
                "PermissionDenied",
                message,
                "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* to the user of the sync",
            )),
            // As MySQL and as MariaDB tell it.
            1236 | 4052 if said.message.contains("server_id") || said.message.contains("server_uuid") => {
                Trouble::Again(reported(
                    "ServerIdInUse",
                    message,
                    format!("set source.mysql.serverId to another number than {id}, which another replica or sync has"),
                ))
            }
            1236 if said.message.contains("find") || said.message.contains("position") => gone(message),
            _ => failure(server, &what, error).into(),
        }
    }

    /// Reads the log, until the connection is lost.
    pub(super) async fn follow(&self, session: &Session, feed: &mut Feed) -> Result<()> {
        let mut reader = Reader::new(self, session);
        let mut changes = Changes::default();
        loop {
            // What has come is handed on together; when nothing more has come, at once.
            let event = match feed.ready().map_err(|error| self.stream_failed(&error))? {
                Some(event) => event,
                None => {
                    self.hand_on(&mut changes).await?;
                    let event = match tokio::time::timeout(CALM, feed.wait()).await {
                        Ok(event) => event,
                        Err(_) => {
                            self.pipe.shared.set_caught_up(feed.is_open() && feed.group.is_none());
                            feed.wait().await
                        }
                    };
                    event.map_err(|error| self.stream_failed(&error))?
                }
            };
            if let Err(trouble) = self.take(&mut reader, feed, &event, &mut changes).await {
                self.hand_on(&mut changes).await?;
                return Err(trouble);
            }
            if changes.is_full() {
                self.hand_on(&mut changes).await?;
            }
        }
    }

    async fn hand_on(&self, changes: &mut Changes) -> Result<()> {
        if !changes.records.is_empty() {
            self.pipe.shared.set_caught_up(false);
        }
        std::mem::take(changes).hand_on(&self.pipe).await
    }

    /// Takes one event.
    async fn take(&self, reader: &mut Reader<'_>, feed: &mut Feed, event: &Event, changes: &mut Changes) -> Result<()> {
        let (start, header, data) = (feed.place(), event.header(), event.data());
        let at_millis = i64::from(header.timestamp()) * 1_000;
        let kind = header.event_type_raw();
        if kinds::begins(kind) {
            // One whose end has no event that is known here.
            finish(feed, changes);
        }
        feed.pass(event);
        match kind {
            // Before the first file's description it is not known whether the event has a checksum; it names the file asked for.
            kinds::ROTATE if !feed.is_open() => {}
            kinds::ROTATE => {
                let (offset, name) = data.split_at_checked(8).unwrap_or_default();
                let offset = offset.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
                let name = LogName::parse(&String::from_utf8_lossy(name));
                feed.rotate(&name.ok_or_else(|| unexpected("a name of a binary log has no number"))?, offset);
                reader.forget();
            }
            kinds::FORMAT => self.opened(feed, header.timestamp())?,
            kinds::GTID | kinds::ANONYMOUS_GTID | kinds::TAGGED_GTID => {
                feed.group(start, at_millis);
            }
            kinds::MARIADB_GTID => {
                let flags = data.get(12).copied().unwrap_or_default();
                let group = feed.group(start, at_millis);
                group.has_rows = flags & STANDS_ALONE == 0;
                group.is_prepared = flags & PREPARED != 0;
            }
            kinds::QUERY => {
                feed.group(start, at_millis);
                self.statement(reader, feed, data, changes)?;
            }
            kinds::TABLE_MAP => {
                let before = changes.records.len();
                let group = feed.group(start, at_millis);
                group.is_ours |= reader.describe(data, &mut group.transaction, &mut changes.records)?;
                changes.count(before);
            }
            kind if kinds::are_rows(kind) => {
                let before = changes.records.len();
                let group = feed.group(start, at_millis);
                if group.is_prepared && reader.is_read(kind, data) {
                    return Err(undecided());
                }
                let outcome = reader.rows(kind, data, &mut group.transaction, &mut changes.records).await;
                changes.count(before);
                outcome?;
            }
            kinds::XID | kinds::XA_PREPARE => finish(feed, changes),
            kinds::PARTIAL_UPDATE if reader.is_read(30, data) || reader.is_read(31, data) => {
                return Err(unexpected("the binary log has parts of documents: binlog_row_value_options was set"));
            }
            kinds::INCIDENT => return Err(gone("the server has lost a part of its binary log".to_owned())),
            kind if kinds::COMPRESSED.contains(&kind) => {
                return Err(Trouble::Stopped(reported(
                    "ReplicationUnavailable",
                    "the binary log is compressed",
                    "SET GLOBAL log_bin_compress = OFF, then begin anew as docs/mysql-source.md tells",
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// A file of the log is read from here on, which was made at this second.
    fn opened(&self, feed: &mut Feed, created: u32) -> Result<()> {
        if !feed.is_expected(created) {
            return Err(gone("the binary log is another one than before, under the same name".to_owned()));
        }
        self.created().insert(feed.file(), created);
        Ok(())
    }

    /// Takes a statement.
    fn statement(&self, reader: &mut Reader<'_>, feed: &mut Feed, data: &[u8], changes: &mut Changes) -> Result<()> {
        let (database, text) = query(data).ok_or_else(|| unexpected("a statement of the binary log cannot be read"))?;
        let Some(group) = &mut feed.group else { return Ok(()) };
        let (transaction, before) = (&mut group.transaction, changes.records.len());
        let is_alone = match Statement::read(&text) {
            Statement::Begin => {
                group.has_rows = true;
                false
            }
            Statement::Distributed => {
                (group.has_rows, group.is_prepared) = (true, true);
                false
            }
            Statement::Commit => true,
            Statement::Rollback if transaction.index == 0 => true,
            Statement::Rollback => return Err(unexpected("the binary log undoes a transaction that it has told")),
            Statement::Inside => false,
            Statement::Rows(words) => {
                if let Some(table) = reader.named(&words) {
                    return Err(Trouble::Stopped(reported(
                        "ReplicationUnavailable",
                        format!(
                            "the binary log has a statement that changes rows of table {}, and not the rows",
                            table.name
                        ),
                        "take SET SESSION binlog_format away from who changes the table; begin anew as docs/mysql-source.md tells",
                    )));
                }
                !group.has_rows
            }
            Statement::Truncate(name) => {
                group.is_ours |= reader.truncate((&database, &name), transaction, &mut changes.records);
                !group.has_rows
            }
            Statement::Drop(names) => {
                for name in names {
                    reader.dropped((&database, &name), transaction, &mut changes.records)?;
                }
                !group.has_rows
            }
            Statement::Other => !group.has_rows,
        };
        changes.count(before);
        if is_alone {
            finish(feed, changes);
        }
        Ok(())
    }
}

/// The group of events that is being read ends here.
fn finish(feed: &mut Feed, changes: &mut Changes) {
    let Some((Group { transaction, is_ours, .. }, position)) = feed.finish() else { return };
    let Transaction { offset, index, definitions, emptied, .. } = transaction;
    let has_changes = index > 0 || !definitions.is_empty();
    // Verification takes what is behind the place that was noted, and about a table that is read, for what is still to come.
    if has_changes || is_ours || feed.told.elapsed() >= IDLE {
        feed.told = Instant::now();
        changes.end(offset, End::Log { position, definitions, emptied });
    }
}

/// Database and text of a statement.
fn query(data: &[u8]) -> Option<(String, String)> {
    let database = usize::from(*data.get(8)?);
    let variables = usize::from(u16::from_le_bytes([*data.get(11)?, *data.get(12)?]));
    let rest = data.get(13 + variables..)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(rest.get(..database)?), text(rest.get(database + 1..)?)))
}

fn undecided() -> Trouble {
    Trouble::Stopped(reported(
        "DistributedTransaction",
        "a distributed transaction (XA) has changed a table of the sync: the log tells its rows before it is decided",
        "change the tables of the sync without XA; begin anew as docs/mysql-source.md tells",
    ))
}

/// Changes of the log that cannot be read any more.
pub fn gone(message: String) -> Trouble {
    Trouble::Stopped(reported(
        "LogLost",
        message,
        "keep the binary log for longer (binlog_expire_logs_seconds, expire_logs_days); to begin anew, do as \
         docs/mysql-source.md tells, then restart the worker",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_its_database() {
        let mut data = vec![0; 13];
        (data[8], data[11]) = (4, 2);
        data.extend(b"xxshop\0BEGIN");
        assert_eq!(query(&data), Some(("shop".to_owned(), "BEGIN".to_owned())));
        assert_eq!(query(&data[..12]), None);
    }
}
