//! One message a request and one an answer: gRPC's framing over HTTP/2 for unary calls.
//!
//! A message's length comes before it, so its share of memory is taken before it is read, and one that is too large costs
//! five bytes. Requests may be compressed with gzip, which every gRPC library has; answers never are.

use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::body::HttpBody;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::Frame;
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

/// Whether the message is compressed (one byte), and its length.
const HEAD: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// The one encoding of compressed messages that is read.
const GZIP: &[u8] = b"gzip";

/// A request whose message is about to be read.
pub struct Incoming {
    body: Body,
    received: BytesMut,
    length: usize,
    is_compressed: bool,
    limit: usize,
}

impl Incoming {
    /// Reads how long the message is.
    ///
    /// # Errors
    /// The body ends before, is compressed with something else than gzip, or announces more than `limit` bytes.
    pub async fn open(headers: &HeaderMap, body: Body, limit: usize) -> Result<Self, Status> {
        let mut incoming = Self { body, received: BytesMut::new(), length: 0, is_compressed: false, limit };
        incoming.fill(HEAD).await?;
        incoming.is_compressed = incoming.received.get_u8() != 0;
        incoming.length = usize::try_from(incoming.received.get_u32()).unwrap_or(usize::MAX);
        let encoding = headers.get(GRPC_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
        if incoming.is_compressed && encoding != GZIP {
            return Err(Status::unimplemented(format!(
                "grpc: Decompressor is not installed for grpc-encoding {:?}; compress with gzip, or send messages as they are",
                String::from_utf8_lossy(encoding)
            )));
        }
        if incoming.length > limit {
            return Err(too_large(incoming.length, limit));
        }
        Ok(incoming)
    }

    /// Bytes of memory that the message may take. How large a compressed one is shows when it is read: at most the limit.
    #[must_use]
    pub fn size(&self) -> usize {
        if self.is_compressed { self.limit } else { self.length }
    }

    /// Reads the message.
    ///
    /// # Errors
    /// The body ends before, or the message is not of this type, or larger than the limit when it is decompressed.
    pub async fn read<Type: Message + Default>(mut self) -> Result<Type, Status> {
        self.fill(self.length).await?;
        let mut message = self.received.split_to(self.length).freeze();
        if self.is_compressed {
            message = gunzip(&message, self.limit)?;
        }
        Type::decode(message)
            .map_err(|error| Status::internal(format!("grpc: failed to unmarshal the received message: {error}")))
    }

    async fn fill(&mut self, wanted: usize) -> Result<(), Status> {
        while self.received.len() < wanted {
            let frame = self
                .body
                .frame()
                .await
                .ok_or_else(|| Status::internal("the request ended before its message; send one message"))?;
            let frame = frame.map_err(|error| Status::cancelled(format!("the request broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            match (self.received.is_empty(), data.try_into_mut()) {
                (true, Ok(data)) => self.received = data, // a small message comes in one piece: no copy
                (_, Ok(data)) => self.received.unsplit(data),
                (_, Err(data)) => self.received.extend_from_slice(&data),
            }
        }
        Ok(())
    }
}

fn too_large(length: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({length} vs. {limit}); send less, or raise spec.api.maxBodySize together with \
         the broker's maxMessageSize"
    ))
}

fn gunzip(bytes: &[u8], limit: usize) -> Result<Bytes, Status> {
    let mut message = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::GzDecoder::new(bytes)
        .take(one_more)
        .read_to_end(&mut message)
        .map_err(|error| Status::internal(format!("grpc: failed to decompress the received message: {error}")))?;
    if message.len() > limit {
        return Err(too_large(message.len(), limit));
    }
    Ok(message.into())
}

/// A message with its length before it.
#[must_use]
pub fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut data = BytesMut::with_capacity(HEAD + length);
    data.put_u8(0);
    data.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer has room for the whole message, the only thing that encoding needs.
    let _ = message.encode(&mut data);
    data.freeze()
}

/// Bytes that hold their share of a budget as long as they are there.
#[must_use]
pub fn hold(bytes: Bytes, share: Option<OwnedSemaphorePermit>) -> Bytes {
    struct Held(Bytes, #[allow(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    match share {
        Some(share) => Bytes::from_owner(Held(bytes, share)),
        None => bytes,
    }
}

