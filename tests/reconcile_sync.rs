//! RocketMQSync against a real API server (`KUBECONFIG`): it is understood, and not run yet.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod reconcile_support;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use rocketmq_connector::api::RocketMQSync;
use serde_json::json;

use reconcile_support::World;

#[tokio::test]
async fn a_sync_is_told_what_to_use_meanwhile() {
    let world = World::new("sync").await;
    let operator = world.operator();
    let spec = json!({
        "mode": "Incremental",
        "source": {"connectionRef": {"name": "main"}, "topics": ["orders"]},
        "target": {"connectionRef": {"name": "other"}, "topic": "copies"},
    });
    world.create::<RocketMQSync>("copy", json!({"spec": spec})).await;
    world.condition::<RocketMQSync>("copy", "Accepted", "True", "NotImplemented").await;
    let ready = world.condition::<RocketMQSync>("copy", "Ready", "False", "NotImplemented").await;
    assert!(ready.message.contains("use a RocketMQBinding"), "{}", ready.message);
    assert!(world.api::<Deployment>().list(&ListParams::default()).await.unwrap().items.is_empty());
    operator.stop().await;
    world.clean_up().await;
}
