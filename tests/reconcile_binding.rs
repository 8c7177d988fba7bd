//! RocketMQBinding against a real API server (`KUBECONFIG`): what the operator makes of it, and what users are told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod reconcile_support;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rocketmq_connector::api::RocketMQBinding;
use serde_json::{Value, json};

use reconcile_support::{Operator, World, find};

fn replicas(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref().and_then(|spec| spec.replicas)
}

/// Asks for a reconciliation without changing anything that matters.
async fn nudge(world: &World, name: &str, mark: &str) {
    world.change::<RocketMQBinding>(name, json!({"metadata": {"annotations": {"test": mark}}})).await;
}

#[tokio::test]
async fn children_appear_and_go_with_their_binding() {
    let world = World::new("children").await;
    let operator = world.operator();
    let binding = world.binding("orders", json!({"replicas": 2})).await;

    let deployment = world.appears::<Deployment>("orders-binding").await;
    let owner = &deployment.owner_references()[0];
    assert_eq!((&owner.uid, owner.controller), (binding.metadata.uid.as_ref().unwrap(), Some(true)));
    assert_eq!(replicas(&deployment), Some(2));
    world.appears::<ConfigMap>("orders-binding").await;
    world.appears::<ServiceAccount>("orders-binding").await;
    world.appears::<Service>("orders-binding").await;
    world.appears::<PodDisruptionBudget>("orders-binding").await;
    assert_eq!(world.get::<Secret>("orders-binding").await, None);
    world.condition::<RocketMQBinding>("orders", "Accepted", "True", "Accepted").await;
    world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "True", "Resolved").await;
    let ready = world.without_workers::<RocketMQBinding>("orders").await;
    assert!(ready.message.starts_with("0 of 2 workers are ready"), "{}", ready.message);
    world.condition::<RocketMQBinding>("orders", "Reconciling", "True", "Progressing").await;

    world.delete::<RocketMQBinding>("orders").await;
    world.vanishes::<Deployment>("orders-binding").await;
    world.vanishes::<ConfigMap>("orders-binding").await;
    world.vanishes::<Service>("orders-binding").await;
    world.vanishes::<ServiceAccount>("orders-binding").await;
    world.vanishes::<PodDisruptionBudget>("orders-binding").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_missing_secret_is_told_and_its_appearance_is_noticed() {
    let world = World::new("secret").await;
    let operator = world.operator();
    let reference = |key: &str| json!({"secretKeyRef": {"name": "acl", "key": key}});
    world.binding("orders", json!({"accessKey": reference("user"), "secretKey": reference("password")})).await;

    let unresolved = world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "False", "SecretNotFound").await;
    assert!(unresolved.message.contains("spec.accessKey: Secret \"acl\" does not exist"), "{}", unresolved.message);
    assert!(unresolved.message.contains("create it with the key \"user\""), "{}", unresolved.message);
    assert_eq!(world.get::<Deployment>("orders-binding").await, None);

    world.secret("acl", json!({"user": "a", "pass": "b"})).await;
    let unresolved = world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "False", "SecretKeyNotFound").await;
    assert!(unresolved.message.contains("use one of its keys: \"pass\", \"user\""), "{}", unresolved.message);

    world.change::<Secret>("acl", json!({"stringData": {"password": "b"}})).await;
    world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "True", "Resolved").await;
    let deployment = world.appears::<Deployment>("orders-binding").await;

    // The Secret goes: the workers stay as they are, and the user is told.
    world.delete::<Secret>("acl").await;
    let unresolved = world.condition::<RocketMQBinding>("orders", "ResolvedRefs", "False", "SecretNotFound").await;
    assert!(unresolved.message.contains("\"acl\""), "{}", unresolved.message);
    let generation = deployment.metadata.generation;
    world
        .stays("orders-binding", |now: Option<&Deployment>| {
            now.is_some_and(|now| now.metadata.generation == generation)
        })
        .await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_bad_edit_keeps_the_last_good_workload() {
    let world = World::new("edit").await;
    let operator = world.operator();
    world.binding("orders", json!({})).await;
    let before = world.appears::<Deployment>("orders-binding").await;

    let bad = json!({"spec": {"template": {"podOverrides": {"spec": {"hostNetwrk": true}}}, "retries": 7}});
    world.change::<RocketMQBinding>("orders", bad).await;
    let accepted = world.condition::<RocketMQBinding>("orders", "Accepted", "False", "InvalidSpec").await;
    assert!(accepted.message.contains("spec.template.podOverrides.spec.hostNetwrk"), "{}", accepted.message);
    world.condition::<RocketMQBinding>("orders", "Stalled", "True", "InvalidSpec").await;
    let generation = before.metadata.generation;
    world
        .stays("orders-binding", |now: Option<&Deployment>| {
            now.is_some_and(|now| now.metadata.generation == generation)
        })
        .await;

    // What only the API server can tell is told, too.
    let refused = json!({"spec": {"template": {"podOverrides": {"spec": {"restartPolicy": "Sometimes"}}}}});
    world.change::<RocketMQBinding>("orders", json!({"spec": {"template": null}})).await;
    world.change::<RocketMQBinding>("orders", refused).await;
    let accepted = world.condition::<RocketMQBinding>("orders", "Accepted", "False", "ApplyRefused").await;
    assert!(
        accepted.message.contains("restartPolicy") && accepted.message.contains("spec.template"),
        "{}",
        accepted.message
    );

    world.change::<RocketMQBinding>("orders", json!({"spec": {"template": null}})).await;
    world.condition::<RocketMQBinding>("orders", "Accepted", "True", "Accepted").await;
    world.condition::<RocketMQBinding>("orders", "Stalled", "False", "Settled").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_adopted() {
    let world = World::new("conflict").await;
    let operator = world.operator();
    let theirs = world.create::<ConfigMap>("orders-binding", json!({"data": {"mine": "yes"}})).await;
    world.binding("orders", json!({})).await;
    let ready = world.condition::<RocketMQBinding>("orders", "Ready", "False", "NameConflict").await;
    assert!(
        ready.message.contains("ConfigMap orders-binding exists and is not owned by this resource"),
        "{}",
        ready.message
    );
    let now = world.get::<ConfigMap>("orders-binding").await.unwrap();
    assert_eq!(now.metadata.resource_version, theirs.metadata.resource_version);
    // Nothing is half-applied.
    assert_eq!(world.get::<Deployment>("orders-binding").await, None);
    assert_eq!(world.get::<Service>("orders-binding").await, None);

    world.delete::<ConfigMap>("orders-binding").await;
    nudge(&world, "orders", "go").await;
    world.appears::<Deployment>("orders-binding").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn what_is_no_longer_wanted_goes_and_what_was_deleted_comes_back() {
    let world = World::new("prune").await;
    let operator = world.operator();
    world.binding("orders", json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 3}})).await;
    world.appears::<PodDisruptionBudget>("orders-binding").await;
    world.appears::<HorizontalPodAutoscaler>("orders-binding").await;
    let service = world.appears::<Service>("orders-binding").await;

    let input = json!({"spec": {"direction": "Input", "app": {"url": "http://app"}, "autoscaling": null}});
    world.change::<RocketMQBinding>("orders", input).await;
    world.vanishes::<Service>("orders-binding").await;
    world.vanishes::<PodDisruptionBudget>("orders-binding").await;
    world.vanishes::<HorizontalPodAutoscaler>("orders-binding").await;
    world.appears::<Deployment>("orders-binding").await;

    world.change::<RocketMQBinding>("orders", json!({"spec": {"direction": "Output", "app": null}})).await;
    let again = world.appears::<Service>("orders-binding").await;
    assert_ne!(again.uid(), service.uid());

    // By hand, against the operator: a deleted child and a changed one are put right.
    world.delete::<ConfigMap>("orders-binding").await;
    world.appears::<ConfigMap>("orders-binding").await;
    world.change::<ConfigMap>("orders-binding", json!({"data": {"worker.json": "{}"}})).await;
    let restored = |map: Option<&ConfigMap>| {
        map.is_some_and(|map| map.data.as_ref().is_some_and(|data| data["worker.json"].len() > 2))
    };
    world.until("orders-binding", "be restored", restored).await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_plain_credential_gets_a_secret_and_a_warning() {
    let world = World::new("plain").await;
    let operator = world.operator();
    world
        .binding("orders", json!({"accessKey": {"value": "plain-user"}, "secretKey": {"value": "plain-password"}}))
        .await;
    let secret = world.appears::<Secret>("orders-binding").await;
    assert_eq!(secret.data.unwrap()["secretKey"].0, b"plain-password");
    assert_eq!(secret.metadata.owner_references.unwrap()[0].name, "orders");
    let warning = world.condition::<RocketMQBinding>("orders", "PlainTextCredential", "True", "PlainTextValue").await;
    assert!(warning.message.starts_with("spec.accessKey, spec.secretKey: "), "{}", warning.message);

    let events = world.api::<Event>();
    let told = events_with_reason(&events, "PlainTextValue").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].type_.as_deref(), Some("Warning"));

    let deployment = world.appears::<Deployment>("orders-binding").await;
    let status = world.get::<RocketMQBinding>("orders").await.unwrap().status;
    let config_map = world.get::<ConfigMap>("orders-binding").await;
    let all = events.list(&ListParams::default()).await.unwrap();
    for (place, text) in [
        ("deployment", serde_json::to_string(&deployment).unwrap()),
        ("config map", serde_json::to_string(&config_map).unwrap()),
        ("status", serde_json::to_string(&status).unwrap()),
        ("events", serde_json::to_string(&all.items).unwrap()),
    ] {
        assert!(!text.contains("plain-password") && !text.contains("plain-user"), "{place}: {text}");
    }

    world.secret("acl", json!({"user": "a", "password": "b"})).await;
    let reference = |key: &str| json!({"secretKeyRef": {"name": "acl", "key": key}, "value": null});
    world
        .change::<RocketMQBinding>(
            "orders",
            json!({"spec": {"accessKey": reference("user"), "secretKey": reference("password")}}),
        )
        .await;
    world.vanishes::<Secret>("orders-binding").await;
    let quiet = |binding: Option<&RocketMQBinding>| {
        binding.is_some_and(|binding| find(binding, "PlainTextCredential").is_none())
    };
    world.until("orders", "have no warning", quiet).await;
    operator.stop().await;
    world.clean_up().await;
}

