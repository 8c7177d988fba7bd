//! An HTTP endpoint that counts how often it has taken each record.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Runtime;

/// Seconds that an answer 429 asks to wait.
const RETRY_SECONDS: &str = "2";

/// What outlives a death of the endpoint.
#[derive(Default)]
struct Kept {
    taken: Mutex<BTreeMap<String, usize>>,
    /// Status with which everything is refused; 0 for none.
    refusal: AtomicU16,
}

/// The endpoint; what it has taken outlives its death.
pub struct Receiver {
    address: SocketAddr,
    kept: Arc<Kept>,
    /// None while it is dead. A runtime of its own, so that its connections end with it.
    runtime: Mutex<Option<Runtime>>,
}

impl Receiver {
    /// Listens on a port of its own.
    pub fn start(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, kept: Arc::default(), runtime: Mutex::default() };
        receiver.serve(listener);
        receiver
    }

    fn serve(&self, listener: TcpListener) {
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let router =
            Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&self.kept));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).into_future().await.unwrap();
        });
        *self.runtime.lock().unwrap() = Some(runtime);
    }

    /// Ends it with all of its connections, whatever is under way.
    pub fn kill(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }

    /// Listens again on the same port.
    pub fn start_again(&self) {
        self.kill();
        for _ in 0..100 {
            if let Ok(listener) = TcpListener::bind(self.address) {
                return self.serve(listener);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{} cannot be listened on again", self.address);
    }

    pub fn url(&self) -> String {
        format!("http://{}/records", self.address)
    }

    /// How often each record was taken.
    pub fn taken(&self) -> BTreeMap<String, usize> {
        self.kept.taken.lock().unwrap().clone()
    }

    /// Refuses everything with this status, or nothing.
    pub fn refuse(&self, status: Option<u16>) {
        self.kept.refusal.store(status.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn answer(State(kept): State<Arc<Kept>>, body: Bytes) -> Response {
    match StatusCode::from_u16(kept.refusal.load(Ordering::Relaxed)) {
        Ok(StatusCode::TOO_MANY_REQUESTS) => {
            (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, RETRY_SECONDS)]).into_response()
        }
        Ok(status) => status.into_response(),
        Err(_) => take(&kept, &body).into_response(),
    }
}

fn take(kept: &Kept, body: &Bytes) -> StatusCode {
    let Ok(Value::Array(records)) = serde_json::from_slice(body) else { return StatusCode::BAD_REQUEST };
    let mut taken = kept.taken.lock().unwrap();
    for record in records {
        let Some(number) = record["body"]["n"].as_str() else { return StatusCode::BAD_REQUEST };
        *taken.entry(number.to_owned()).or_default() += 1;
    }
    StatusCode::OK
}
