//! RocketMQSync against a real API server (`KUBECONFIG`): children, conditions and what a worker's report does to the status.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod reconcile_support;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rocketmq_connector::api::RocketMQSync;
use rocketmq_connector::worker_config::sync::{SourceConfig, TargetConfig};
use rocketmq_connector::worker_config::{Role, SyncConfig, WorkerConfig};
use serde_json::{Value, json};

use reconcile_support::World;

fn mirror(changes: Value) -> Value {
    let mut spec = json!({
        "source": {"connectionRef": {"name": "old"}, "topics": ["orders"], "startFrom": {"position": "First"}},
        "target": {"connectionRef": {"name": "new"}},
        "format": "Raw",
    });
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({"spec": spec})
}

fn config(map: &ConfigMap) -> SyncConfig {
    let config = WorkerConfig::from_json(&map.data.as_ref().unwrap()["worker.json"]).unwrap();
    match config.role {
        Role::Sync(sync) => *sync,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_sync_has_workers_that_know_both_clusters() {
    let world = World::new("sync").await;
    let operator = world.operator();
    world.connection("old", json!({"nameServers": ["one:9876"], "type": "Source"})).await;
    world.create::<RocketMQSync>("copy", mirror(json!({"replicas": 2}))).await;
    let missing = world.condition::<RocketMQSync>("copy", "ResolvedRefs", "False", "ConnectionNotFound").await;
    assert!(missing.message.contains("spec.target.connectionRef: RocketMQConnection \"new\""), "{}", missing.message);

    let credentials = json!({
        "accessKey": {"secretKeyRef": {"name": "acl", "key": "user"}},
        "secretKey": {"secretKeyRef": {"name": "acl", "key": "password"}},
    });
    world.connection("new", json!({"nameServers": ["two:9876"], "credentials": credentials})).await;
    world.condition::<RocketMQSync>("copy", "ResolvedRefs", "False", "SecretNotFound").await;
    world.secret("acl", json!({"user": "u", "password": "p"})).await;
    world.condition::<RocketMQSync>("copy", "ResolvedRefs", "True", "Resolved").await;

    let sync = config(&world.appears::<ConfigMap>("copy-sync").await);
    let (SourceConfig::RocketMq(source), TargetConfig::RocketMq(target)) = (&sync.source, &sync.target) else {
        panic!("both sides should be RocketMQ")
    };
    assert_eq!(
        (&source.cluster.name_servers, &target.cluster.name_servers),
        (&vec!["one:9876".to_owned()], &vec!["two:9876".to_owned()])
    );
    assert_eq!(source.cluster.credentials, None);
    let key = target.cluster.credentials.clone().unwrap().secret_key;
    assert_eq!(key, "/etc/rocketmq-connector/credentials/target-secretKey");
    let deployment = world.appears::<Deployment>("copy-sync").await;
    assert_eq!(deployment.spec.unwrap().replicas, Some(2));
    world.appears::<ServiceAccount>("copy-sync").await;
    world.appears::<PodDisruptionBudget>("copy-sync").await;
    assert_eq!(world.get::<Service>("copy-sync").await, None);
    assert_eq!(world.get::<Secret>("copy-sync").await, None);
    world.without_workers::<RocketMQSync>("copy").await;

    world.delete::<RocketMQSync>("copy").await;
    world.vanishes::<RocketMQSync>("copy").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_bad_expression_keeps_the_last_good_workers() {
    let world = World::new("sync").await;
    let operator = world.operator();
    for name in ["old", "new"] {
        world.connection(name, json!({"nameServers": [name]})).await;
    }
    world.create::<RocketMQSync>("copy", mirror(json!({"format": "Json"}))).await;
    let before = config(&world.appears::<ConfigMap>("copy-sync").await);
    let bad = json!({"spec": {"transforms": [{"filter": "record.amount >"}]}});
    world.change::<RocketMQSync>("copy", bad).await;
    let refused = world.condition::<RocketMQSync>("copy", "Accepted", "False", "InvalidSpec").await;
    assert!(
        refused.message.starts_with("spec.transforms[0].filter: \"record.amount >\" is no CEL expression"),
        "{}",
        refused.message
    );
    assert_eq!(config(&world.appears::<ConfigMap>("copy-sync").await), before);
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn state_and_autoscaler_decide_about_the_number_of_workers() {
    let world = World::new("sync").await;
    let operator = world.operator();
    for name in ["old", "new"] {
        world.connection(name, json!({"nameServers": [name]})).await;
    }
    let scaling = json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}});
    world.create::<RocketMQSync>("copy", mirror(scaling)).await;
    let autoscaler = world.appears::<HorizontalPodAutoscaler>("copy-sync").await;
    assert_eq!(autoscaler.spec.unwrap().scale_target_ref.name, "copy-sync");
    world.change::<RocketMQSync>("copy", json!({"spec": {"state": "Paused"}})).await;
    world.condition::<RocketMQSync>("copy", "Paused", "True", "Paused").await;
    world
        .until::<Deployment>("copy-sync", "have no workers", |deployment| {
            deployment.is_some_and(|deployment| deployment.spec.as_ref().unwrap().replicas == Some(0))
        })
        .await;
    world.change::<RocketMQSync>("copy", json!({"spec": {"state": "Stopped"}})).await;
    world.vanishes::<Deployment>("copy-sync").await;
    world.vanishes::<ConfigMap>("copy-sync").await;
    world.condition::<RocketMQSync>("copy", "Ready", "True", "Stopped").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn what_is_not_there_yet_is_told() {
    let world = World::new("sync").await;
    let operator = world.operator();
    world.connection("old", json!({"nameServers": ["old"]})).await;
    let cache = json!({"source": {"connectionRef": {"name": "old"}, "topics": ["orders"], "useLogCache": true}});
    world.create::<RocketMQSync>("later", mirror(cache)).await;
    let refused = world.condition::<RocketMQSync>("later", "Accepted", "False", "NotImplemented").await;
    assert!(refused.message.contains("spec.source.useLogCache"), "{}", refused.message);
    operator.stop().await;
    world.clean_up().await;
}
