//! The demo: an output binding, an input binding and a tiny app on this machine. Messages go out through the first, over
//! RocketMQ, and come back through the second to the app.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes as Body;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::manifest::{self, Document};
use super::workers::Workers;

/// Name of the output binding in [`manifests`].
const OUTPUT: &str = "hello-out";
/// Messages that the demo publishes.
const MESSAGES: usize = 3;
/// Longest time until all have come back: a new consumer group is found late by a broker.
const LIMIT: Duration = Duration::from_secs(90);

/// A message that has come back.
struct Received {
    body: String,
    message_id: String,
    topic: String,
}

/// The app: it takes every message and says so.
pub struct App {
    address: SocketAddr,
    received: mpsc::Receiver<Received>,
}

impl App {
    /// Starts the app on a free port of loopback; it ends with `token`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(token: CancellationToken) -> Result<Self> {
        let failed = |error: std::io::Error| Error::Demo(format!("failed to start the app: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (sender, received) = mpsc::channel(64);
        let router = Router::new().route("/hello", post(take)).with_state(sender);
        tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(token.cancelled_owned()).into_future());
        Ok(Self { address, received })
    }

    /// The demo's manifests: the same that a cluster takes, with this app's address.
    ///
    /// # Errors
    /// They are not YAML, which is a defect of the program.
    pub fn manifests(&self, name_server: &str) -> Result<Vec<Document>> {
        manifest::parse(Path::new("demo"), &manifests(name_server, self.address))
    }

    /// Publishes, waits for everything to come back, and tells each step through `say`.
    ///
    /// # Errors
    /// The API refused a message, or not all came back in time.
    pub async fn play(&mut self, workers: &Workers, program: &str, say: &impl Fn(&str)) -> Result<()> {
        let api = workers.api_address(OUTPUT).ok_or_else(|| Error::Demo("the output binding has no API".to_owned()))?;
        let url = format!("http://{api}/v1.0/bindings/{OUTPUT}");
        let started = Instant::now();
        for number in 1..=MESSAGES {
            let body = format!(r#"{{"operation": "create", "data": {{"hello": "world", "number": {number}}}}}"#);
            publish(&url, &body, started).await?;
            say(&format!("published   POST {url}  {body}"));
        }
        for _ in 0..MESSAGES {
            let left = LIMIT.saturating_sub(started.elapsed());
            let missing = || {
                Error::Demo(format!("a message has not come back within {} s; the table shows why", LIMIT.as_secs()))
            };
            let received = tokio::time::timeout(left, self.received.recv()).await.ok().flatten().ok_or_else(missing)?;
            say(&format!(
                "delivered   POST http://{}/hello  {}  (topic {}, id {})",
                self.address, received.body, received.topic, received.message_id
            ));
        }
        say(&format!(
            "all {MESSAGES} messages went through RocketMQ and back in {:.1} s",
            started.elapsed().as_secs_f64()
        ));
        say("");
        say("Try next, while this runs:");
        say(&format!("  curl -i {url} -d '{{\"operation\": \"create\", \"data\": \"mine\"}}'"));
        say(&format!("  {program} dev -f config/samples --check     # checks manifests as the API server would"));
        say("Ctrl-C drains and ends.");
        Ok(())
    }

    /// Tells every further message through `say` until `token` is cancelled.
    pub async fn follow(&mut self, token: &CancellationToken, say: &impl Fn(&str)) {
        while let Some(Some(received)) = token.run_until_cancelled(self.received.recv()).await {
            say(&format!("delivered   {}  (topic {}, id {})", received.body, received.topic, received.message_id));
        }
    }
}

async fn take(State(sender): State<mpsc::Sender<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (message_id, topic) = (header("rocketmq-message-id"), header("rocketmq-topic"));
    let received = Received { body: String::from_utf8_lossy(&body).into_owned(), message_id, topic };
    match sender.send(received).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Publishes one message; an error of the API is tried again while the topic comes into being.
async fn publish(url: &str, body: &str, started: Instant) -> Result<()> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Body>>();
    loop {
        let request = axum::http::Request::post(url).body(Full::new(Body::from(body.to_owned())));
        let request = request.map_err(|error| Error::Demo(error.to_string()))?;
        let response = client.request(request).await.map_err(|error| Error::Demo(format!("POST {url}: {error}")))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if started.elapsed() > LIMIT {
            let answer = response.into_body().collect().await.map(|answer| answer.to_bytes()).unwrap_or_default();
            return Err(Error::Demo(format!("POST {url}: {status} {}", String::from_utf8_lossy(&answer))));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn manifests(name_server: &str, app: SocketAddr) -> String {
    format!(
        "apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQBinding
metadata: {{name: {OUTPUT}}}
spec:
  nameServer: {name_server}
  topics: [hello]
  direction: Output
---
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQBinding
metadata: {{name: hello-in}}
spec:
  nameServer: {name_server}
  topics: [hello]
  consumerGroup: hello-demo
  direction: Input
  app:
    url: http://{app}
    path: /hello
  delivery:
    startFrom: {{position: First}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::schema::Schemas;
    use super::*;

    #[test]
    fn the_demos_manifests_are_admitted() {
        let text = manifests("127.0.0.1:9876", SocketAddr::from(([127, 0, 0, 1], 8080)));
        let documents = manifest::parse(Path::new("demo"), &text).unwrap();
        let schemas = Schemas::load().unwrap();
        for document in &documents {
            schemas.admit("RocketMQBinding", &document.value).unwrap();
        }
        assert_eq!(documents.len(), 2);
    }
}
