//! Change capture: the log of a replication slot as records.

use std::pin::pin;

use super::super::super::database::postgres::WATCH;
use super::super::super::error::reported;
use super::super::database::changes::{Changes, Transaction};
use super::super::database::definition::Definitions;
use super::super::database::ledger::End;
use super::catalog::in_use;
use super::change::Reader;
use super::feed::{Event, Feed};
use super::pgoutput::{Change, decode};
use super::run::{Run, SETTINGS, Session};
use super::wire::{Wire, WireError};
use super::{Result, Trouble, literal, quoted, unexpected};

/// From 2000-01-01, as PostgreSQL counts, to the Unix epoch.
const EPOCH_MILLIS: i64 = 946_684_800_000;

impl Run {
    /// Begins to read the slot.
    pub(super) async fn start(&self, session: &Session) -> Result<Feed> {
        let options = SETTINGS.into_iter().chain(WATCH).map(|(name, value)| format!("-c {name}={value}"));
        let options = options.collect::<Vec<_>>().join(" ");
        let application = format!("rocketmq-connector {} changes", self.pipe.name);
        let parameters = [("application_name", application.as_str()), ("options", &options)];
        let wire = Wire::connect(&self.config.server, &session.access, &parameters).await;
        let wire = wire.map_err(|error| self.stream_failed(&error))?;
        // 0/0 is what the server has been told last.
        let statement = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {})",
            quoted(&self.config.slot),
            literal(&quoted(&self.config.publication))
        );
        let feed = Feed::start(wire, &statement, self.pipe.shared.saved.subscribe()).await;
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
    pub(super) async fn follow(&self, session: &Session, feed: &mut Feed) -> Result<()> {
        let definitions = {
            let mut inner = self.pipe.shared.lock();
            let tables = session.tables.keys();
            Definitions::new(tables.filter_map(|name| Some((name.clone(), inner.table(name).definition.clone()?))))
        };
        let mut reader = Reader::new(self, session, definitions);
        let (mut parcel, mut transaction) = (Changes::default(), None);
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
            if parcel.is_full() {
                self.hand_on_and_tell(feed, std::mem::take(&mut parcel)).await?;
            }
        }
    }

    /// Hands records on; while the pipeline is busy the server is told that the session lives.
    async fn hand_on_and_tell(&self, feed: &mut Feed, parcel: Changes) -> Result<()> {
        let mut handing_on = pin!(parcel.hand_on(&self.pipe));
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
        parcel: &mut Changes,
    ) -> Result<()> {
        let data = match event {
            Event::Data(data) => data,
            // The log goes on with what is nothing to this slot: so that it need not be kept, that is confirmed as well.
            Event::KeepAlive(wal_end) => {
                if transaction.is_none() {
                    self.pipe.shared.set_caught_up(true);
                    parcel.end(wal_end, End::log(wal_end));
                }
                return Ok(());
            }
        };
        match (decode(data).map_err(|error| unexpected(error.to_string()))?, &mut *transaction) {
            (Change::Begin(offset, micros, xid), _) => {
                self.pipe.shared.set_caught_up(false);
                let at_millis = micros / 1_000 + EPOCH_MILLIS;
                *transaction = Some(Transaction::new(offset, xid, at_millis));
            }
            (Change::Commit(position), Some(_)) => {
                if let Some(Transaction { offset, definitions, emptied, .. }) = transaction.take() {
                    parcel.end(offset, End::Log { position, definitions, emptied });
                }
            }
            (change, Some(transaction)) => {
                let before = parcel.records.len();
                let outcome = reader.read(change, transaction, &mut parcel.records).await;
                parcel.count(before);
                outcome?;
            }
            (_, None) => {}
        }
        Ok(())
    }
}
