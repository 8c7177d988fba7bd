//! Connections of the API, bounded in number and in the time that they may be idle: a client that says nothing costs a
//! buffer and a slot, and neither for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at one time; further ones wait in the operating system's queue.
pub const MAX_CONNECTIONS: usize = 4_096;
/// Longest time without a byte in either direction. Longer than any answer takes: a publication gives up before.
pub const IDLE: Duration = Duration::from_secs(120);
/// The same for gRPC, whose clients keep a connection that they do not use.
pub const GRPC_IDLE: Duration = Duration::from_secs(30 * 60);
/// The deadline is moved at most this often, so that a busy connection does not work on timers.
const STEP: Duration = Duration::from_secs(1);

/// A listener that accepts as many connections as it has slots.
pub struct BoundedListener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
    idle: Duration,
}

impl BoundedListener {
    /// Bounds `inner` to `connections` at one time, each idle for at most `idle`.
    #[must_use]
    pub fn new(inner: TcpListener, connections: usize, idle: Duration) -> Self {
        Self { inner, slots: Arc::new(Semaphore::new(connections)), idle }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        // The semaphore is never closed, so there is always a slot in the end.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.inner).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to switch off the delay of small packets");
        }
        (BoundedStream::new(stream, self.idle, slot), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection that ends itself when nothing moves on it.
pub struct BoundedStream {
    stream: TcpStream,
    limit: Duration,
    moved: Instant,
    deadline: Pin<Box<Sleep>>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl BoundedStream {
    fn new(stream: TcpStream, limit: Duration, slot: Option<OwnedSemaphorePermit>) -> Self {
        let deadline = Box::pin(tokio::time::sleep(limit));
        Self { stream, limit, moved: Instant::now(), deadline, _slot: slot }
    }

    fn moved(&mut self) {
        let now = Instant::now();
        if now - self.moved >= STEP.min(self.limit / 4) {
            self.moved = now;
            self.deadline.as_mut().reset(now + self.limit);
        }
    }

    fn expired<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was idle for too long")))
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.expired(context),
            read => {
                self.moved();
                read
            }
        }
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.expired(context),
            written => {
                self.moved();
                written
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, slices) {
            Poll::Pending => self.expired(context),
            written => {
                self.moved();
                written
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listener(connections: usize, idle: Duration) -> (BoundedListener, SocketAddr) {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        (BoundedListener::new(inner, connections, idle), address)
    }

    #[tokio::test]
    async fn a_silent_client_is_cut_off_and_a_talking_one_is_not() {
        let (mut listener, address) = listener(2, Duration::from_millis(300)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut server, _) = listener.accept().await;
        let mut byte = [0; 1];
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(120)).await;
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut byte).await.unwrap();
        }
        let error = server.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_waits_for_a_slot() {
        let (mut listener, address) = listener(1, Duration::from_secs(60)).await;
        let _clients = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (first, _) = listener.accept().await;
        let second = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(second.is_err(), "there was no slot");
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), listener.accept()).await.unwrap();
    }
}
