//! A namespace on a real API server with an operator that watches it, and ways to wait for what it does.

#![allow(dead_code, reason = "each test program uses its part")]

#[path = "../common/apiserver.rs"]
mod apiserver;
pub mod worker;

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use apiserver::with_definitions;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::object::HasStatus;
use kube::{Api, Client, Resource};
use rocketmq_connector::admin::Readiness;
use rocketmq_connector::api::{RocketMQBinding, RocketMQConnection};
use rocketmq_connector::controller::{self, Settings};
use rocketmq_connector::metrics::Metrics;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Longest time that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An image that no node can pull: workers never start, which these tests don't need.
pub const IMAGE: &str = "registry.invalid/rocketmq-connector:test";

/// A namespace of its own for one test.
pub struct World {
    pub client: Client,
    pub namespace: String,
}

impl World {
    pub async fn new(test: &str) -> Self {
        // Another test of the process may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = with_definitions().await;
        Self::beside(&client, test).await
    }

    /// A further namespace on the same API server.
    pub async fn beside(client: &Client, test: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("reconcile-{test}-{}-{number}", std::process::id());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let object: Namespace = serde_json::from_value(object).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self { client: client.clone(), namespace }
    }

    /// Settings of an operator that watches this namespace only.
    pub fn settings(&self) -> Settings {
        Settings {
            watch_namespace: Some(self.namespace.clone()),
            leader_election: false,
            ..Settings::new(&self.namespace, "operator-0", IMAGE)
        }
    }

    pub fn operator(&self) -> Operator {
        Operator::start(&self.client, self.settings())
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create<K: Object>(&self, name: &str, fields: Value) -> K {
        let mut object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub async fn binding(&self, name: &str, changes: Value) -> RocketMQBinding {
        let mut spec = json!({"nameServer": "names:9876", "topics": ["orders"], "direction": "Output"});
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.create(name, json!({"spec": spec})).await
    }

    pub async fn connection(&self, name: &str, changes: Value) -> RocketMQConnection {
        let mut spec = json!({"nameServers": ["names:9876"]});
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.create(name, json!({"spec": spec})).await
    }

    pub async fn secret(&self, name: &str, data: Value) -> Secret {
        self.create(name, json!({"stringData": data})).await
    }

    /// Merges `changes` into an object.
    pub async fn change<K: Object>(&self, name: &str, changes: Value) -> K {
        self.api().patch(name, &PatchParams::default(), &Patch::Merge(&changes)).await.unwrap()
    }

    pub async fn delete<K: Object>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::background()).await.unwrap();
    }

    pub async fn get<K: Object>(&self, name: &str) -> Option<K> {
        self.api().get_opt(name).await.unwrap()
    }

    /// Waits for an object to exist.
    pub async fn appears<K: Object>(&self, name: &str) -> K {
        self.until(name, "appear", |object: Option<&K>| object.is_some()).await.unwrap()
    }

    /// Waits for an object not to exist.
    pub async fn vanishes<K: Object>(&self, name: &str) {
        self.until(name, "vanish", |object: Option<&K>| object.is_none()).await;
    }

    /// Waits until `holds` of an object.
    pub async fn until<K: Object>(&self, name: &str, what: &str, holds: impl Fn(Option<&K>) -> bool) -> Option<K> {
        let started = Instant::now();
        loop {
            let object = self.get::<K>(name).await;
            if holds(object.as_ref()) {
                return object;
            }
            let kind = K::kind(&());
            assert!(started.elapsed() < PATIENCE, "{kind} {name} did not {what}; it is now {object:#?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a condition of a custom resource has a status and a reason, observed at its newest generation.
    pub async fn condition<K>(&self, name: &str, type_: &str, status: &str, reason: &str) -> Condition
    where
        K: Object + HasStatus,
        K::Status: serde::Serialize,
    {
        let what = format!("have {type_}={status} {reason}");
        let as_wanted = |found: &Condition, object: &K| {
            found.status == status && found.reason == reason && found.observed_generation == object.meta().generation
        };
        let holds = |object: Option<&K>| {
            object.is_some_and(|object| find(object, type_).is_some_and(|found| as_wanted(&found, object)))
        };
        let object = self.until::<K>(name, &what, holds).await.unwrap();
        find(&object, type_).unwrap()
    }

    /// Waits until `Ready` says that workers are missing: they wait for their image, or, on a control plane without nodes,
    /// for a node.
    pub async fn without_workers<K>(&self, name: &str) -> Condition
    where
        K: Object + HasStatus,
        K::Status: serde::Serialize,
    {
        let is_missing = |found: &Condition, object: &K| {
            found.status == "False"
                && ["WorkersNotReady", "AgentUnavailable"].contains(&found.reason.as_str())
                && found.observed_generation == object.meta().generation
        };
        let holds = |object: Option<&K>| {
            object.is_some_and(|object| find(object, "Ready").is_some_and(|found| is_missing(&found, object)))
        };
        let object = self.until::<K>(name, "wait for workers", holds).await.unwrap();
        find(&object, "Ready").unwrap()
    }

    /// Asserts that `holds` of an object stays so for a while.
    pub async fn stays<K: Object>(&self, name: &str, holds: impl Fn(Option<&K>) -> bool) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            let object = self.get::<K>(name).await;
            assert!(holds(object.as_ref()), "{} {name} did not stay as it was: {object:#?}", K::kind(&()));
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Deletes the namespace with everything in it; called at the end of a test that passed.
    pub async fn clean_up(&self) {
        Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::background()).await.unwrap();
    }
}

/// A condition of a custom resource as it is now.
pub fn find<K>(object: &K, type_: &str) -> Option<Condition>
where
    K: HasStatus,
    K::Status: serde::Serialize,
{
    let status = serde_json::to_value(object.status()?).unwrap();
    let conditions: Vec<Condition> = serde_json::from_value(status.get("conditions")?.clone()).unwrap();
    conditions.into_iter().find(|condition| condition.type_ == type_)
}

/// What a namespaced object of these tests is.
pub trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + serde::Serialize
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + serde::Serialize
{
}

/// A running operator.
pub struct Operator {
    token: CancellationToken,
    running: JoinHandle<Result<(), controller::Error>>,
    pub readiness: Readiness,
    pub metrics: Metrics,
}

impl Operator {
    pub fn start(client: &Client, settings: Settings) -> Self {
        let (token, readiness, metrics) = (CancellationToken::new(), Readiness::default(), Metrics::new("operator"));
        let run = controller::run_with(client.clone(), settings, readiness.clone(), metrics.clone(), token.clone());
        Self { token, running: tokio::spawn(run), readiness, metrics }
    }

    /// Whether the operator reconciles, by its own metric.
    pub fn leads(&self) -> bool {
        self.metrics.encode().unwrap().lines().any(|line| line == "rocketmq_connector_leading 1")
    }

    /// Value of a counter, summed over all series that contain `series`.
    pub fn count(&self, series: &str) -> f64 {
        let text = self.metrics.encode().unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(series));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the operator leads.
    pub async fn until_leading(&self) {
        let started = Instant::now();
        while !self.leads() {
            assert!(started.elapsed() < PATIENCE, "the operator did not become leader");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends the operator as SIGTERM does.
    pub async fn stop(self) {
        self.token.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("the operator should end").unwrap().unwrap();
    }
}
