//! RocketMQConnection against a real API server (`KUBECONFIG`), and what a binding makes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod reconcile_support;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use rocketmq_connector::api::{RocketMQBinding, RocketMQConnection};
use rocketmq_connector::worker_config::{Role, WorkerConfig};
use serde_json::json;

use reconcile_support::World;
use reconcile_support::worker::{FakeWorker, pod};

fn config(map: &ConfigMap) -> WorkerConfig {
    WorkerConfig::from_json(&map.data.as_ref().unwrap()["worker.json"]).unwrap()
}

fn name_servers(map: &ConfigMap) -> Vec<String> {
    match config(map).role {
        Role::Connection(connection) => connection.cluster.name_servers,
        Role::Binding(binding) => binding.cluster.name_servers,
        Role::Sync(mut sync) => {
            sync.clusters_mut().into_iter().flat_map(|cluster| cluster.name_servers.clone()).collect()
        }
    }
}

#[tokio::test]
async fn a_connection_gets_one_worker_and_waits_for_its_test() {
    let world = World::new("connection").await;
    let operator = world.operator();
    world.connection("main", json!({"nameServers": ["a", "b:1"], "topics": ["orders"], "testInterval": "30s"})).await;
    let deployment = world.appears::<Deployment>("main-connection").await;
    assert_eq!(deployment.spec.unwrap().replicas, Some(1));
    let map = world.appears::<ConfigMap>("main-connection").await;
    assert_eq!(name_servers(&map), ["a:9876", "b:1"]);
    assert_eq!(world.get::<Service>("main-connection").await, None);
    world.condition::<RocketMQConnection>("main", "Accepted", "True", "Accepted").await;
    world.condition::<RocketMQConnection>("main", "Tested", "Unknown", "TestPending").await;
    world.without_workers::<RocketMQConnection>("main").await;

    world.delete::<RocketMQConnection>("main").await;
    world.vanishes::<Deployment>("main-connection").await;
    world.vanishes::<ConfigMap>("main-connection").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_missing_certificate_is_told_and_noticed() {
    let world = World::new("tls").await;
    let operator = world.operator();
    let tls = json!({"ca": {"configMapKeyRef": {"name": "trust", "key": "ca.crt"}}});
    world.connection("main", json!({"tls": tls})).await;
    let unresolved = world.condition::<RocketMQConnection>("main", "ResolvedRefs", "False", "ConfigMapNotFound").await;
    assert!(unresolved.message.contains("spec.tls.ca: ConfigMap \"trust\" does not exist"), "{}", unresolved.message);
    world.create::<ConfigMap>("trust", json!({"data": {"ca.crt": "-----BEGIN CERTIFICATE-----"}})).await;
    world.condition::<RocketMQConnection>("main", "ResolvedRefs", "True", "Resolved").await;
    let deployment = world.appears::<Deployment>("main-connection").await;
    let text = serde_json::to_string(&deployment).unwrap();
    assert!(text.contains("/etc/rocketmq-connector/credentials") && text.contains("\"trust\""), "{text}");
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_binding_follows_its_connection() {
    let world = World::new("follow").await;
    let operator = world.operator();
    world.binding("orders", json!({"nameServer": null, "connectionRef": {"name": "main"}})).await;
    let unresolved = world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "False", "ConnectionNotFound").await;
    assert!(unresolved.message.contains("RocketMQConnection \"main\" does not exist"), "{}", unresolved.message);

    let reference = |key: &str| json!({"secretKeyRef": {"name": "acl", "key": key}});
    let credentials = json!({"accessKey": reference("user"), "secretKey": reference("password")});
    world.secret("acl", json!({"user": "a", "password": "b"})).await;
    world.connection("main", json!({"nameServers": ["old"], "credentials": credentials})).await;
    world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "True", "Resolved").await;
    let map = world.appears::<ConfigMap>("orders-binding").await;
    assert_eq!(name_servers(&map), ["old:9876"]);
    let before = world.appears::<Deployment>("orders-binding").await;

    world.change::<RocketMQConnection>("main", json!({"spec": {"nameServers": ["new"]}})).await;
    let new = |map: Option<&ConfigMap>| map.is_some_and(|map| name_servers(map) == ["new:9876"]);
    world.until("orders-binding", "name the new server", new).await;
    let rolled = |now: Option<&Deployment>| now.is_some_and(|now| now.metadata.generation > before.metadata.generation);
    world.until("orders-binding", "be rolled", rolled).await;

    // The connection goes: the workers stay, and the user is told.
    world.delete::<RocketMQConnection>("main").await;
    world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "False", "ConnectionNotFound").await;
    world.stays("orders-binding", |now: Option<&Deployment>| now.is_some()).await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_connection_and_a_binding_of_one_name_don_t_meet() {
    let world = World::new("same").await;
    let operator = world.operator();
    world.connection("main", json!({})).await;
    world.binding("main", json!({"nameServer": null, "connectionRef": {"name": "main"}})).await;
    world.appears::<Deployment>("main-connection").await;
    world.appears::<Deployment>("main-binding").await;
    world.condition::<RocketMQConnection>("main", "Accepted", "True", "Accepted").await;
    world.condition::<RocketMQBinding>("main", "Accepted", "True", "Accepted").await;
    operator.stop().await;
    world.clean_up().await;
}

