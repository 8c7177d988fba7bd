//! Change capture: the log of a replication slot as records.

use std::collections::HashMap;
use std::pin::pin;

use super::super::super::error::reported;
use super::super::super::record::Record;
use super::catalog::in_use;
use super::change::Reader;
use super::feed::{Event, Feed};
use super::ledger::End;
use super::pgoutput::{Change, decode};
use super::run::{Run, SETTINGS, Session};
use super::wire::{Wire, WireError};
use super::{Result, Trouble, literal, quoted, unexpected};

/// Records and bytes that are handed on together.
const PARCEL: usize = 256;
const PARCEL_BYTES: usize = 1 << 20;
/// From 2000-01-01, as PostgreSQL counts, to the Unix epoch.
const EPOCH_MILLIS: i64 = 946_684_800_000;

/// A transaction of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Position of its commit: that of its records.
    pub offset: u64,
    /// Its number.
    pub xid: u32,
    /// When it was committed, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// Index of its next record.
    pub index: u32,
    /// Tables that look otherwise from here on, and their columns.
    pub definitions: Vec<(String, String)>,
}

/// What is handed on next.
#[derive(Default)]
struct Parcel {
    records: Vec<Record>,
    bytes: usize,
    /// What ends behind so many of the records, and its position.
    ends: Vec<(usize, u64, End)>,
}

impl Run {
    /// Begins to read the slot.
    pub(super) async fn replicate(&self, session: &Session) -> Result<Feed> {
        let options = SETTINGS.map(|(name, value)| format!("-c {name}={value}")).join(" ");
        let application = format!("rocketmq-connector {} changes", self.name);
        let parameters = [("application_name", application.as_str()), ("options", &options)];
        let wire = Wire::connect(&self.config.server, &session.access, &parameters).await;
        let wire = wire.map_err(|error| self.stream_failed(&error))?;
        // 0/0 is what the server has been told last.
        let statement = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {})",
            quoted(&self.config.slot),
            literal(&quoted(&self.config.publication))
        );
        let feed = Feed::start(wire, &statement, self.shared.saved.subscribe()).await;
        feed.map_err(|error| self.stream_failed(&error))
    }

    fn stream_failed(&self, error: &WireError) -> Trouble {
        let server = &self.config.server;
        let message =
            format!("failed to read replication slot {} at {}:{}: {error}", self.config.slot, server.host, server.port);
        let (reason, remedy) = match error {
            WireError::Said { code, message } if code == "55006" => return in_use(&self.config.slot, message),
            WireError::Said { code, .. } if code.starts_with("57P") => {
                ("DatabaseUnreachable", "nothing, if the server is restarted: it is connected to again".to_owned())
            }
            WireError::Said { code, .. } if code.starts_with("28") => {
                ("CredentialsRefused", "correct user name and password in the Secret, and pg_hba.conf".to_owned())
            }
            WireError::Said { code, .. } if code == "42501" => {
                ("PermissionDenied", "ALTER ROLE … REPLICATION for the user of the sync".to_owned())
            }
            WireError::Said { .. } => ("DatabaseError", "look at the message and at the server's log".to_owned()),
            WireError::Tls(error) => (error.reason(), error.remedy()),
            WireError::Io(_) | WireError::Protocol(_) => {
                ("DatabaseUnreachable", "check host, port and network policy, and that the server runs".to_owned())
            }
        };
        Trouble::Again(reported(reason, message, remedy))
    }

    /// Reads the log, until the connection is lost.
    pub(super) async fn stream(&self, session: &Session, feed: &mut Feed) -> Result<()> {
        let definitions = {
            let mut inner = self.shared.lock();
            let tables = session.tables.keys();
            tables
                .filter_map(|name| Some((name.clone(), inner.table(name).definition.clone()?)))
                .collect::<HashMap<_, _>>()
        };
        let mut reader = Reader::new(self, session, definitions);
        let (mut parcel, mut transaction) = (Parcel::default(), None);
        loop {
            // What has come is handed on together; when nothing more has come, at once.
            let Some(event) = feed.ready().await.map_err(|error| self.stream_failed(&error))? else {
                self.hand_on_and_tell(feed, std::mem::take(&mut parcel)).await?;
                feed.wait().await.map_err(|error| self.stream_failed(&error))?;
                continue;
            };
            if let Err(trouble) = self.take(&mut reader, event, &mut transaction, &mut parcel).await {
                self.hand_on_and_tell(feed, parcel).await?;
                return Err(trouble);
            }
            if parcel.records.len() >= PARCEL || parcel.bytes >= PARCEL_BYTES {
                self.hand_on_and_tell(feed, std::mem::take(&mut parcel)).await?;
            }
        }
    }

    /// Hands records on; while the pipeline is busy the server is told that the session lives.
    async fn hand_on_and_tell(&self, feed: &mut Feed, parcel: Parcel) -> Result<()> {
        let mut handing_on = pin!(self.hand_on_parcel(parcel));
        loop {
            tokio::select! {
                biased;
                done = &mut handing_on => return done,
                () = tokio::time::sleep_until(feed.due().into()) => {
                    feed.tell().await.map_err(|error| self.stream_failed(&error))?;
                }
            }
        }
    }

    /// Takes one event of the stream.
    async fn take(
        &self,
        reader: &mut Reader<'_>,
        event: Event,
        transaction: &mut Option<Transaction>,
        parcel: &mut Parcel,
    ) -> Result<()> {
        let data = match event {
            Event::Data(data) => data,
            // The log goes on with what is nothing to this slot: so that it need not be kept, that is confirmed as well.
            Event::KeepAlive(wal_end) => {
                if transaction.is_none() {
                    self.shared.set_caught_up(true);
                    let end = End::Log { lsn: wal_end, definitions: Vec::new() };
                    parcel.ends.push((parcel.records.len(), wal_end, end));
                }
                return Ok(());
            }
        };
        match (decode(data).map_err(|error| unexpected(error.to_string()))?, &mut *transaction) {
            (Change::Begin(offset, micros, xid), _) => {
                self.shared.set_caught_up(false);
                let at_millis = micros / 1_000 + EPOCH_MILLIS;
                *transaction = Some(Transaction { offset, xid, at_millis, index: 0, definitions: Vec::new() });
            }
            (Change::Commit(lsn), Some(_)) => {
                if let Some(Transaction { offset, definitions, .. }) = transaction.take() {
                    parcel.ends.push((parcel.records.len(), offset, End::Log { lsn, definitions }));
                }
            }
            (change, Some(transaction)) => {
                let before = parcel.records.len();
                let outcome = reader.read(change, transaction, &mut parcel.records).await;
                parcel.bytes += parcel.records[before..].iter().map(Record::bytes).sum::<usize>();
                outcome?;
            }
            (_, None) => {}
        }
        Ok(())
    }

    async fn hand_on_parcel(&self, parcel: Parcel) -> Result<()> {
        let (mut records, mut handed_on) = (parcel.records.into_iter(), 0);
        for (behind, offset, end) in parcel.ends {
            self.hand_on_new(records.by_ref().take(behind - handed_on).collect()).await?;
            handed_on = behind;
            self.shared.lock().ledger.finish(offset, end);
            self.shared.acknowledged.notify_one();
        }
        self.hand_on_new(records.collect()).await
    }

    /// Hands on those that were not handed on before.
    async fn hand_on_new(&self, mut records: Vec<Record>) -> Result<()> {
        {
            let inner = self.shared.lock();
            records.retain(|record| !inner.ledger.was_sent(record.position.offset, record.position.index));
        }
        if records.is_empty() { Ok(()) } else { self.hand_on(records, |_| {}).await }
    }
}
