//! What the API server accepts and refuses, asked of a real API server by server-side dry runs.
//!
//! Needs `KUBECONFIG`. The tables are `tests/admission/*.yaml`; cases that are too long to write down are made here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

#[path = "common/apiserver.rs"]
mod apiserver;
#[path = "admission/cases.rs"]
mod cases;
#[path = "admission/dry_run.rs"]
mod dry_run;

use std::path::Path;

use apiserver::with_definitions;
use cases::{cases, manifest};
use dry_run::{Verdict, dry_run};
use rocketmq_connector::api::{RocketMQBinding, RocketMQConnection, RocketMQSync};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Runs a table; returns how many manifests were accepted and refused.
async fn run<K: DeserializeOwned>(kind: &str, file: &str, least: usize) {
    let client = with_definitions().await;
    let (mut wrong, mut accepted, mut refused) = (Vec::new(), 0, 0);
    for case in cases(file) {
        match (dry_run(&client, &manifest(kind, &case.name, &case.spec)).await, case.refused.is_empty()) {
            (Verdict::Accepted(object), true) => {
                accepted += 1;
                if let Err(error) = serde_json::from_value::<K>(object) {
                    wrong.push(format!("{}: the operator cannot read what was accepted: {error}", case.case));
                }
            }
            (Verdict::Refused(message), false) => {
                refused += 1;
                let missing: Vec<_> = case.refused.iter().filter(|part| !message.contains(part.as_str())).collect();
                if !missing.is_empty() {
                    wrong.push(format!("{}: the message lacks {missing:?}:\n  {message}", case.case));
                }
            }
            (Verdict::Accepted(_), false) => wrong.push(format!("{}: should be refused, was accepted", case.case)),
            (Verdict::Refused(message), true) => {
                wrong.push(format!("{}: should be accepted, was refused:\n  {message}", case.case))
            }
        }
    }
    println!("{kind}: {accepted} accepted, {refused} refused");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), accepted + refused, wrong.join("\n"));
    assert!(accepted + refused >= least, "{file}: {} cases, expected at least {least}", accepted + refused);
}

#[tokio::test]
async fn bindings() {
    run::<RocketMQBinding>("RocketMQBinding", "binding.yaml", 60).await;
}

#[tokio::test]
async fn connections() {
    run::<RocketMQConnection>("RocketMQConnection", "connection.yaml", 30).await;
}

#[tokio::test]
async fn syncs() {
    run::<RocketMQSync>("RocketMQSync", "sync.yaml", 30).await;
}

fn output(topics: &[String]) -> Value {
    json!({ "direction": "Output", "nameServer": "namesrv:9876", "topics": topics })
}

fn names(count: usize, length: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:0length$}")).collect()
}

#[tokio::test]
async fn a_thousand_topics_are_accepted_and_one_more_is_not() {
    let client = with_definitions().await;
    let expression = "x".repeat(512 - 127 - 2);
    let longest: Vec<_> = names(1000, 127).into_iter().map(|topic| format!("{topic}||{expression}")).collect();
    for topics in [names(1000, 4), longest] {
        dry_run(&client, &manifest("RocketMQBinding", "case", &output(&topics))).await.accepted();
    }
    let refusal = dry_run(&client, &manifest("RocketMQBinding", "case", &output(&names(1001, 4)))).await.refused();
    assert!(refusal.contains("spec.topics") && refusal.contains("at most 1000 items"), "{refusal}");
}

#[tokio::test]
async fn the_longest_topic_has_127_characters() {
    let client = with_definitions().await;
    dry_run(&client, &manifest("RocketMQBinding", "case", &output(&names(1, 127)))).await.accepted();
    let refusal = dry_run(&client, &manifest("RocketMQBinding", "case", &output(&names(1, 128)))).await.refused();
    assert!(refusal.contains("1 to 127 letters"), "{refusal}");
}

#[tokio::test]
async fn names_have_up_to_253_characters() {
    let client = with_definitions().await;
    for kind_and_spec in
        [("RocketMQBinding", output(&names(1, 4))), ("RocketMQConnection", json!({ "nameServers": ["namesrv"] }))]
    {
        let (kind, spec) = kind_and_spec;
        dry_run(&client, &manifest(kind, &"n".repeat(253), &spec)).await.accepted();
        let refusal = dry_run(&client, &manifest(kind, &"n".repeat(254), &spec)).await.refused();
        assert!(refusal.contains("metadata.name"), "{refusal}");
    }
}

#[tokio::test]
async fn defaults_are_written_and_replicas_are_not() {
    let client = with_definitions().await;
    let spec = json!({
        "nameServer": "namesrv", "topics": ["orders"], "app": { "url": "http://app" },
        "delivery": {}, "api": {},
    });
    let object = dry_run(&client, &manifest("RocketMQBinding", "case", &spec)).await.accepted();
    let expected = json!({
        "nameServer": "namesrv", "topics": ["orders"], "accessProto": "tcp", "direction": "InputOutput",
        "consumerBatchSize": 32, "consumerThreadNums": 20, "retries": 3, "state": "Running",
        "app": { "url": "http://app", "protocol": "HTTP", "timeout": "30s", "payload": "Raw", "batch": false },
        "delivery": { "maxAttempts": 16, "backoff": { "policy": "BrokerLevels" }, "ordered": false },
        "api": { "httpPort": 3500, "grpcPort": 50001, "maxBodySize": "4Mi", "dataEncoding": "Json" },
    });
    assert_eq!(object["spec"], expected);
}

#[tokio::test]
async fn defaults_of_the_schema_are_those_of_the_types() {
    let client = with_definitions().await;
    let spec = json!({
        "nameServers": ["namesrv"], "tls": {}, "agent": {}, "modelLoad": {}, "heartbeat": {}, "logCache": {},
    });
    let object = dry_run(&client, &manifest("RocketMQConnection", "case", &spec)).await.accepted();
    let stored: RocketMQConnection = serde_json::from_value(object).unwrap();
    let read: RocketMQConnection = serde_json::from_value(manifest("RocketMQConnection", "case", &spec)).unwrap();
    assert_eq!(stored.spec, read.spec);
    let heartbeat = stored.spec.heartbeat.unwrap();
    assert_eq!((heartbeat.topic.as_str(), heartbeat.interval.0.as_str()), ("_tapdata_heartbeat_table", "10s"));
    assert_eq!(stored.spec.model_load.unwrap().threshold, 10_000);
}

#[tokio::test]
async fn every_sample_is_accepted() {
    let client = with_definitions().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples");
    let mut custom_resources = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Folders hold what kustomize merges with something else.
        if path.is_dir() || path.file_name().is_some_and(|name| name == "kustomization.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for object in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let verdict = dry_run(&client, &object).await;
            assert!(matches!(verdict, Verdict::Accepted(_)), "{}: {verdict:?}", path.display());
            custom_resources += usize::from(object["apiVersion"] == "connector.rocketmq.dev/v1alpha1");
        }
    }
    println!("samples: {custom_resources} custom resources accepted");
    assert!(custom_resources >= 8, "{custom_resources}");
}
