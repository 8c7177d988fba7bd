//! RocketMQConnection against a real API server (`KUBECONFIG`), and what a binding makes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod reconcile_support;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use rocketmq_connector::api::{RocketMQBinding, RocketMQConnection};
use rocketmq_connector::worker_config::{Role, WorkerConfig};
use serde_json::json;

use reconcile_support::World;

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
    world.condition::<RocketMQConnection>("main", "Ready", "False", "WorkersNotReady").await;

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
