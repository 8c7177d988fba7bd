//! The messages of a replication slot, and what the server is told about them.
//!
//! Source: PostgreSQL's documentation, "Streaming Replication Protocol".

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use tokio::sync::watch;

use super::wire::{Wire, WireError, said};

/// How often the server is told how far everything is durable; also what keeps it from giving the session up.
const STATUS: Duration = Duration::from_millis(500);
/// From the Unix epoch to 2000-01-01, from which PostgreSQL counts.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What comes out of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message of the output plug-in.
    Data(Bytes),
    /// Everything up to this position of the log was sent.
    KeepAlive(u64),
}

/// A session that reads a slot.
pub struct Feed {
    wire: Wire,
    /// Position up to which everything is durable.
    saved: watch::Receiver<u64>,
    due: Instant,
}

impl Feed {
    /// Begins to read with `statement`, which is `START_REPLICATION …`.
    ///
    /// # Errors
    /// The server refuses it, or is lost.
    pub async fn start(mut wire: Wire, statement: &str, saved: watch::Receiver<u64>) -> Result<Self, WireError> {
        wire.query(statement).await?;
        loop {
            match wire.frame().await? {
                (b'W', _) => return Ok(Self { wire, saved, due: Instant::now() }),
                (b'E', body) => return Err(said(&body)),
                _ => {}
            }
        }
    }

    /// The next event, if it has come.
    ///
    /// # Errors
    /// The server has ended the stream.
    pub async fn ready(&mut self) -> Result<Option<Event>, WireError> {
        self.tell_if_due().await?;
        while let Some((tag, mut body)) = self.wire.buffered()? {
            match tag {
                b'd' => {}
                b'E' => return Err(said(&body)),
                b'c' | b'C' => return Err(WireError::Protocol("the server has ended the stream".to_owned())),
                _ => continue,
            }
            let short = |_| WireError::Protocol("a message of the stream ends too early".to_owned());
            match body.try_get_u8().map_err(short)? {
                b'w' if body.len() >= 24 => return Ok(Some(Event::Data(body.slice(24..)))),
                b'k' => {
                    let wal_end = body.try_get_u64().map_err(short)?;
                    body.try_get_u64().map_err(short)?;
                    if body.try_get_u8().map_err(short)? != 0 {
                        self.tell().await?;
                    }
                    return Ok(Some(Event::KeepAlive(wal_end)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Waits for something to come, at most until the server is to be told.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn wait(&mut self) -> Result<(), WireError> {
        tokio::select! {
            filled = self.wire.fill() => filled,
            () = tokio::time::sleep_until(self.due.into()) => Ok(()),
        }
    }

    /// When [`tell`](Self::tell) is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    async fn tell_if_due(&mut self) -> Result<(), WireError> {
        if Instant::now() >= self.due { self.tell().await } else { Ok(()) }
    }

    /// Tells the server how far everything is durable.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn tell(&mut self) -> Result<(), WireError> {
        let saved = *self.saved.borrow();
        let mut status = Vec::with_capacity(34);
        status.put_u8(b'r');
        // Written, flushed and applied.
        (0..3).for_each(|_| status.put_u64(saved));
        status.put_i64(jiff::Timestamp::now().as_microsecond() - EPOCH_MICROS);
        status.put_u8(0);
        self.due = Instant::now() + STATUS;
        self.wire.copy(&status).await
    }

    /// Tells it for the last time, and ends the session.
    pub async fn end(mut self) {
        const LIMIT: Duration = Duration::from_secs(3);
        let ending = async {
            if self.tell().await.is_ok() {
                self.wire.end().await;
            }
        };
        let _ = tokio::time::timeout(LIMIT, ending).await;
    }
}
