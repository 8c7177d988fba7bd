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
use reconcile_support::worker::{FakeWorker, pod};

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

#[tokio::test]
async fn a_comparison_is_ordered_by_an_annotation_and_its_differences_are_told() {
    let world = World::new("verify").await;
    let counts = |missing: u64| json!({"source": 9, "target": 9 - missing, "leftOut": 0, "missing": missing, "extra": 0, "different": 0, "duplicates": 2});
    let report = |revision: u64, verify: Value| {
        json!({
            "revision": revision, "programVersion": "0", "startedAtMillis": 1, "state": "Running",
            "identity": {"kind": "RocketMQSync", "namespace": world.namespace, "name": "copy", "generation": 1},
            "sync": {"read": 9, "written": 9, "repeated": 0, "resent": 0, "leftOut": 0, "skipped": 0, "deadLettered": 0,
                "failedWrites": 0, "inFlight": 0, "readRate": 1.0, "writeRate": 1.0, "partitions": 4,
                "heartbeat": {"writtenAtMillis": 1_700_000_000_000_i64, "delayMillis": 42}},
            "verify": verify,
            "warnings": [{"atMillis": 1, "reason": "TopicConflict", "message": "several topics are written to one", "remedy": "rename"}],
        })
    };
    let waiting = json!({"isRunning": false, "durationMillis": 0, "runs": 0, "counts": counts(0)});
    let (port, worker) = FakeWorker::start(report(2, waiting), axum::Router::new()).await;
    let settings = rocketmq_connector::controller::Settings { worker_admin_port: port, ..world.settings() };
    let operator = reconcile_support::Operator::start(&world.client, settings);
    world.connection("old", json!({"nameServers": ["one:9876"]})).await;
    world.connection("new", json!({"nameServers": ["two:9876"]})).await;
    world.create::<RocketMQSync>("copy", mirror(json!({"verify": {"maxReported": 1}}))).await;
    let deployment = world.appears::<Deployment>("copy-sync").await;
    pod(&world, "sync", "copy", json!({"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}))
        .await;
    world.condition::<RocketMQSync>("copy", "Verified", "Unknown", "VerifyPending").await;
    let conflict = world.condition::<RocketMQSync>("copy", "TopicConflict", "True", "TopicConflict").await;
    assert!(conflict.message.contains("several topics are written to one; rename"), "{}", conflict.message);
    let has_heartbeat = |found: Option<&RocketMQSync>| {
        let heartbeat = found.and_then(|found| found.status.as_ref()?.heartbeat.as_ref());
        heartbeat.is_some_and(|heartbeat| heartbeat.delay_millis == 42)
    };
    world.until("copy", "have the delay of heartbeats", has_heartbeat).await;

    let annotations = json!({"metadata": {"annotations": {"connector.rocketmq.dev/verify": "now"}}});
    world.change::<RocketMQSync>("copy", annotations).await;
    worker.is_told("verify=").await;
    let finding = |key: &str| json!({"kind": "Missing", "key": key, "id": "ID", "place": "topic orders, broker b, queue 0, offset 7", "topic": "orders"});
    let verify = json!({"isRunning": false, "durationMillis": 5, "runs": 1, "finishedAtMillis": 1_700_000_000_000_i64,
        "counts": counts(2), "findings": [finding("k7"), finding("k8")]});
    *worker.report.lock().unwrap() = report(3, verify);
    let verified = world.condition::<RocketMQSync>("copy", "Verified", "False", "DifferencesFound").await;
    assert!(
        verified.message.contains("Missing k7 (topic orders, broker b, queue 0, offset 7)"),
        "{}",
        verified.message
    );
    let status = world.get::<RocketMQSync>("copy").await.unwrap().status.unwrap().verify.unwrap();
    assert_eq!((status.state.as_str(), status.missing, status.duplicates, status.target), ("Finished", 2, 2, 7));
    assert_eq!(status.differences.len(), 1, "as many as maxReported");
    let verify = json!({"isRunning": false, "durationMillis": 5, "runs": 1, "finishedAtMillis": 1_700_000_001_000_i64, "counts": counts(0)});
    *worker.report.lock().unwrap() = report(4, verify);
    world.condition::<RocketMQSync>("copy", "Verified", "True", "Verified").await;
    let after = world.get::<Deployment>("copy-sync").await.unwrap();
    assert_eq!(after.metadata.generation, deployment.metadata.generation, "an order restarts no pod");
    operator.stop().await;
    world.clean_up().await;
}
