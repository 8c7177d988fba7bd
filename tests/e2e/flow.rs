//! Messages through pods, both ways, and the report about a connection.

use serde_json::{Value, json};

use crate::brokers::Broker;
use crate::cluster::{expect, run, wait_for};
use crate::world::{LIMIT, NAMESPACE, World, find_condition};
use crate::{Failure, Outcome};

/// The token that callers of the sample's API send.
pub const API_TOKEN: &str = "token-of-the-payments-api";
const MESSAGES: u32 = 20;

/// A binding of both directions that delivers to the app.
pub fn binding(name: &str, name_server: &str, topic: &str) -> Value {
    json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQBinding", "metadata": {"name": name},
        "spec": {
            "nameServer": name_server, "topics": [topic], "app": {"service": {"name": "app", "port": 8080}},
            "delivery": {"startFrom": {"position": "First"}},
        },
    })
}

/// The field of an object that a path of names leads to.
fn field<'a>(object: &'a mut Value, path: &str) -> Result<&'a mut Value, Failure> {
    object.pointer_mut(path).ok_or_else(|| format!("the sample has no {path}").into())
}

pub async fn connection_reports_its_test(world: &World) -> Outcome {
    let connection = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": "plain"},
        "spec": {"nameServers": [world.plain.name_server()], "testInterval": "10s"},
    });
    let unreachable = json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": "unreachable"},
        "spec": {"nameServers": ["10.88.0.1:1"]},
    });
    world.apply(&[connection, unreachable]).await?;
    world.condition("RocketMQConnection", "plain", "Tested", "True", "").await?;
    world.condition("RocketMQConnection", "plain", "Ready", "True", "").await?;
    let status = world.get("RocketMQConnection", "plain").await?["status"].take();
    let items = status["test"]["items"].as_array().cloned().unwrap_or_default();
    for item in &items {
        world
            .show(&format!("{} {}: {} ({} ms)", item["result"], item["name"], item["message"], item["durationMillis"]));
    }
    expect(items.len() >= 2, || format!("the test has these items: {items:?}"))?;
    expect(status["serverVersion"].as_str().is_some_and(|version| version.contains("5_4_0")), || {
        format!("serverVersion is {}", status["serverVersion"])
    })?;
    expect(status["brokers"] == 1, || format!("brokers is {}", status["brokers"]))?;

    let condition = world.condition("RocketMQConnection", "unreachable", "Tested", "False", "").await?;
    world.show(condition["message"].as_str().unwrap_or_default());
    expect(condition["message"].to_string().contains("10.88.0.1:1"), || {
        format!("the message does not name the address: {condition}")
    })
}

pub async fn both_ways_plain(world: &World) -> Outcome {
    let topic = world.plain.create_topic("orders").await?;
    let mut orders = world.samples("binding_inline.yaml")?;
    let sample = orders.first_mut().ok_or("binding_inline.yaml is empty")?;
    *field(sample, "/spec/nameServer")? = json!(world.plain.name_server());
    *field(sample, "/spec/topics")? = json!([topic]);
    *field(sample, "/spec/app/service")? = json!({"name": "app", "port": 8080});
    world.apply(&orders).await?;
    world.settled("orders").await?;
    world.publish("orders-binding", "orders", 1, MESSAGES, &[]).await?;
    moved(world, &world.plain, "orders", &topic, "/orders").await
}