/// The answer with one message, which is encoded.
#[must_use]
pub fn answer(message: Bytes) -> Response {
    let mut response = Response::new(Body::new(Unary { data: Some(message), is_ended: false }));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// Reads the answer to a call: its status, before or after the message, and the message.
///
/// # Errors
/// The status is not OK, the message is larger than `limit`, or the answer is not gRPC.
pub async fn read_answer<Type: Message + Default>(
    response: axum::http::Response<hyper::body::Incoming>,
    limit: usize,
) -> Result<Type, Status> {
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        // An answer without a message is a failure, also when it says OK.
        return Err(if status.code() == tonic::Code::Ok {
            Status::internal("the answer has no message")
        } else {
            status
        });
    }
    if !parts.status.is_success() {
        return Err(Status::unknown(format!("HTTP status {}, which is no gRPC", parts.status)));
    }
    let body = Limited::new(body, limit.saturating_add(HEAD)).collect().await;
    let body = body.map_err(|error| Status::unknown(format!("the answer broke off: {error}")))?;
    let status = body.trailers().and_then(Status::from_header_map);
    let status = status.unwrap_or_else(|| Status::unknown("the answer has no status"));
    if status.code() != tonic::Code::Ok {
        return Err(status);
    }
    let mut message = body.to_bytes();
    if message.len() < HEAD || message[0] != 0 {
        return Err(Status::internal("the answer has no message, or a compressed one"));
    }
    message.advance(HEAD);
    Type::decode(message).map_err(|error| Status::internal(format!("the answer's message cannot be read: {error}")))
}

/// The answer of a call that failed: a status and no message.
#[must_use]
pub fn failure(status: Status) -> Response {
    status.into_http()
}

/// One message and the status OK.
struct Unary {
    data: Option<Bytes>,
    is_ended: bool,
}

impl HttpBody for Unary {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if std::mem::replace(&mut self.is_ended, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::proto::{InvokeBindingRequest, InvokeBindingResponse};
    use super::*;

    async fn read(bytes: Vec<Bytes>, limit: usize) -> Result<InvokeBindingRequest, Status> {
        let chunks = bytes.into_iter().map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(futures::stream::iter(chunks));
        let headers = HeaderMap::from_iter([(GRPC_ENCODING, HeaderValue::from_static("gzip"))]);
        Incoming::open(&headers, body, limit).await?.read().await
    }

    fn gzipped(message: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(message).unwrap();
        let bytes = encoder.finish().unwrap();
        let mut framed = BytesMut::new();
        framed.put_u8(1);
        framed.put_u32(u32::try_from(bytes.len()).unwrap());
        framed.extend_from_slice(&bytes);
        framed.freeze()
    }

    #[tokio::test]
    async fn a_compressed_message_is_read_up_to_the_limit() {
        let request = InvokeBindingRequest { name: "orders".into(), data: vec![7; 5000].into(), ..Default::default() };
        let message = request.encode_to_vec();
        let frame = gzipped(&message);
        assert!(frame.len() < 200);
        assert_eq!(read(vec![frame.clone()], message.len()).await.unwrap(), request);
        let refused = read(vec![frame.clone()], message.len() - 1).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        let body = Body::from(frame);
        let refused = Incoming::open(&HeaderMap::new(), body, 10_000).await.err().unwrap();
        assert_eq!(refused.code(), tonic::Code::Unimplemented);
        assert!(refused.message().contains("gzip"), "{refused}");
    }

    #[tokio::test]
    async fn a_message_may_come_in_any_pieces() {
        let request =
            InvokeBindingRequest { name: "orders".into(), data: Bytes::from_static(b"\x00\xff"), ..Default::default() };
        let sent = InvokeBindingResponse { data: request.encode_to_vec().into(), ..Default::default() };
        let whole = answer(encode(&request)).into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
        let whole = whole.to_bytes();
        assert_eq!(whole.slice(HEAD..), sent.data);
        for size in 1..whole.len() {
            let pieces = whole.chunks(size).map(Bytes::copy_from_slice).collect();
            assert_eq!(read(pieces, 100).await.unwrap(), request, "pieces of {size}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused() {
        let message = |head: [u8; 5]| vec![Bytes::copy_from_slice(&head)];
        let table = [
            (Vec::new(), tonic::Code::Internal),
            (message([0, 0, 0, 0, 9]), tonic::Code::Internal),
            (message([1, 0, 0, 0, 0]), tonic::Code::Internal),
            (message([0, 0, 0, 0, 101]), tonic::Code::ResourceExhausted),
            (vec![Bytes::from_static(b"\0\0\0\0\x01\xff")], tonic::Code::Internal),
        ];
        for (bytes, code) in table {
            assert_eq!(read(bytes.clone(), 100).await.unwrap_err().code(), code, "{bytes:?}");
        }
    }
}
