//! What a connection does beside its test: models, heartbeat and placement.

use serde_json::{Value, json};

use crate::brokers::Broker;
use crate::cluster::{expect, wait_for};
use crate::world::{LIMIT, World};
use crate::{Failure, Outcome};

const MESSAGES: u32 = 10;

fn connection(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": name}, "spec": spec,
    })
}

fn output(name: &str, connection: &str, topic: &str) -> Value {
    json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQBinding", "metadata": {"name": name},
        "spec": {"direction": "Output", "connectionRef": {"name": connection}, "topics": [topic]},
    })
}

/// Topics as models in ConfigMaps and the heartbeat with its first and last user, on both versions.
pub async fn models_and_heartbeat(world: &World) -> Outcome {
    let credentials = json!({
        "accessKey": world.acl.setting("ADMIN_ACCESS_KEY"), "secretKey": world.acl.setting("ADMIN_SECRET_KEY"),
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "modelled-keys"}, "stringData": credentials,
    });
    world.apply(&[secret]).await?;
    let key = |key: &str| json!({"secretKeyRef": {"name": "modelled-keys", "key": key}});
    let keys = json!({"accessKey": key("accessKey"), "secretKey": key("secretKey")});
    modelled(world, &world.plain, "modelled-plain", &json!({})).await?;
    modelled(world, &world.acl, "modelled-acl", &json!({"credentials": keys})).await
}

async fn modelled(world: &World, broker: &Broker, name: &str, access: &Value) -> Outcome {
    let topic = broker.create_topic("modelled").await?;
    let mut spec = json!({
        "nameServers": [broker.name_server()], "topics": [topic], "testInterval": "10s", "heartbeat": {"interval": "2s"},
    });
    if let Some(credentials) = access.get("credentials") {
        spec["credentials"] = credentials.clone();
    }
    world.apply(&[connection(name, &spec), output(name, name, &topic)]).await?;
    world.condition("RocketMQConnection", name, "Ready", "True", "").await?;
    world.settled(name).await?;
    let template = r#"{"operation":"create","data":{"id":%d,"buyer":{"name":"a"}}}"#;
    world.publish(&format!("{name}-binding"), name, 1, MESSAGES, &["-template", template]).await?;

    world.kubectl(&["annotate", "rmqconn", name, "connector.rocketmq.dev/load-models=now", "--overwrite"]).await?;
    let map = format!("{name}-connection-models-0");
    let (schema, took) = wait_for("the schema of the topic in a ConfigMap", LIMIT, || async {
        let object = world.get("ConfigMap", &map).await?;
        let text = object["data"][format!("{topic}.schema.json")].as_str().unwrap_or_default().to_owned();
        expect(text.contains("buyer"), || format!("the schema of {topic} is {text:?}"))?;
        Ok(serde_json::from_str::<Value>(&text)?)
    })
    .await?;
    world.show(&format!("{map} has the schema after {:.1} s: {}", took.as_secs_f64(), schema["properties"]));
    expect(schema["properties"]["buyer"]["properties"]["name"]["type"] == "string", || format!("schema: {schema}"))?;
    let models = status(world, name, "models").await?;
    expect(models["count"] == 1 && models["failed"] == 0, || format!("status.models is {models}"))?;

    world.condition("RocketMQConnection", name, "Heartbeating", "True", "").await?;
    let beat = status(world, name, "heartbeat").await?;
    world.show(&format!("status.heartbeat: {beat}"));
    expect(beat["state"] == "Beating" && beat["users"] == 1 && beat["roundTripMillis"].is_number(), || {
        format!("status.heartbeat is {beat}")
    })?;
    world.kubectl(&["delete", "rmqbind", name]).await?;
    world.condition("RocketMQConnection", name, "Heartbeating", "False", "NoUsers").await?;
    world.kubectl(&["delete", "rmqconn", name]).await.map(|_| ())
}

async fn status(world: &World, connection: &str, part: &str) -> Result<Value, Failure> {
    Ok(world.get("RocketMQConnection", connection).await?["status"][part].take())
}

/// Workers run where `agent` has them; no such node, and two agents that disagree, are told.
pub async fn agents(world: &World) -> Outcome {
    let topic = world.plain.create_topic("pinned").await?;
    let nodes = world.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]).await?;
    let node = nodes.split_whitespace().next().ok_or("the cluster has no node")?;
    let spec = |agent: Value| json!({"nameServers": [world.plain.name_server()], "agent": agent});
    let pinned = connection("pinned", &spec(json!({"mode": "Manual", "nodeName": node})));
    world.apply(&[pinned, output("pinned", "pinned", &topic)]).await?;
    world.condition("RocketMQConnection", "pinned", "Ready", "True", "").await?;
    world.settled("pinned").await?;

    let elsewhere =
        connection("elsewhere", &spec(json!({"mode": "Manual", "nodeSelector": {"rocketmq.test/none": "true"}})));
    let sync = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQSync", "metadata": {"name": "torn"},
        "spec": {
            "source": {"connectionRef": {"name": "pinned"}, "topics": [topic]},
            "target": {"connectionRef": {"name": "elsewhere"}, "topic": format!("{topic}-copy")},
        },
    });
    world.apply(&[elsewhere, sync]).await?;
    let unavailable = world.condition("RocketMQConnection", "elsewhere", "Ready", "False", "AgentUnavailable").await?;
    world.show(unavailable["message"].as_str().unwrap_or_default());
    let conflict = world.condition("RocketMQSync", "torn", "Accepted", "False", "AgentConflict").await?;
    world.show(conflict["message"].as_str().unwrap_or_default());

    let automatic = json!({"spec": {"agent": {"mode": "Automatic", "nodeSelector": null}}});
    world.patch("rmqconn/elsewhere", &automatic).await?;
    world.condition("RocketMQConnection", "elsewhere", "Ready", "True", "").await?;
    world.condition("RocketMQSync", "torn", "Accepted", "True", "").await?;
    world
        .kubectl(&["delete", "rmqsync/torn", "rmqbind/pinned", "rmqconn/pinned", "rmqconn/elsewhere"])
        .await
        .map(|_| ())
}
