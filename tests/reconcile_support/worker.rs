//! Worker pods as the operator sees them: an object without containers that run, and a server of reports.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::World;

/// What a worker serves: its report. It keeps the polls.
#[derive(Clone)]
pub struct FakeWorker {
    pub report: Arc<Mutex<Value>>,
    polls: Arc<Mutex<Vec<String>>>,
}

impl FakeWorker {
    /// Serves `report` on `/status`, and `routes` besides; the port.
    pub async fn start(report: Value, routes: axum::Router) -> (u16, Self) {
        let worker = Self { report: Arc::new(report.into()), polls: Arc::default() };
        let shared = worker.clone();
        let status = axum::routing::get(move |uri: http::Uri| {
            shared.polls.lock().unwrap().push(uri.query().unwrap_or_default().to_owned());
            let report = shared.report.lock().unwrap().clone();
            async move { axum::Json(report) }
        });
        let router = axum::Router::new().route("/status", status).merge(routes);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (port, worker)
    }

    /// Waits until the newest poll told `word`.
    pub async fn is_told(&self, word: &str) {
        let started = tokio::time::Instant::now();
        while !self.polls.lock().unwrap().last().is_some_and(|poll| poll.contains(word)) {
            let newest = self.polls.lock().unwrap().last().cloned();
            assert!(started.elapsed() < Duration::from_secs(60), "{word} was not told; newest: {newest:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A pod of `owner` with this status, whose component is `connection`, `binding` or `sync`.
pub async fn pod(world: &World, component: &str, owner: &str, status: Value) {
    let labels = json!({
        "app.kubernetes.io/managed-by": "rocketmq-connector-operator",
        "app.kubernetes.io/component": component,
    });
    let name = format!("{owner}-x");
    let metadata = json!({"name": name, "labels": labels, "annotations": {"connector.rocketmq.dev/owner": owner}});
    let spec = json!({"schedulingGates": [{"name": "tests.rocketmq.dev/never"}], "containers": [{"name": "worker", "image": "none"}]});
    world.create::<Pod>(&name, json!({"metadata": metadata, "spec": spec})).await;
    let status = json!({ "status": status });
    world.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}
