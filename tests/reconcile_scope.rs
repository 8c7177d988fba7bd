//! An operator for the whole cluster, against a real API server (`KUBECONFIG`) on which no other operator runs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod reconcile_support;

use k8s_openapi::api::apps::v1::Deployment;
use rocketmq_connector::api::RocketMQBinding;
use rocketmq_connector::controller::Settings;
use serde_json::json;

use reconcile_support::{Operator, World};

#[tokio::test]
async fn one_operator_serves_all_namespaces_and_none_borrows_from_another() {
    let one = World::new("one").await;
    let other = World::beside(&one.client, "other").await;
    let operator = Operator::start(&one.client, Settings { watch_namespace: None, ..one.settings() });
    let reference = |key: &str| json!({"secretKeyRef": {"name": "acl", "key": key}});
    let credentials = json!({"accessKey": reference("user"), "secretKey": reference("password")});
    one.secret("acl", json!({"user": "a", "password": "b"})).await;
    for world in [&one, &other] {
        world.binding("orders", credentials.clone()).await;
    }
    one.appears::<Deployment>("orders-binding").await;
    let unresolved = other.condition::<RocketMQBinding>("orders", "ResolvedRefs", "False", "SecretNotFound").await;
    assert!(unresolved.message.contains(&other.namespace), "{}", unresolved.message);
    assert_eq!(other.get::<Deployment>("orders-binding").await, None);

    other.secret("acl", json!({"user": "a", "password": "b"})).await;
    other.appears::<Deployment>("orders-binding").await;
    operator.stop().await;
    one.clean_up().await;
    other.clean_up().await;
}
