//! A replication session with PostgreSQL: start-up, TLS, authentication and frames. `tokio-postgres` opens none.
//!
//! Source: PostgreSQL's documentation, "Frontend/Backend Protocol".

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::super::database::{Access, CONNECT_LIMIT};
use crate::rocketmq::{Error as TlsError, socket, tls};
use crate::worker_config::sync::DatabaseConfig;

/// The one mechanism that PostgreSQL has besides its variant with channel binding.
const SCRAM: &str = "SCRAM-SHA-256";
/// Longest frame: PostgreSQL's own limit of a message.
const LONGEST: usize = 1 << 30;
/// Room for what is read at once.
const READ: usize = 64 * 1024;

/// Why a session does not work.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection cannot be opened, or is lost.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS cannot be agreed on.
    #[error("{0}")]
    Tls(TlsError),
    /// The server says no.
    #[error("{message} (SQLSTATE {code})")]
    Said {
        /// SQLSTATE.
        code: String,
        /// Its words.
        message: String,
    },
    /// The server says something else than the protocol has.
    #[error("{0}")]
    Protocol(String),
}

type Result<Value> = std::result::Result<Value, WireError>;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for Stream {}

/// A session.
pub struct Wire {
    stream: Box<dyn Duplex>,
    read: BytesMut,
    write: BytesMut,
}

impl Wire {
    /// Opens a session that replicates one database.
    ///
    /// # Errors
    /// See [`WireError`].
    pub async fn connect(server: &DatabaseConfig, access: &Access, parameters: &[(&str, &str)]) -> Result<Self> {
        let connecting = Self::open(server, access, parameters);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        tokio::time::timeout(CONNECT_LIMIT, connecting).await.map_err(|_| late())?
    }

    async fn open(server: &DatabaseConfig, access: &Access, parameters: &[(&str, &str)]) -> Result<Self> {
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
        tcp.set_nodelay(true)?;
        socket::watch(&tcp)?;
        let stream: Box<dyn Duplex> = match &access.tls {
            None => Box::new(tcp),
            Some(_) => secured(server, access, tcp).await?,
        };
        let mut wire = Self { stream, read: BytesMut::new(), write: BytesMut::new() };
        let user = [("user", access.username.as_str()), ("database", &server.database), ("replication", "database")];
        frontend::startup_message(user.into_iter().chain(parameters.iter().copied()), &mut wire.write)?;
        wire.flush().await?;
        wire.authenticate(access).await?;
        loop {
            match wire.frame().await? {
                (b'Z', _) => return Ok(wire),
                (b'E', body) => return Err(said(&body)),
                // Parameters, the key for cancelling, notices.
                _ => {}
            }
        }
    }

    async fn authenticate(&mut self, access: &Access) -> Result<()> {
        let password = access.password.expose_secret().as_bytes();
        let mut scram: Option<ScramSha256> = None;
        loop {
            let mut body = match self.frame().await? {
                (b'R', body) => body,
                (b'E', body) => return Err(said(&body)),
                _ => continue,
            };
            let kind = body.try_get_i32().map_err(|_| short())?;
            match (kind, &mut scram) {
                (0, _) => return Ok(()),
                (3, _) => frontend::password_message(password, &mut self.write)?,
                (5, _) => {
                    let salt = <[u8; 4]>::try_from(body.get(..4).unwrap_or_default()).map_err(|_| short())?;
                    let hash = md5_hash(access.username.as_bytes(), password, salt);
                    frontend::password_message(hash.as_bytes(), &mut self.write)?;
                }
                (10, _) if body.split(|byte| *byte == 0).any(|name| name == SCRAM.as_bytes()) => {
                    let started = ScramSha256::new(password, ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM, started.message(), &mut self.write)?;
                    scram = Some(started);
                }
                (11, Some(started)) => {
                    started.update(&body)?;
                    frontend::sasl_response(started.message(), &mut self.write)?;
                }
                (12, Some(started)) => started.finish(&body)?,
                _ => return Err(WireError::Protocol(format!("authentication method {kind} is not known here"))),
            }
            self.flush().await?;
        }
    }

