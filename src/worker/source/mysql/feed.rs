//! The stream of the binary log, and where in it the reading is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use mysql_async::binlog::EventFlags;
use mysql_async::binlog::events::Event;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Error};

use super::super::database::changes::Transaction;
use super::log::kinds;
use super::position::{LogName, LogPosition, StoredPosition, at, offset_of};

/// Silence after which the server tells that it lives, in nanoseconds.
const HEARTBEAT: u64 = 2_000_000_000;
/// Seconds after which the server gives a session up whose events nobody takes.
const UNREAD: u32 = 30;
/// Silence after which the connection is lost.
const SILENCE: Duration = Duration::from_secs(30);
/// A step back that is none.
const WRAP: u64 = 1 << 31;
/// How long the end of the session may take.
const END: Duration = Duration::from_secs(3);

/// A transaction that is being read, or a statement that stands alone.
pub struct Group {
    /// What its records are a part of.
    pub transaction: Transaction,
    /// Whether rows follow, until it is committed.
    pub has_rows: bool,
    /// Whether it is decided later whether it happens.
    pub is_prepared: bool,
    /// Whether it is about a table that is read, even if all of it was left out.
    pub is_ours: bool,
}

/// A session that reads the log.
pub struct Feed {
    stream: BinlogStream,
    /// Where the session has begun.
    first: StoredPosition,
    /// Number of the file.
    file: u32,
    /// Offset behind the event that was read last.
    offset: u64,
    /// Whether events come out of a compressed one, and have no places.
    is_inside: bool,
    /// Whether the server has begun to send a file.
    is_open: bool,
    /// What is being read.
    pub group: Option<Group>,
    /// When a place of the log without records of ours was told last.
    pub told: Instant,
}

impl Feed {
    /// Begins to read at a place, as the replica `server_id`.
    ///
    /// # Errors
    /// The server refuses it, or is lost.
    pub async fn start(mut conn: Conn, server_id: u32, first: StoredPosition) -> Result<Self, Error> {
        // MySQL and MariaDB, and older and newer versions: each takes note of what it knows. Capability 4 is that MariaDB's
        // transaction ids are understood.
        let settings = format!(
            "SET @master_heartbeat_period = {HEARTBEAT}, @source_heartbeat_period = {HEARTBEAT}, \
             @source_binlog_checksum = 'CRC32', @mariadb_slave_capability = 4"
        );
        conn.query_drop(settings).await?;
        // A server that cannot get rid of events ends the session: otherwise one whose worker is gone without a word would keep
        // its successor waiting. A pipeline that takes nothing for so long has the log read again from where it is.
        conn.query_drop(format!("SET SESSION net_write_timeout = {UNREAD}")).await?;
        let (file, offset) = (first.name.file(first.name.number), offset_of(first.position));
        let request = BinlogStreamRequest::new(server_id)
            .with_filename(file.as_bytes())
            .with_pos(offset)
            .with_hostname(b"rocketmq-connector");
        let stream = conn.get_binlog_stream(request).await?;
        let (file, told) = (first.name.number, Instant::now());
        Ok(Self { stream, first, file, offset, is_inside: false, is_open: false, group: None, told })
    }

    /// The next event, if it has come.
    ///
    /// # Errors
    /// The server has ended the stream.
    pub fn ready(&mut self) -> Result<Option<Event>, Error> {
        match self.stream.next().now_or_never() {
            None => Ok(None),
            Some(event) => event.unwrap_or_else(|| Err(ended())).map(Some),
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The server has ended the stream, or has been silent for too long.
    pub async fn wait(&mut self) -> Result<Event, Error> {
        match tokio::time::timeout(SILENCE, self.stream.next()).await {
            Ok(event) => event.unwrap_or_else(|| Err(ended())),
            Err(_) => Err(Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
        }
    }

    /// The place behind the event that was read last.
    #[must_use]
    pub fn place(&self) -> LogPosition {
        at(self.file, self.offset)
    }

    /// Goes on behind an event.
    pub fn pass(&mut self, event: &Event) {
        let header = event.header();
        let is_artificial = header.flags().contains(EventFlags::LOG_EVENT_ARTIFICIAL_F);
        let is_heartbeat = matches!(header.event_type_raw(), kinds::HEARTBEAT | kinds::HEARTBEAT_2);
        let end = u64::from(header.log_pos());
        if end == 0 || is_artificial || is_heartbeat || self.is_inside {
            return;
        }
        // Behind 4 GiB the log counts from 0 again; a smaller step back is the file's description, which comes first.
        self.offset = if end + WRAP < self.offset { u64::from(u32::MAX) } else { self.offset.max(end) };
        self.is_inside = header.event_type_raw() == kinds::COMPRESSED_TRANSACTION;
    }

    /// Goes on in the file of this name.
    pub fn rotate(&mut self, name: &LogName, offset: u64) {
        (self.file, self.offset, self.is_inside) = (name.number, offset, false);
    }

    /// A file was made at this second of the Unix epoch; whether it is the one that the reading was to begin in.
    pub fn is_expected(&mut self, created: u32) -> bool {
        self.is_open = true;
        self.file != self.first.name.number || self.first.created.is_none_or(|expected| expected == created)
    }

    /// Whether the server has begun to send.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Number of the file.
    #[must_use]
    pub fn file(&self) -> u32 {
        self.file
    }

    /// The group that is being read, or one that begins at `start`.
    pub fn group(&mut self, start: LogPosition, at_millis: i64) -> &mut Group {
        self.group.get_or_insert_with(|| Group {
            transaction: Transaction::new(start, 0, at_millis),
            has_rows: false,
            is_prepared: false,
            is_ours: false,
        })
    }

    /// Ends the group; where the log goes on behind it.
    pub fn finish(&mut self) -> Option<(Group, LogPosition)> {
        self.is_inside = false;
        let group = self.group.take()?;
        // One that reaches behind 4 GiB is read again: the log has no number for its end.
        let is_beyond = self.offset >= u64::from(u32::MAX);
        let end = if is_beyond { group.transaction.offset } else { self.place() };
        Some((group, end))
    }

    /// Ends the session.
    pub async fn end(self) {
        let _ = tokio::time::timeout(END, self.stream.close()).await;
    }
}

fn ended() -> Error {
    Error::Io(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
}

/// When files were made, by their numbers: seconds since the Unix epoch.
pub type Created = HashMap<u32, u32>;
