//! One connection to a name server or broker: requests are pipelined, answers are matched by `opaque`.
//!
//! ```text
//! invoke ──frame──▶ channel (bounded) ──▶ writer task ──▶ socket ──▶ reader task ──▶ waiting invoke, or the client's
//!                                                                                    handler for the broker's requests
//! ```
//! When either task ends the connection is closed, and every waiting request fails with `ConnectionLost`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::config::TlsConfig;
use super::error::{Error, ErrorKind, Result};
use super::wire::Command;
use super::{socket, tls};

/// Frames that may wait for the writer before senders are held back.
const WRITER_QUEUE: usize = 1024;
/// Bodies longer than this many bytes are written from where they are; shorter ones are gathered with what stands around them.
const GATHERED_BODY: usize = 16 * 1024;
/// Bytes that are gathered into one write.
const WRITE_BYTES: usize = 256 * 1024;
/// Most room that is made because of a length that a peer tells.
const MOST_AHEAD: usize = 256 * 1024;
/// Least and most room for bytes that come, where no more is known to be missing.
const READ_ROOM: usize = 8 * 1024;
const MOST_READ_ROOM: usize = 64 * 1024;

/// A request of a broker to this client, with the connection to answer on.
pub(crate) type BrokerRequest = (Arc<Connection>, Command);

/// An open connection.
pub(crate) struct Connection {
    peer: String,
    frames: mpsc::Sender<Frame>,
    waiting: Mutex<HashMap<i32, oneshot::Sender<Command>>>,
    next_opaque: AtomicI32,
    closed: CancellationToken,
}

impl Connection {
    /// Dials `address` and starts the connection's tasks; they end when `parent` is cancelled.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] or [`ErrorKind::Tls`] with the address and the cause.
    pub async fn open(
        address: &str,
        tls: Option<(&tokio_rustls::TlsConnector, &TlsConfig)>,
        limit: Duration,
        requests: mpsc::Sender<BrokerRequest>,
        parent: &CancellationToken,
    ) -> Result<Arc<Self>> {
        let dial = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| Error::new(ErrorKind::Connect, format!("cannot connect to {address}: {error}")))?;
            stream.set_nodelay(true).and_then(|()| socket::watch(&stream)).map_err(|error| {
                Error::new(ErrorKind::Connect, format!("cannot set up the socket to {address}: {error}"))
            })?;
            let Some((connector, config)) = tls else {
                let (reader, writer) = stream.into_split();
                return Ok(Self::start(address, reader, writer, requests, parent));
            };
            let name = tls::server_name(config, address)?;
            let stream = connector.connect(name, stream).await.map_err(|error| tls::failed(address, &error))?;
            let (reader, writer) = tokio::io::split(stream);
            Ok(Self::start(address, reader, writer, requests, parent))
        };
        tokio::time::timeout(limit, dial).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Connect,
                format!("cannot connect to {address}: no answer within {} ms", limit.as_millis()),
            ))
        })
    }

    fn start(
        peer: &str,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        requests: mpsc::Sender<BrokerRequest>,
        parent: &CancellationToken,
    ) -> Arc<Self> {
        let (frames, queue) = mpsc::channel(WRITER_QUEUE);
        let connection = Arc::new(Self {
            peer: peer.to_owned(),
            frames,
            waiting: Mutex::default(),
            next_opaque: AtomicI32::new(1),
            closed: parent.child_token(),
        });
        tokio::spawn(write_frames(writer, queue, connection.closed.clone()));
        tokio::spawn(read_frames(reader, connection.clone(), requests));
        connection
    }

    /// Whether the connection can no longer be used.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Completes when the connection ends.
    pub async fn wait_closed(&self) {
        self.closed.cancelled().await;
    }

    /// Sends a request and waits for its answer. Dropping the future forgets the answer; the request may be carried out.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionLost`] or [`ErrorKind::Timeout`].
    pub async fn invoke(&self, mut request: Command, limit: Duration) -> Result<Command> {
        request.opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting { connection: self, opaque: request.opaque };
        self.waiting().insert(request.opaque, sender);
        let exchange = async {
            self.write(&request).await?;
            answer.await.map_err(|_| self.lost())
        };
        let outcome = tokio::time::timeout(limit, exchange).await;
        drop(waiting);
        outcome.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("{} did not answer within {} ms", self.peer, limit.as_millis())))
        })
    }

    /// Sends a request that is not answered, or a response.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionLost`].
    pub async fn send(&self, mut command: Command) -> Result<()> {
        if !command.is_response() {
            command.opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        }
        self.write(&command).await
    }

    async fn write(&self, command: &Command) -> Result<()> {
        let mut head = BytesMut::new();
        command.encode_head(&mut head);
        if self.is_closed() {
            return Err(self.lost());
        }
        let frame = Frame { head: head.freeze(), body: command.body.clone() };
        self.frames.send(frame).await.map_err(|_| self.lost())
    }

    fn lost(&self) -> Error {
        Error::new(ErrorKind::ConnectionLost, format!("the connection to {} ended", self.peer))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<i32, oneshot::Sender<Command>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.closed.cancel();
        self.waiting().clear();
    }
}

