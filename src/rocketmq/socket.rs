//! What is asked of the kernel for a connection: a peer that is gone without a word is noticed within half a minute. Without
//! that a request waits a quarter of an hour for an answer, and one that only listens waits for ever.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Bytes that are not confirmed for this long mean that the peer is gone.
pub(crate) const UNCONFIRMED: Duration = Duration::from_secs(20);
/// Silence after which the peer is probed.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);
/// Time between two probes; [`UNCONFIRMED`] says when they are enough.
pub(crate) const PROBE: Duration = Duration::from_secs(5);

/// Has the kernel look after the connection.
///
/// # Errors
/// The kernel refuses the options.
pub(crate) fn watch(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNCONFIRMED))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_is_asked_to_look_after_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        watch(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert_eq!((socket.keepalive().unwrap(), socket.tcp_keepalive_time().unwrap()), (true, SILENCE));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNCONFIRMED));
    }
}
