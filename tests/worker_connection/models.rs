//! Topics as models.

use http::Method;
use rocketmq_connector::rocketmq::{Message, Producer, ProducerConfig};
use rocketmq_connector::worker_config::ConnectionConfig;
use rocketmq_connector::worker_config::connection::{HEARTBEAT_TOPIC, ModelsConfig, Usage};
use rocketmq_connector::worker_config::models::{Format, ModelPage, ModelWithSchema};
use serde_json::json;

use crate::worker_support::{Broker, send};
use crate::{VERSIONS, connection, start, with_user};

pub fn hourly() -> ModelsConfig {
    ModelsConfig {
        interval_seconds: 3600,
        threshold: 10_000,
        daily_at: "02:00".to_owned(),
        time_zone: "UTC".to_owned(),
        sample_size: 100,
    }
}

async fn publish(broker: &Broker, topic: &str, bodies: &[Vec<u8>]) {
    let client = broker.client();
    let producer = Producer::new(&client, ProducerConfig::new("conn-models")).unwrap();
    for body in bodies {
        producer.send(Message::new(topic, body.clone())).await.unwrap();
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_loaded_as_models_and_leave_no_trace() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-plain"));
        let (json, text) = (broker.topic("conn-json", 3).await, broker.topic("conn-text", 1).await);
        let empty = broker.topic("conn-empty", 1).await;
        let objects = (0..40).map(|n| match n % 2 {
            0 => json!({"id": n, "buyer": {"name": "a"}, "lines": [{"sku": "x", "n": 1}]}),
            _ => json!({"id": n, "buyer": {"name": null}, "note": "x".repeat(300)}),
        });
        publish(&broker, &json, &objects.map(|object| object.to_string().into_bytes()).collect::<Vec<_>>()).await;
        publish(&broker, &text, &[b"plain words".to_vec(), b"Obj\x01avro".to_vec(), b"more words".to_vec()]).await;
        let groups = broker.client().admin().groups().await.unwrap();

        let config = ConnectionConfig {
            topics: vec![json.clone(), text.clone(), empty.clone(), "%RETRY%x".to_owned(), HEARTBEAT_TOPIC.to_owned()],
            models: Some(hourly()),
            ..connection(broker.cluster())
        };
        let worker = start(config).await;
        let loaded = |report: &rocketmq_connector::worker_config::WorkerReport| {
            report.models.as_ref().is_some_and(|models| models.loaded_at_millis.is_some())
        };
        let report = worker.until("the first load", loaded).await.models.unwrap();
        assert_eq!((report.count, report.added, report.failed, report.error), (3, 3, 0, None));
        let wait = report.next_at_millis.unwrap() - report.loaded_at_millis.unwrap();
        assert_eq!(wait, 3_600_000);

        let page: ModelPage =
            serde_json::from_str(&send(Method::GET, &worker.admin("/models"), &[], vec![]).await.body).unwrap();
        assert_eq!((page.models.len(), page.next), (3, None));
        let model = |topic: &str| page.models.iter().find(|model| model.model.topic == topic).unwrap();
        let ModelWithSchema { model: found, schema } = model(&json);
        assert_eq!((found.format, found.queues, found.messages, found.sampled), (Format::Json, 3, 40, 40));
        let shown: Vec<_> = found
            .fields
            .iter()
            .map(|field| format!("{} {:?} {} {}", field.path, field.types, field.nullable, field.presence))
            .collect();
        assert_eq!(
            shown,
            [
                "buyer [Object] false 1",
                "buyer.name [String] true 1",
                "id [Integer] false 1",
                "lines [Array] false 0.5",
                "lines[].n [Integer] false 1",
                "lines[].sku [String] false 1",
                "note [Text] false 0.5",
            ]
        );
        assert_eq!(schema["properties"]["buyer"]["properties"]["name"]["type"], json!(["string", "null"]));
        let words = &model(&text).model;
        assert_eq!((words.format, words.mixed.len(), words.sampled), (Format::Text, 2, 3));
        assert_eq!(model(&empty).model.format, Format::Empty);
        let one = send(Method::GET, &worker.admin(&format!("/models/{json}")), &[], vec![]).await;
        assert_eq!(serde_json::from_str::<ModelWithSchema>(&one.body).unwrap().model.topic, json);
        assert_eq!(send(Method::GET, &worker.admin("/models/none"), &[], vec![]).await.status, 404);

        // A load on demand sees what has changed; the groups are those from before.
        publish(&broker, &empty, &[br#"{"first": true}"#.to_vec()]).await;
        send(Method::GET, &worker.admin("/status?after=0&waitSeconds=0&loadModels=b1"), &[], vec![]).await;
        let changed = |report: &rocketmq_connector::worker_config::WorkerReport| {
            report.models.as_ref().is_some_and(|models| models.changed == 1)
        };
        let report = worker.until("the second load", changed).await.models.unwrap();
        assert_eq!((report.count, report.added, report.removed), (3, 0, 0));
        let after = broker.client().admin().groups().await.unwrap();
        let new: Vec<_> = after.iter().filter(|group| !groups.contains(group) && group.contains("TOOLS")).collect();
        assert!(new.is_empty(), "{new:?}");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_read_fails_alone_and_a_target_is_never_read() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-acl"));
        let admin = broker.client();
        let denied = broker.topic("conn-denied", 1).await;
        publish(&broker, &denied, &[br#"{"secret": 1}"#.to_vec()]).await;
        let folder = tempfile::tempdir().unwrap();
        let cluster = with_user(&broker, &folder, broker.setting("APP_ACCESS_KEY"), broker.setting("APP_SECRET_KEY"));
        for (usage, failed, format) in [(Usage::Source, 1, Format::NotSampled), (Usage::Target, 0, Format::NotSampled)]
        {
            let config = ConnectionConfig {
                usage,
                topics: vec![denied.clone()],
                models: Some(hourly()),
                ..connection(cluster.clone())
            };
            let worker = start(config).await;
            let report = worker
                .until("the load", |report| {
                    report.models.as_ref().is_some_and(|models| models.loaded_at_millis.is_some())
                })
                .await;
            assert_eq!(report.models.unwrap().failed, failed);
            let body = send(Method::GET, &worker.admin(&format!("/models/{denied}")), &[], vec![]).await.body;
            let model = serde_json::from_str::<ModelWithSchema>(&body).unwrap().model;
            assert_eq!((model.format, model.fields.len(), model.error.is_some()), (format, 0, failed == 1), "{body}");
            worker.stop().await;
        }
        admin.shutdown().await;
    }
}
