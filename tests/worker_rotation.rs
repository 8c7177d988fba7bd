//! Changed credentials and other members of a consumer group, on real brokers: nothing that runs stops, and it is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod worker_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocketmq_connector::rocketmq::{Consumer, ConsumerConfig, Subscription};
use rocketmq_connector::worker_config::connection::ClusterConfig;
use rocketmq_connector::worker_config::report::{WorkerReport, WorkerState, warnings};
use worker_support::{App, Broker, TestWorker, binding, credential_files, input, output, send};

fn warning<'a>(report: &'a WorkerReport, reason: &str) -> Option<&'a str> {
    report.warnings.iter().find(|warning| warning.reason == reason).map(|warning| warning.message.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_credentials_are_tried_first_and_taken_up_without_a_gap() {
    for broker in ["4.9.7-acl", "5.4.0-acl"].map(Broker::named) {
        let topic = broker.topic("rotated", 1).await;
        let administrator = broker.client();
        administrator.admin().create_topic("allowed-pub", 4, 6).await.unwrap();
        administrator.shutdown().await;
        let folder = tempfile::tempdir().unwrap();
        let (user, password) = (broker.setting("APP_ACCESS_KEY"), broker.setting("APP_SECRET_KEY"));
        let files = credential_files(folder.path(), user, password);
        let mut config = binding(&broker, &["allowed-pub"]);
        config.cluster = ClusterConfig { credentials: Some(files), ..broker.cluster() };
        config.output = Some(output());
        let worker = TestWorker::start(config).await;
        worker.until("a connection", |report| report.state == WorkerState::Running).await;

        // Someone publishes all the time.
        let stop = Arc::new(AtomicBool::new(false));
        let (api, stopped) = (worker.api("/v1.0/bindings/rmq"), Arc::clone(&stop));
        let publisher = tokio::spawn(async move {
            let mut answers = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let body = br#"{"operation": "create", "data": 1}"#.to_vec();
                answers.push(send(axum::http::Method::POST, &api, &[], body).await.status);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            answers
        });
        let only_for_the_administrator =
            format!(r#"{{"operation": "create", "data": 1, "metadata": {{"rocketmq-topic": "{topic}"}}}}"#);
        assert_eq!(worker.create(&only_for_the_administrator).await.status, 500);

        // A wrong password changes nothing, and is told.
        credential_files(folder.path(), user, "wrong-password");
        let report = worker.until("a warning", |report| warning(report, warnings::CREDENTIALS_REFUSED).is_some()).await;
        let told = warning(&report, warnings::CREDENTIALS_REFUSED).unwrap();
        assert!(told.contains("the earlier ones stay in use"), "{told}");
        assert!(!told.contains("wrong-password"), "{told}");
        assert_eq!(report.state, WorkerState::Running, "{report:?}");

        // A file that is gone changes nothing either.
        std::fs::remove_file(folder.path().join("secret")).unwrap();
        worker
            .until("a report", |report| report.last_error.as_ref().is_some_and(|e| e.reason == "InvalidSecretFile"))
            .await;

        // Another user that works is taken up.
        credential_files(folder.path(), broker.setting("ADMIN_ACCESS_KEY"), broker.setting("ADMIN_SECRET_KEY"));
        worker.until("no warning", |report| report.warnings.is_empty()).await;
        let answer = worker.create(&only_for_the_administrator).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        stop.store(true, Ordering::Relaxed);
        let answers = publisher.await.unwrap();
        assert!(answers.len() > 20 && answers.iter().all(|status| *status == 200), "{answers:?}");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_member_of_the_group_with_another_subscription_is_told() {
    for broker in ["4.9.7-plain", "5.4.0-plain"].map(Broker::named) {
        let topic = broker.topic("shared", 2).await;
        let app = App::taking().await;
        let mut config = binding(&broker, &[&topic]);
        config.input = Some(input(app.address));
        let foreign = broker.client();
        let subscription = Subscription::tags(&topic, "other");
        let consumer = Consumer::start(&foreign, ConsumerConfig::new(&config.group, vec![subscription])).unwrap();
        let (group, worker) = (config.group.clone(), TestWorker::start(config).await);
        let report = worker.until("a warning", |report| !report.warnings.is_empty()).await;
        let told = warning(&report, warnings::FOREIGN_SUBSCRIPTION).unwrap();
        assert!(told.contains(foreign.client_id()) && told.contains(&group), "{told}");
        assert!(told.contains(&format!("topic {topic} with \"*\" here and \"other\" there")), "{told}");
        assert_eq!(report.state, WorkerState::Running);
        consumer.shutdown(std::time::Duration::from_secs(5)).await;
        foreign.shutdown().await;
        worker.stop().await;
    }
}