    /// Sends a statement.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn query(&mut self, statement: &str) -> Result<()> {
        frontend::query(statement, &mut self.write)?;
        self.flush().await
    }

    /// Sends data of a copy.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn copy(&mut self, data: &[u8]) -> Result<()> {
        frontend::CopyData::new(data)?.write(&mut self.write);
        self.flush().await
    }

    /// Ends the copy and the session.
    pub async fn end(&mut self) {
        frontend::copy_done(&mut self.write);
        frontend::terminate(&mut self.write);
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    async fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.write).await?;
        self.write.clear();
        self.stream.flush().await?;
        Ok(())
    }

    /// Tag and body of a frame that has come, if one has.
    ///
    /// # Errors
    /// It is no frame.
    pub fn buffered(&mut self) -> Result<Option<(u8, Bytes)>> {
        let Some(head) = self.read.get(1..5) else { return Ok(None) };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if !(4..=LONGEST).contains(&length) {
            return Err(WireError::Protocol(format!("a frame has the length {length}")));
        }
        if self.read.len() <= length {
            return Ok(None);
        }
        let tag = self.read[0];
        let mut frame = self.read.split_to(length + 1);
        frame.advance(5);
        Ok(Some((tag, frame.freeze())))
    }

    /// Reads more; nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn fill(&mut self) -> Result<()> {
        self.read.reserve(READ);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed the connection").into()),
            _ => Ok(()),
        }
    }

    /// Waits for a frame.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn frame(&mut self) -> Result<(u8, Bytes)> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }
}

async fn secured(server: &DatabaseConfig, access: &Access, mut tcp: TcpStream) -> Result<Box<dyn Duplex>> {
    let Some(settings) = &access.tls else { return Ok(Box::new(tcp)) };
    let address = format!("{}:{}", server.host, server.port);
    let connector = tls::connector(settings).map_err(WireError::Tls)?;
    let name = tls::server_name(settings, &address).map_err(WireError::Tls)?;
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await?;
    if tcp.read_u8().await? != b'S' {
        return Err(WireError::Protocol("the server does not offer TLS".to_owned()));
    }
    let stream = connector.connect(name, tcp).await;
    Ok(Box::new(stream.map_err(|error| WireError::Tls(tls::failed(&address, &error)))?))
}

fn short() -> WireError {
    WireError::Protocol("a message ends too early".to_owned())
}

/// The words of an error message: fields of a letter and a text.
pub fn said(body: &Bytes) -> WireError {
    let (mut code, mut message) = (String::new(), String::new());
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, text)) = field.split_first() else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'C' => code = text,
            b'M' => message = text,
            _ => {}
        }
    }
    WireError::Said { code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let stream = tokio::io::empty();
        let mut wire = Wire { stream: Box::new(stream), read: BytesMut::new(), write: BytesMut::new() };
        wire.read.extend_from_slice(&[b'd', 0, 0, 0, 6, 1]);
        assert_eq!(wire.buffered().unwrap(), None);
        wire.read.extend_from_slice(&[2, b'Z', 0, 0, 0, 5]);
        assert_eq!(wire.buffered().unwrap(), Some((b'd', Bytes::from_static(&[1, 2]))));
        assert_eq!(wire.buffered().unwrap(), None);
        wire.read.clear();
        wire.read.extend_from_slice(&[b'd', 255, 255, 255, 255, 0]);
        assert!(wire.buffered().is_err());
    }

    #[test]
    fn the_server_is_quoted() {
        let body = Bytes::from_static(b"SERROR\0C55006\0Mslot is active\0\0");
        assert_eq!(said(&body).to_string(), "slot is active (SQLSTATE 55006)");
    }
}