/// A command on its way to the peer.
struct Frame {
    head: Bytes,
    body: Bytes,
}

/// Forgets a request when its future ends, however it ends.
struct Waiting<'a> {
    connection: &'a Connection,
    opaque: i32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.connection.waiting().remove(&self.opaque);
    }
}

async fn write_frames(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Frame>,
    closed: CancellationToken,
) {
    let mut frames = Vec::new();
    let mut gathered = BytesMut::new();
    while let Some(count) = closed.run_until_cancelled(queue.recv_many(&mut frames, 256)).await {
        if count == 0 {
            break;
        }
        let mut outcome = Ok(());
        for Frame { head, mut body } in frames.drain(..) {
            gathered.extend_from_slice(&head);
            if body.len() <= GATHERED_BODY {
                gathered.extend_from_slice(&body);
                body.clear();
            }
            if !body.is_empty() || gathered.len() >= WRITE_BYTES {
                outcome = outcome.and(writer.write_all_buf(&mut Buf::chain(&gathered[..], body)).await);
                gathered.clear();
            }
        }
        outcome = outcome.and(writer.write_all(&gathered).await).and(writer.flush().await);
        gathered.clear();
        if outcome.is_err() {
            break;
        }
    }
    closed.cancel();
    // the peer may be gone already; there is nothing left to lose
    let _ = writer.shutdown().await;
}

async fn read_frames(
    mut reader: impl AsyncRead + Unpin,
    connection: Arc<Connection>,
    requests: mpsc::Sender<BrokerRequest>,
) {
    let (mut buffer, mut room) = (BytesMut::with_capacity(2 * READ_ROOM), READ_ROOM);
    loop {
        match Command::decode(&mut buffer) {
            Ok(Some(command)) if command.is_response() => {
                if let Some(waiting) = connection.waiting().remove(&command.opaque) {
                    // the caller may have given up in this moment
                    let _ = waiting.send(command);
                }
            }
            Ok(Some(command)) => {
                // a full queue means that the client is overwhelmed: the broker repeats what matters
                let _ = requests.try_send((connection.clone(), command));
            }
            Ok(None) => {
                buffer.reserve(Command::missing(&buffer).min(MOST_AHEAD).max(room));
                let free = buffer.capacity() - buffer.len();
                match connection.closed.run_until_cancelled(reader.read_buf(&mut buffer)).await {
                    Some(Ok(count)) if count > 0 => {
                        // Where much comes, several frames come with one read.
                        room = if count == free { (room * 2).min(MOST_READ_ROOM) } else { (room / 2).max(READ_ROOM) };
                    }
                    _ => break,
                }
            }
            Err(error) => {
                tracing::warn!(peer = connection.peer, %error, "closing a connection that does not speak RocketMQ's protocol");
                break;
            }
        }
    }
    connection.close();
}
