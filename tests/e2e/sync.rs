//! Messages from one cluster to another through a pod.

use rocketmq_connector::rocketmq::{Client, ClientConfig, Message, Producer, ProducerConfig};
use serde_json::json;

use crate::cluster::{expect, run, wait_for};
use crate::world::{LIMIT, NAMESPACE, World};
use crate::{Failure, Outcome};

const MESSAGES: usize = 200;

/// The sample of two connections and a sync moves what is there and what comes, and its status tells.
pub async fn mirror(world: &World) -> Outcome {
    let topics = [world.plain.create_topic("mirrored").await?, world.plain.create_topic("payments").await?];
    let keys =
        json!({"accessKey": world.acl.setting("ADMIN_ACCESS_KEY"), "secretKey": world.acl.setting("ADMIN_SECRET_KEY")});
    let mut manifests = world.samples("sync_mirror.yaml")?;
    for manifest in &mut manifests {
        let (kind, name) = (manifest["kind"].clone(), manifest["metadata"]["name"].clone());
        match (kind.as_str(), name.as_str()) {
            (Some("Secret"), _) => manifest["stringData"] = keys.clone(),
            (Some("RocketMQConnection"), Some("on-premises")) => {
                manifest["spec"]["nameServers"] = json!([world.plain.name_server()]);
            }
            (Some("RocketMQConnection"), _) => manifest["spec"]["nameServers"] = json!([world.acl.name_server()]),
            _ => manifest["spec"]["source"]["topics"] = json!(topics),
        }
    }
    publish(world, &topics[0], 0, MESSAGES).await?;
    world.apply(&manifests).await?;
    world.condition("RocketMQSync", "mirror-orders", "Ready", "True", "").await?;
    publish(world, &topics[1], MESSAGES, MESSAGES).await?;
    let (_, took) = wait_for("the status counts the messages", LIMIT, || async {
        let status = world.get("RocketMQSync", "mirror-orders").await?["status"].take();
        expect(status["recordsWritten"] == 2 * MESSAGES && status["lag"] == 0, || {
            format!("read {}, written {}, lag {}", status["recordsRead"], status["recordsWritten"], status["lag"])
        })
    })
    .await?;
    world.show(&format!("the status counts {} messages after {:.1} s", 2 * MESSAGES, took.as_secs_f64()));
    world.show(&run("kubectl", &["-n", NAMESPACE, "get", "rocketmqsync", "mirror-orders"], "").await?);
    for topic in &topics {
        let stored = world.acl.stored(topic).await?;
        expect(stored == MESSAGES as u64, || {
            format!("RocketMQ 4.9.7 has {stored} messages in {topic}, not {MESSAGES}")
        })?;
    }
    // A pause keeps the place; what comes meanwhile is moved after it.
    world.patch("rocketmqsync/mirror-orders", &json!({"spec": {"state": "Paused"}})).await?;
    world.condition("RocketMQSync", "mirror-orders", "Ready", "True", "Paused").await?;
    publish(world, &topics[0], 2 * MESSAGES, MESSAGES).await?;
    world.patch("rocketmqsync/mirror-orders", &json!({"spec": {"state": "Running"}})).await?;
    wait_for("what came during the pause", LIMIT, || async {
        let stored = world.acl.stored(&topics[0]).await?;
        expect(stored == 2 * MESSAGES as u64, || format!("{stored} messages are stored"))
    })
    .await
    .map(|_| ())
}

/// Publishes numbers from `first` on to the cluster without access control.
pub async fn publish(world: &World, topic: &str, first: usize, count: usize) -> Result<(), Failure> {
    let client = Client::new(ClientConfig::new(vec![world.plain.name_server().to_owned()]))?;
    let producer = Producer::new(&client, ProducerConfig::new("e2e-publisher"))?;
    let messages = (first..first + count).map(|number| Message::new(topic, number.to_string())).collect();
    for result in producer.send_batch(messages).await {
        result?;
    }
    producer.shutdown().await;
    client.shutdown().await;
    Ok(())
}