/// The models of a connection's worker, in two pages.
fn models() -> axum::Router {
    let model = |topic: &str| json!({"topic": topic, "queues": 1, "messages": 0, "sampled": 0, "format": "Empty", "schema": {"title": topic}});
    let pages = [
        json!({"revision": "r1", "models": [model("a"), model("b%c")], "next": "b%c"}),
        json!({"revision": "r1", "models": [model("d")]}),
    ];
    let models = axum::routing::get(move |uri: http::Uri| {
        let is_first = uri.query().unwrap_or_default().contains("after=&");
        let page = pages[usize::from(!is_first)].clone();
        async move { axum::Json(page) }
    });
    axum::Router::new().route("/models", models)
}

#[tokio::test]
async fn users_orders_and_models_pass_between_operator_and_worker_without_a_restart() {
    let world = World::new("users").await;
    let report = json!({
        "revision": 2, "programVersion": "0", "startedAtMillis": 1, "state": "Running",
        "identity": {"kind": "RocketMQConnection", "namespace": world.namespace, "name": "main", "generation": 1},
        "heartbeat": {"state": "Stopped", "sinceMillis": 1_700_000_000_000_i64},
        "models": {"revision": "r1", "count": 3, "failed": 0, "added": 3, "removed": 0, "changed": 0,
            "loadedAtMillis": 1_700_000_000_000_i64, "durationMillis": 5, "nextAtMillis": 1_700_003_600_000_i64},
    });
    let (port, worker) = FakeWorker::start(report, models()).await;
    let settings = rocketmq_connector::controller::Settings { worker_admin_port: port, ..world.settings() };
    let operator = reconcile_support::Operator::start(&world.client, settings);
    world.connection("main", json!({"heartbeat": {}})).await;
    let deployment = world.appears::<Deployment>("main-connection").await;
    pod(
        &world,
        "connection",
        "main",
        json!({"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}),
    )
    .await;

    worker.is_told("users=0").await;
    world.condition::<RocketMQConnection>("main", "Heartbeating", "False", "NoUsers").await;
    world.condition::<RocketMQConnection>("main", "ModelsLoaded", "True", "ModelsLoaded").await;
    let status = world.get::<RocketMQConnection>("main").await.unwrap().status.unwrap();
    let models = status.models.unwrap();
    assert_eq!((models.count, models.added, models.next_load.is_some()), (3, 3, true));
    let first = world.appears::<ConfigMap>("main-connection-models-0").await.data.unwrap();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["a.schema.json", "b.25c.schema.json", "models.json"]);
    world.appears::<ConfigMap>("main-connection-models-1").await;

    // A binding that runs is a user; the worker hears of it, and no pod is rolled.
    let changes = json!({"nameServer": null, "connectionRef": {"name": "main"}, "replicas": 1});
    world.binding("orders", changes).await;
    worker.is_told("users=1").await;
    let in_use = |map: Option<&ConfigMap>| {
        map.is_some_and(|map| map.data.as_ref().unwrap()["worker.json"].contains("\"inUse\": true"))
    };
    world.until("main-connection", "be in use", in_use).await;
    let has_user = |found: Option<&RocketMQConnection>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|status| status.users == Some(1))
    };
    world.until("main", "have a user", has_user).await;
    world.change::<RocketMQBinding>("orders", json!({"spec": {"state": "Paused"}})).await;
    worker.is_told("users=0").await;
    world.change::<RocketMQBinding>("orders", json!({"spec": {"state": "Running"}})).await;
    worker.is_told("users=1").await;
    world.delete::<RocketMQBinding>("orders").await;
    worker.is_told("users=0").await;

    // Annotations are orders.
    world
        .change::<RocketMQConnection>(
            "main",
            json!({"metadata": {"annotations": {"connector.rocketmq.dev/test": "now"}}}),
        )
        .await;
    worker.is_told("test=").await;
    let annotations = json!({"metadata": {"annotations": {"connector.rocketmq.dev/load-models": "now"}}});
    world.change::<RocketMQConnection>("main", annotations).await;
    worker.is_told("loadModels=").await;
    let after = world.get::<Deployment>("main-connection").await.unwrap();
    assert_eq!(after.metadata.generation, deployment.metadata.generation);

    world.delete::<RocketMQConnection>("main").await;
    world.vanishes::<ConfigMap>("main-connection-models-0").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_pod_without_an_eligible_node_is_told_with_the_schedulers_words() {
    let world = World::new("agent").await;
    let operator = world.operator();
    let agent = json!({"mode": "Manual", "nodeName": "node-7", "tolerations": [{"key": "mq", "operator": "Exists"}]});
    world.connection("main", json!({"agent": agent})).await;
    world.binding("orders", json!({"nameServer": null, "connectionRef": {"name": "main"}})).await;
    for name in ["main-connection", "orders-binding"] {
        let deployment = serde_json::to_value(world.appears::<Deployment>(name).await).unwrap();
        let spec = &deployment["spec"]["template"]["spec"];
        let terms =
            &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchFields"][0]["values"], json!(["node-7"]), "{spec:#}");
        assert_eq!(spec["tolerations"][0]["key"], "mq");
    }
    // The scheduler's own words: "no nodes available to schedule pods" without nodes, else how many did not match.
    let ready = world.condition::<RocketMQConnection>("main", "Ready", "False", "AgentUnavailable").await;
    for words in ["no node is eligible for main-connection-", "available", "change agent of the connection"] {
        assert!(ready.message.contains(words), "{}", ready.message);
    }
    world.condition::<RocketMQBinding>("orders", "Ready", "False", "AgentUnavailable").await;
    world.change::<RocketMQConnection>("main", json!({"spec": {"state": "Paused"}})).await;
    world.condition::<RocketMQConnection>("main", "Ready", "True", "Paused").await;
    operator.stop().await;
    world.clean_up().await;
}
