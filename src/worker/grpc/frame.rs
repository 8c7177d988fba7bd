//! One message a request and one an answer: gRPC's framing over HTTP/2 for unary calls.
//!
//! A message's length comes before it, so its share of memory is taken before it is read, and one that is too large costs
//! five bytes.

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

/// A request whose message is about to be read.
pub struct Incoming {
    body: Body,
    received: BytesMut,
    length: usize,
}

impl Incoming {
    /// Reads how long the message is.
    ///
    /// # Errors
    /// The body ends before, is compressed, or announces more than `limit` bytes.
    pub async fn open(body: Body, limit: usize) -> Result<Self, Status> {
        let mut incoming = Self { body, received: BytesMut::new(), length: 0 };
        incoming.fill(HEAD).await?;
        let is_compressed = incoming.received.get_u8() != 0;
        incoming.length = usize::try_from(incoming.received.get_u32()).unwrap_or(usize::MAX);
        if is_compressed {
            return Err(Status::unimplemented(
                "the message is compressed, which this worker does not read; send it as it is",
            ));
        }
        if incoming.length > limit {
            return Err(Status::resource_exhausted(format!(
                "grpc: received message larger than max ({} vs. {limit}); send less, or raise spec.api.maxBodySize together \
                 with the broker's maxMessageSize",
                incoming.length
            )));
        }
        Ok(incoming)
    }

    /// Bytes of the message.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Reads the message.
    ///
    /// # Errors
    /// The body ends before, or the message is not of this type.
    pub async fn read<Type: Message + Default>(mut self) -> Result<Type, Status> {
        self.fill(self.length).await?;
        let message = self.received.split_to(self.length).freeze();
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
    use super::super::proto::{InvokeBindingRequest, InvokeBindingResponse};
    use super::*;

    async fn read(bytes: Vec<Bytes>, limit: usize) -> Result<InvokeBindingRequest, Status> {
        let chunks = bytes.into_iter().map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(futures::stream::iter(chunks));
        Incoming::open(body, limit).await?.read().await
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
            (message([1, 0, 0, 0, 0]), tonic::Code::Unimplemented),
            (message([0, 0, 0, 0, 101]), tonic::Code::ResourceExhausted),
            (vec![Bytes::from_static(b"\0\0\0\0\x01\xff")], tonic::Code::Internal),
        ];
        for (bytes, code) in table {
            assert_eq!(read(bytes.clone(), 100).await.unwrap_err().code(), code, "{bytes:?}");
        }
    }
}
