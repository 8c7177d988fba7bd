//! The heartbeat.

use http::Method;
use rocketmq_connector::rocketmq::admin::TOOLS_GROUP;
use rocketmq_connector::worker::connection::heartbeat::Beat;
use rocketmq_connector::worker_config::connection::HeartbeatConfig;
use rocketmq_connector::worker_config::report::HeartbeatState;
use rocketmq_connector::worker_config::{ConnectionConfig, WorkerReport};

use crate::worker_support::{Broker, TestWorker, send, unique};
use crate::{VERSIONS, connection, start, with_user};

fn heartbeat(topic: &str, interval_millis: u64) -> Option<HeartbeatConfig> {
    Some(HeartbeatConfig { topic: topic.to_owned(), interval_millis, id: "uid-1".to_owned() })
}

fn state(report: &WorkerReport) -> Option<HeartbeatState> {
    report.heartbeat.as_ref().map(|heartbeat| heartbeat.state)
}

async fn tell_users(worker: &TestWorker, users: u32) {
    let url = worker.admin(&format!("/status?after=0&waitSeconds=0&users={users}"));
    assert_eq!(send(Method::GET, &url, &[], vec![]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_beats_from_the_first_user_to_the_last() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-plain"));
        let topic = unique("conn-heartbeat");
        let config = ConnectionConfig { heartbeat: heartbeat(&topic, 200), ..connection(broker.cluster()) };
        let worker = start(config).await;
        worker.until("no heartbeat without users", |report| state(report) == Some(HeartbeatState::Stopped)).await;
        tell_users(&worker, 1).await;
        let report = worker.until("a heartbeat", |report| state(report) == Some(HeartbeatState::Beating)).await;
        let first = report.heartbeat.unwrap();
        println!("{version}: round trip {} ms", first.round_trip_millis.unwrap());
        let later = |report: &WorkerReport| {
            report.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.last_beat_millis > first.last_beat_millis)
        };
        let later = worker.until("another heartbeat", later).await.heartbeat.unwrap();
        assert_eq!(later.since_millis, first.since_millis);

        let admin = broker.client().admin();
        let (queues, _) = admin.queues(&topic).await.unwrap();
        assert_eq!(queues.len(), 1);
        let found = admin.peek(&queues[0], TOOLS_GROUP, 0, 1).await.unwrap().messages.remove(0);
        let beat: Beat = serde_json::from_slice(&found.body).unwrap();
        assert_eq!((beat.id.as_str(), found.keys), ("uid-1", vec!["uid-1".into()]));

        tell_users(&worker, 0).await;
        worker.until("the end with the last user", |report| state(report) == Some(HeartbeatState::Stopped)).await;
        let end = admin.max_offset(&queues[0]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        assert_eq!(admin.max_offset(&queues[0]).await.unwrap(), end);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_come_back_is_missing_after_six_intervals_and_found_again() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-acl"));
        let folder = tempfile::tempdir().unwrap();
        let (user, key) = (broker.setting("ADMIN_ACCESS_KEY"), broker.setting("ADMIN_SECRET_KEY"));
        let cluster = with_user(&broker, &folder, user, "wrong-secret-key");
        let topic = unique("conn-heartbeat");
        let config = ConnectionConfig { heartbeat: heartbeat(&topic, 200), in_use: true, ..connection(cluster) };
        let worker = start(config).await;
        let report = worker.until("the alarm", |report| state(report) == Some(HeartbeatState::Missing)).await;
        let error = report.heartbeat.unwrap().error.unwrap();
        assert!(error.reason == "AccessDenied" && !error.remedy.is_empty(), "{error:#?}");
        std::fs::write(folder.path().join("secret"), key).unwrap();
        worker.until("a heartbeat with the right key", |report| state(report) == Some(HeartbeatState::Beating)).await;
        worker.stop().await;
    }
}