pub async fn both_ways_acl(world: &World) -> Outcome {
    let topic = world.acl.create_topic("payments").await?;
    let mut manifests = world.samples("connection.yaml")?;
    manifests.extend(world.samples("binding_connection.yaml")?);
    for manifest in &mut manifests {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match (manifest["kind"].as_str().unwrap_or_default(), name.as_str()) {
            ("Secret", "rocketmq-credentials") => {
                let keys = json!({"accessKey": world.acl.setting("ADMIN_ACCESS_KEY"), "secretKey": world.acl.setting("ADMIN_SECRET_KEY")});
                *field(manifest, "/stringData")? = keys;
            }
            ("Secret", _) => *field(manifest, "/stringData/token")? = json!(API_TOKEN),
            ("RocketMQConnection", _) => {
                *field(manifest, "/spec/nameServers")? = json!([world.acl.name_server()]);
                *field(manifest, "/spec/topics")? = json!([topic]);
            }
            _ => {
                *field(manifest, "/spec/topics")? = json!([format!("{topic}||authorised||captured")]);
                *field(manifest, "/spec/app/service")? = json!({"name": "app", "port": 8080});
            }
        }
    }
    world.apply(&manifests).await?;
    world.condition("RocketMQConnection", "production", "Ready", "True", "").await?;
    world.settled("payments").await?;
    let refused = world.publish("payments-binding", "payments", 1, 1, &["-patience", "1s"]).await;
    let refusal = refused.err().map(|failure| failure.to_string()).unwrap_or_default();
    expect(refusal.contains("401"), || format!("a call without the token was not refused with 401: {refusal:?}"))?;
    let tagged = r#"{"operation":"create","data":%d,"metadata":{"rocketmq-tag":"captured"}}"#;
    let other = r#"{"operation":"create","data":%d,"metadata":{"rocketmq-tag":"declined"}}"#;
    world.publish("payments-binding", "payments", 1001, 1003, &["-token", API_TOKEN, "-template", other]).await?;
    world.publish("payments-binding", "payments", 1, MESSAGES, &["-token", API_TOKEN, "-template", tagged]).await?;
    world.all_received("/on-payment", MESSAGES).await?;
    let counts = world.received("/on-payment").await?;
    expect(!counts.contains_key(&1001), || "a message with another tag was delivered".to_owned())?;
    let stored = world.acl.stored(&topic).await?;
    world.show(&format!("RocketMQ 4.9.7 has stored {stored} messages in {topic}"));
    expect(stored == u64::from(MESSAGES) + 3, || format!("{stored} messages are stored, not {}", MESSAGES + 3))
}

/// The sample of a gRPC app, with a caller that speaks gRPC as well.
pub async fn both_ways_grpc(world: &World) -> Outcome {
    let topic = world.plain.create_topic("refunds").await?;
    let mut manifests = world.samples("binding_grpc.yaml")?;
    let sample = manifests.first_mut().ok_or("binding_grpc.yaml is empty")?;
    *field(sample, "/spec/nameServer")? = json!(world.plain.name_server());
    *field(sample, "/spec/topics")? = json!([topic]);
    *field(sample, "/spec/app/service")? = json!({"name": "app", "port": 8080});
    sample["spec"]["delivery"]["startFrom"] = json!({"position": "First"});
    manifests.push(json!({
        "apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQBinding", "metadata": {"name": "refund"},
        "spec": {"direction": "Output", "nameServer": world.plain.name_server(), "topics": [topic]},
    }));
    world.apply(&manifests).await?;
    world.settled("refund").await?;
    world.settled("refunds").await?;
    let said = world.probe(&["invoke", "refund-binding:50001", "refund", "1", &MESSAGES.to_string()]).await?;
    world.show(&format!("InvokeBinding over gRPC: {}", said.trim()));
    world.all_received("/grpc/refunds", MESSAGES).await?;
    let unknown = world.probe(&["invoke", "refund-binding:50001", "nobody", "1", "1"]).await;
    let refusal = unknown.err().map(|failure| failure.to_string()).unwrap_or_default();
    expect(refusal.contains("grpc-status"), || format!("an unknown binding was not refused: {refusal:?}"))?;
    world.kubectl(&["delete", "rmqbind/refund", "rmqbind/refunds"]).await.map(|_| ())
}

/// The messages are in RocketMQ, reached the app, and are counted in the status.
async fn moved(world: &World, broker: &Broker, binding: &str, topic: &str, path: &str) -> Outcome {
    world.all_received(path, MESSAGES).await?;
    let stored = broker.stored(topic).await?;
    world.show(&format!("RocketMQ has stored {stored} messages in {topic}"));
    expect(stored == u64::from(MESSAGES), || format!("{stored} messages are stored, not {MESSAGES}"))?;
    let (status, took) = wait_for("the status counts the messages", LIMIT, || async {
        let object = world.get("RocketMQBinding", binding).await?;
        let status = &object["status"];
        let counted = status["messagesIn"] == MESSAGES && status["messagesOut"] == MESSAGES && status["lag"] == 0;
        expect(counted, || {
            format!("in {}, out {}, lag {}", status["messagesIn"], status["messagesOut"], status["lag"])
        })?;
        Ok(object)
    })
    .await?;
    world.show(&format!("the status counts them {:.1} s later", took.as_secs_f64()));
    world.show(&run("kubectl", &["-n", NAMESPACE, "get", "rocketmqbinding", binding], "").await?);
    expect(find_condition(&status, "Delivering").is_some_and(|condition| condition["status"] == "True"), || {
        "Delivering is not True".to_owned()
    })
}