async fn events_with_reason(events: &Api<Event>, reason: &str) -> Vec<Event> {
    for _ in 0..100 {
        let found: Vec<_> = events.list(&ListParams::default()).await.unwrap().items;
        let found: Vec<_> = found.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).collect();
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Vec::new()
}

#[tokio::test]
async fn state_holds_back_and_replicas_that_are_not_given_are_not_touched() {
    let world = World::new("state").await;
    let operator = world.operator();
    world.binding("orders", json!({})).await;
    world.appears::<Deployment>("orders-binding").await;

    // Somebody else decides on the number: it stays through reconciliations.
    world.change::<Deployment>("orders-binding", json!({"spec": {"replicas": 3}})).await;
    world.change::<RocketMQBinding>("orders", json!({"spec": {"retries": 5}})).await;
    world.condition::<RocketMQBinding>("orders", "Accepted", "True", "Accepted").await;
    world.stays("orders-binding", |now: Option<&Deployment>| now.and_then(replicas) == Some(3)).await;

    world.change::<RocketMQBinding>("orders", json!({"spec": {"state": "Paused"}})).await;
    world
        .until("orders-binding", "be scaled to zero", |now: Option<&Deployment>| now.and_then(replicas) == Some(0))
        .await;
    world.condition::<RocketMQBinding>("orders", "Paused", "True", "Paused").await;
    world.condition::<RocketMQBinding>("orders", "Ready", "True", "Paused").await;
    assert!(world.get::<Service>("orders-binding").await.is_some());

    world.change::<RocketMQBinding>("orders", json!({"spec": {"state": "Running"}})).await;
    world.until("orders-binding", "run again", |now: Option<&Deployment>| now.and_then(replicas) == Some(1)).await;

    world.change::<RocketMQBinding>("orders", json!({"spec": {"state": "Stopped"}})).await;
    world.vanishes::<Deployment>("orders-binding").await;
    world.vanishes::<ConfigMap>("orders-binding").await;
    world.condition::<RocketMQBinding>("orders", "Ready", "True", "Stopped").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn a_pause_does_not_wait_for_a_repair() {
    let world = World::new("pause").await;
    let operator = world.operator();
    world.binding("orders", json!({})).await;
    world.appears::<Deployment>("orders-binding").await;
    let broken = json!({"spec": {"state": "Paused", "template": {"podOverrides": {"spec": {"x": 1}}}}});
    world.change::<RocketMQBinding>("orders", broken).await;
    world.condition::<RocketMQBinding>("orders", "Accepted", "False", "InvalidSpec").await;
    world
        .until("orders-binding", "be scaled to zero", |now: Option<&Deployment>| now.and_then(replicas) == Some(0))
        .await;

    // The repair takes the pause's hold on the number back.
    world.change::<RocketMQBinding>("orders", json!({"spec": {"state": "Running", "template": null}})).await;
    world.until("orders-binding", "run again", |now: Option<&Deployment>| now.and_then(replicas) == Some(1)).await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn an_operator_keeps_to_its_namespace() {
    let here = World::new("here").await;
    let there = World::beside(&here.client, "there").await;
    let operator = here.operator();
    for world in [&here, &there] {
        world.binding("orders", json!({})).await;
    }
    here.appears::<Deployment>("orders-binding").await;
    there
        .stays("orders", |binding: Option<&RocketMQBinding>| binding.is_some_and(|binding| binding.status.is_none()))
        .await;
    assert_eq!(there.get::<Deployment>("orders-binding").await, None);

    // The same name elsewhere, watched by an operator of its own.
    let other = there.operator();
    there.appears::<Deployment>("orders-binding").await;
    operator.stop().await;
    other.stop().await;
    here.clean_up().await;
    there.clean_up().await;
}

#[tokio::test]
async fn names_of_253_characters_work() {
    let world = World::new("long").await;
    let operator = world.operator();
    let name = format!("{}.{}", "a".repeat(126), "b".repeat(126));
    world.binding(&name, json!({})).await;
    world.condition::<RocketMQBinding>(&name, "Accepted", "True", "Accepted").await;
    let services = world
        .api::<Service>()
        .list(&ListParams::default().labels("app.kubernetes.io/component=binding"))
        .await
        .unwrap();
    assert_eq!(services.items.len(), 1);
    assert!(services.items[0].name_any().len() <= 63);
    assert_eq!(services.items[0].owner_references()[0].name, name);
    let told = events_with_reason(&world.api(), "WorkersNotReady").await;
    assert_eq!(told[0].regarding.as_ref().unwrap().name.as_deref(), Some(name.as_str()));
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn leadership_is_handed_over() {
    let world = World::new("leader").await;
    let settings = |pod: &str| controller_settings(&world, pod);
    let first = Operator::start(&world.client, settings("operator-0"));
    first.until_leading().await;
    let second = Operator::start(&world.client, settings("operator-1"));
    world.binding("one", json!({})).await;
    world.appears::<Deployment>("one-binding").await;
    assert!(second.readiness.is_ready(), "a follower is ready");
    assert!(!second.leads(), "two operators lead");

    first.stop().await;
    second.until_leading().await;
    world.binding("two", json!({})).await;
    world.appears::<Deployment>("two-binding").await;
    assert!(second.count("reconciliations_total{kind=\"RocketMQBinding\"") > 0.0);
    second.stop().await;
    world.clean_up().await;
}

/// A stop may come before the first list of objects is there.
#[tokio::test]
async fn an_operator_that_is_stopped_at_once_ends() {
    let world = World::new("stopped").await;
    for wait in [0, 20, 60] {
        let operator = Operator::start(&world.client, world.settings());
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        operator.stop().await;
    }
    world.clean_up().await;
}

fn controller_settings(world: &World, pod: &str) -> rocketmq_connector::controller::Settings {
    rocketmq_connector::controller::Settings {
        leader_election: true,
        lease_duration: std::time::Duration::from_secs(10),
        pod_name: pod.to_owned(),
        ..world.settings()
    }
}

#[tokio::test]
async fn workers_reports_reach_the_status() {
    let world = World::new("report").await;
    let report = |state: &str, messages: u64| {
        json!({
            "revision": 2, "programVersion": "0", "startedAtMillis": 1, "state": state,
            "identity": {"kind": "RocketMQBinding", "namespace": world.namespace, "name": "orders", "generation": 1},
            "message": (state == "Failing").then_some("the name server names:9876 does not answer"),
            "binding": {"messagesIn": 0, "messagesOut": messages, "failed": 1, "redelivered": 0, "deadLettered": 0,
                "inFlight": 0, "lag": 4, "queues": 8},
            "lastError": {"atMillis": 1_000, "reason": "NameServerUnreachable", "message": "refused", "remedy": "check spec.nameServer"},
        })
    };
    let (port, answers) = serve_report(report("Failing", 7)).await;
    let operator = Operator::start(
        &world.client,
        rocketmq_connector::controller::Settings { worker_admin_port: port, ..world.settings() },
    );
    world.binding("orders", json!({"replicas": 0})).await;
    world.condition::<RocketMQBinding>("orders", "Ready", "True", "Running").await;
    worker_pod(&world, "orders").await;

    let ready = world.condition::<RocketMQBinding>("orders", "Ready", "False", "WorkerFailing").await;
    assert_eq!(ready.message, "orders-binding-x: the name server names:9876 does not answer; check spec.nameServer");
    let status = world.get::<RocketMQBinding>("orders").await.unwrap().status.unwrap();
    assert_eq!((status.messages_out, status.lag, status.failed), (Some(7), Some(4), Some(1)));
    assert_eq!(status.last_error.unwrap().remedy, "check spec.nameServer");

    // Only the status is written for a report: no other request is made.
    let before = world.get::<Deployment>("orders-binding").await.unwrap().metadata.managed_fields;
    answers.send_replace(report("Running", 9));
    world.condition::<RocketMQBinding>("orders", "Delivering", "True", "Running").await;
    let status = world.get::<RocketMQBinding>("orders").await.unwrap().status.unwrap();
    assert_eq!(status.messages_out, Some(9));
    assert_eq!(world.get::<Deployment>("orders-binding").await.unwrap().metadata.managed_fields, before);

    // Nothing changes: nothing is written, and the worker is not asked in a loop.
    let version = world.get::<RocketMQBinding>("orders").await.unwrap().metadata.resource_version;
    let polls = operator.count("worker_report_polls_total");
    world
        .stays("orders", |binding: Option<&RocketMQBinding>| {
            binding.and_then(|b| b.metadata.resource_version.clone()) == version
        })
        .await;
    assert!(
        operator.count("worker_report_polls_total") - polls < 10.0,
        "{}",
        operator.count("worker_report_polls_total")
    );
    operator.stop().await;
    world.clean_up().await;
}

/// Serves the newest value at `/status`, as a worker does.
async fn serve_report(first: Value) -> (u16, tokio::sync::watch::Sender<Value>) {
    let (sender, receiver) = tokio::sync::watch::channel(first);
    let route = axum::routing::get(move || {
        let report = receiver.borrow().clone();
        async move { axum::Json(report) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/status", route)).await });
    (port, sender)
}

/// A worker pod of no node, that runs on this machine's loopback address as far as the API server knows.
async fn worker_pod(world: &World, binding: &str) {
    let name = format!("{binding}-binding-x");
    let labels = json!({
        "app.kubernetes.io/managed-by": "rocketmq-connector-operator",
        "app.kubernetes.io/component": "binding",
    });
    let metadata = json!({"name": name, "labels": labels, "annotations": {"connector.rocketmq.dev/owner": binding}});
    let spec = json!({"schedulingGates": [{"name": "tests.rocketmq.dev/never"}], "containers": [{"name": "worker", "image": "none"}]});
    world.create::<Pod>(&name, json!({"metadata": metadata, "spec": spec})).await;
    let status = json!({"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    world.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

#[tokio::test]
async fn bindings_of_one_group_with_other_topics_are_told() {
    let world = World::new("group").await;
    let operator = world.operator();
    let input = |topics: serde_json::Value| json!({"direction": "Input", "consumerGroup": "shop", "topics": topics, "app": {"url": "http://app:8080"}});
    world.binding("one", input(json!(["orders", "payments||card"]))).await;
    world.condition::<RocketMQBinding>("one", "SubscriptionConsistent", "True", "Consistent").await;
    world.binding("two", input(json!(["orders||paid"]))).await;

    let type_ = "SubscriptionConsistent";
    let two = world.condition::<RocketMQBinding>("two", type_, "False", "SubscriptionConflict").await;
    let expected = format!("RocketMQBinding {}/one is in the consumer group \"shop\"", world.namespace);
    assert!(two.message.contains(&expected), "{}", two.message);
    assert!(
        two.message.contains("topic orders with \"paid\" here and \"*\" there, topic payments only there"),
        "{}",
        two.message
    );
    let one = world.condition::<RocketMQBinding>("one", type_, "False", "SubscriptionConflict").await;
    assert!(
        one.message.contains("topic payments only here") && one.message.contains("consumerGroup"),
        "{}",
        one.message
    );

    world.change::<RocketMQBinding>("two", json!({"spec": {"consumerGroup": "other"}})).await;
    world.condition::<RocketMQBinding>("two", type_, "True", "Consistent").await;
    world.condition::<RocketMQBinding>("one", type_, "True", "Consistent").await;
    operator.stop().await;
    world.clean_up().await;
}

#[tokio::test]
async fn workers_with_another_subscription_start_when_those_before_have_stopped() {
    let world = World::new("topics").await;
    let operator = world.operator();
    let strategy = |deployment: &Deployment| deployment.spec.clone()?.strategy?.type_;
    let is = |wanted: &'static str| {
        move |deployment: Option<&Deployment>| deployment.and_then(strategy).as_deref() == Some(wanted)
    };
    world.binding("orders", json!({"direction": "Input", "app": {"url": "http://app:8080"}})).await;
    world.appears::<Deployment>("orders-binding").await;
    world.until("orders-binding", "be rolled", is("RollingUpdate")).await;

    world.change::<RocketMQBinding>("orders", json!({"spec": {"topics": ["orders", "payments"]}})).await;
    world.until("orders-binding", "be recreated", is("Recreate")).await;
    // Nothing else changes it back before the rollout is over.
    world.stays("orders-binding", is("Recreate")).await;

    // No pod can start here; with none wanted, the rollout is over.
    world.change::<RocketMQBinding>("orders", json!({"spec": {"replicas": 0}})).await;
    world.until("orders-binding", "be rolled again", is("RollingUpdate")).await;
    operator.stop().await;
    world.clean_up().await;
}

/// Whether an operator has seen the spec as it is.
fn is_seen(binding: &RocketMQBinding) -> bool {
    let seen = binding.status.as_ref().and_then(|status| status.observed_generation);
    seen.is_some() && seen == binding.metadata.generation
}

/// An operator that was started again looks at all objects, which takes it a while.
#[tokio::test]
async fn a_changed_object_does_not_wait_until_all_others_were_looked_at() {
    const COUNT: usize = 300;
    let world = World::new("turns").await;
    // Without their Secret they have no workers, which this is not about.
    let credentials = json!({"accessKey": {"secretKeyRef": {"name": "missing", "key": "k"}},
        "secretKey": {"secretKeyRef": {"name": "missing", "key": "k"}}});
    let create = async |number| world.binding(&format!("binding-{number}"), credentials.clone()).await;
    futures::stream::iter((0..COUNT).map(create)).buffer_unordered(20).for_each(async |_| {}).await;
    let operator = world.operator();
    let seen = async || {
        let all = world.api::<RocketMQBinding>().list(&ListParams::default()).await.unwrap();
        all.items.iter().filter(|binding| is_seen(binding)).count()
    };
    let began = Instant::now();
    while seen().await < COUNT {
        assert!(began.elapsed() < Duration::from_secs(90), "{} of {COUNT} were seen", seen().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    operator.stop().await;
    let operator = world.operator();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let changes = (0..COUNT).step_by(COUNT / 6).map(async |number| {
        let (name, changed) = (format!("binding-{number}"), Instant::now());
        world.change::<RocketMQBinding>(&name, json!({"spec": {"topics": ["others"]}})).await;
        let holds = |binding: Option<&RocketMQBinding>| binding.is_some_and(is_seen);
        world.until(&name, "be looked at", holds).await;
        changed.elapsed()
    });
    let waits = futures::future::join_all(changes).await;
    println!("changed while {COUNT} were looked at, seen after {waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(3)), "{waits:?}");
    operator.stop().await;
    world.clean_up().await;
}
