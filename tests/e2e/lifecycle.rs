//! Resources from their first sight to their end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::{expect, wait_for};
use crate::flow::binding;
use crate::world::{LIMIT, World};
use crate::{Failure, Outcome};

/// Every kind that the operator creates, or that is created for it.
const CHILDREN: [&str; 9] = [
    "Deployment",
    "ReplicaSet",
    "Pod",
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "Service",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
];

pub async fn longest_names(world: &World) -> Outcome {
    let name = format!("long-{}", "x".repeat(248));
    let topic = world.plain.create_topic("longest").await?;
    let connection = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": name},
        "spec": {"nameServers": [world.plain.name_server()]},
    });
    let mut long = binding(&name, "", &topic);
    long["spec"]["nameServer"].take();
    long["spec"]["connectionRef"] = json!({"name": name});
    world.apply(&[connection, long]).await?;
    world.condition("RocketMQConnection", &name, "Ready", "True", "").await?;
    world.settled(&name).await?;
    let services = world.list("Service", "app.kubernetes.io/component=binding").await?;
    let service = services.iter().find(|service| service["metadata"]["ownerReferences"][0]["name"] == name.as_str());
    let service =
        service.and_then(|service| service["metadata"]["name"].as_str()).ok_or("the binding has no Service")?;
    world.publish(service, &name, 1, 3, &[]).await?;
    world.all_received(&format!("/{name}"), 3).await?;
    let longer = world.apply(&[binding(&format!("{name}x"), world.plain.name_server(), &topic)]).await;
    let refusal = longer.err().map(|failure| failure.to_string()).unwrap_or_default();
    expect(refusal.contains("must be no more than 253"), || {
        format!("a name of 254 characters was not refused: {refusal:?}")
    })
}

pub async fn get_prints_all_kinds(world: &World) -> Outcome {
    let table = world.kubectl(&["get", "rocketmq"]).await?;
    world.show(
        &table
            .lines()
            .map(|line| line.split_whitespace().map(|word| format!("{word:.50}")).collect::<Vec<_>>().join("  "))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let columns = [
        ("rocketmqconnection", "NAME READY REASON TOPICS AGE"),
        ("rocketmqbinding", "NAME READY REASON IN OUT LAG AGE"),
        ("rocketmqsync", "NAME READY REASON"),
    ];
    let headers: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with("NAME"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for (kind, header) in columns {
        expect(table.contains(&format!("{kind}.connector.rocketmq.dev/")), || format!("there is no {kind}"))?;
        expect(headers.iter().any(|found| found.starts_with(header)), || {
            format!("{kind}: none of {headers:?} starts with {header:?}")
        })?;
    }
    Ok(())
}

pub async fn pruning(world: &World) -> Outcome {
    let topic = world.plain.create_topic("pruned").await?;
    let mut pruned = binding("pruned", world.plain.name_server(), &topic);
    pruned["spec"]["replicas"] = json!(2);
    for key in ["accessKey", "secretKey"] {
        pruned["spec"][key] = json!({"value": "a-plain-value"});
    }
    world.apply(&[pruned]).await?;
    world.condition("RocketMQBinding", "pruned", "PlainTextCredential", "True", "").await?;
    let common = ["ConfigMap", "Deployment", "ServiceAccount"];
    has_children(world, &[&common[..], &["PodDisruptionBudget", "Secret", "Service"]].concat()).await?;
    let autoscaled = json!({"replicas": null, "accessKey": null, "secretKey": null,
        "autoscaling": {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilizationPercentage": 80}});
    world.patch("rocketmqbinding/pruned", &json!({"spec": autoscaled})).await?;
    has_children(world, &[&common[..], &["HorizontalPodAutoscaler", "Service"]].concat()).await?;
    world.patch("rocketmqbinding/pruned", &json!({"spec": {"autoscaling": null, "direction": "Input"}})).await?;
    has_children(world, &common).await?;
    world.patch("rocketmqbinding/pruned", &json!({"spec": {"state": "Stopped"}})).await?;
    has_children(world, &[]).await?;
    world.condition("RocketMQBinding", "pruned", "Ready", "True", "Stopped").await.map(|_| ())
}

/// Waits until the binding `pruned` has children of these kinds and no others.
async fn has_children(world: &World, kinds: &[&str]) -> Outcome {
    let wanted: BTreeSet<&str> = kinds.iter().copied().collect();
    let (_, took) = wait_for(&format!("children {wanted:?}"), LIMIT, || async {
        let found = kinds_of_children(world, "app.kubernetes.io/instance=pruned").await?;
        let found: BTreeSet<&str> = found.into_iter().filter(|kind| *kind != "ReplicaSet" && *kind != "Pod").collect();
        expect(found == wanted, || format!("there are {found:?}"))
    })
    .await?;
    world.show(&format!("children {wanted:?} after {:.1} s", took.as_secs_f64()));
    Ok(())
}

async fn kinds_of_children(world: &World, labels: &str) -> Result<Vec<&'static str>, Failure> {
    let mut kinds = Vec::new();
    for kind in CHILDREN {
        let objects: Vec<Value> = world.list(kind, labels).await?;
        kinds.extend(objects.iter().map(|_| kind));
    }
    Ok(kinds)
}

pub async fn deletion(world: &World) -> Outcome {
    let labels = "app.kubernetes.io/managed-by=rocketmq-connector-operator";
    let before = kinds_of_children(world, labels).await?;
    expect(!before.is_empty(), || "there is nothing to delete".to_owned())?;
    world.kubectl(&["delete", "rocketmq", "--all", "--timeout", "60s"]).await?;
    let (_, took) = wait_for("all children are gone", LIMIT, || async {
        let left = kinds_of_children(world, labels).await?;
        expect(left.is_empty(), || format!("{left:?} are left"))
    })
    .await?;
    world.show(&format!(
        "{} objects are gone {:.1} s after kubectl delete rocketmq --all",
        before.len(),
        took.as_secs_f64()
    ));
    Ok(())
}
