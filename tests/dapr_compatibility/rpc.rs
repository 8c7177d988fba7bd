//! gRPC on the wire: a caller of unary methods, and an application that serves `AppCallback`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use rocketmq_connector::worker::grpc::proto::{BindingEventRequest, ListInputBindingsResponse};
use rocketmq_connector::worker::grpc::status::{ErrorInfo, RpcStatus};
use rocketmq_connector::worker::grpc::{LIST_INPUT_BINDINGS, ON_BINDING_EVENT};
use tonic::{Code, Status};

/// An answer: the status, and the message when there is one.
pub struct Reply {
    pub code: Code,
    pub message: String,
    pub info: Option<ErrorInfo>,
    pub data: Option<Bytes>,
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// Calls a method; `path` is `/service/method`.
pub async fn call(address: SocketAddr, path: &str, message: &[u8]) -> Reply {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let response = client.request(request.body(Full::from(framed(message))).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    // An answer without a message has its status in the header.
    let status =
        collected.trailers().cloned().filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(head.headers);
    let status = Status::from_header_map(&status).unwrap_or_else(|| panic!("{path}: no status: {status:?}"));
    let data = collected.to_bytes();
    Reply {
        code: status.code(),
        message: status.message().to_owned(),
        info: info(status.details()),
        data: (data.len() >= 5).then(|| data.slice(5..)),
    }
}

fn info(details: &[u8]) -> Option<ErrorInfo> {
    let status = RpcStatus::decode(details).unwrap();
    status.details.first().map(|detail| ErrorInfo::decode(detail.value.clone()).unwrap())
}

/// An event as the application got it.
#[derive(Debug, Clone)]
pub struct Event {
    pub request: BindingEventRequest,
    /// gRPC's metadata.
    pub headers: HeaderMap,
}

/// The status of the first answer to a body.
type FirstStatus = Arc<dyn Fn(&[u8]) -> u32 + Send + Sync>;

/// An application that takes every event of the binding "rmq", but answers `status` to the first of each body.
#[derive(Clone)]
pub struct GrpcApp {
    pub address: SocketAddr,
    events: Arc<Mutex<Vec<Event>>>,
    first_status: FirstStatus,
}

impl GrpcApp {
    pub async fn start(first_status: impl Fn(&[u8]) -> u32 + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            events: Arc::default(),
            first_status: Arc::new(first_status),
        };
        let router = Router::new().fallback(serve).with_state(app.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        app
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
}

async fn serve(State(app): State<GrpcApp>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let message = body.collect().await.unwrap().to_bytes();
    let message = message.slice(message.len().min(5)..);
    match head.uri.path() {
        LIST_INPUT_BINDINGS => {
            answer(0, &ListInputBindingsResponse { bindings: vec!["rmq".to_owned()] }.encode_to_vec())
        }
        ON_BINDING_EVENT => {
            let request = BindingEventRequest::decode(message).unwrap();
            let mut events = app.events.lock().unwrap();
            let is_first = !events.iter().any(|event| event.request.data == request.data);
            let status = if is_first { (app.first_status)(&request.data) } else { 0 };
            events.push(Event { request, headers: head.headers });
            answer(status, &[])
        }
        _ => answer(12, &[]),
    }
}

fn answer(status: u32, message: &[u8]) -> Response<Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(status))]);
    let frames = [Frame::data(framed(message)), Frame::trailers(trailers)];
    let frames = frames.into_iter().skip(usize::from(status != 0)).map(Ok::<_, std::convert::Infallible>);
    let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
