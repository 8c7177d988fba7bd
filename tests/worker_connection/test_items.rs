//! The items of the connection test, shown failing one by one.

use std::time::Duration;

use rocketmq_connector::rocketmq::{Consumer, ConsumerConfig, Subscription};
use rocketmq_connector::worker_config::ConnectionConfig;
use rocketmq_connector::worker_config::connection::{ClusterConfig, TlsFiles, Usage};
use rocketmq_connector::worker_config::report::TestResult;

use crate::servers::NameServer;
use crate::worker_support::{Broker, eventually, send, unique};
use crate::{VERSIONS, assert_failed, connection, item, report_of, start, with_user};

#[tokio::test(flavor = "multi_thread")]
async fn everything_passes_on_a_good_cluster() {
    for (version, reported) in VERSIONS {
        let broker = Broker::named(&format!("{version}-plain"));
        let topic = broker.topic("conn-good", 3).await;
        let config = ConnectionConfig {
            topics: vec![topic.clone()],
            consumer_group: Some(unique("g")),
            ..connection(broker.cluster())
        };
        let report = report_of(&config).await;
        let bad: Vec<_> = report
            .items
            .iter()
            .filter(|item| !matches!(item.result, TestResult::Passed) && !item.name.ends_with("Tls"))
            .collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert_eq!(report.server_version.as_deref(), Some(reported));
        assert!(
            item(&report, "TopicsUsable").message.contains(&format!("{topic} 3 queues on 1 brokers")),
            "{report:#?}"
        );
        assert!(item(&report, "ConsumerGroup").message.contains("brokers create it"), "{report:#?}");
        assert!(item(&report, "MessageSizeLimit").message.contains("4194304"), "{report:#?}");
        // Nothing was written by asking for the right to write.
        let stats = broker.client().admin().topic_stats(&topic).await.unwrap();
        assert!(stats.iter().all(|queue| queue.max_offset == 0), "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_and_a_wrong_port_are_told() {
    let servers = |address: &str| {
        connection(ClusterConfig { name_servers: vec![address.to_owned()], ..ClusterConfig::default() })
    };
    assert_failed(&report_of(&servers("no-port")).await, "NameServerAddress", "no-port", "write host:port");
    let report = report_of(&servers("nowhere.invalid:9876")).await;
    assert_failed(&report, "NameServerResolved", "nowhere.invalid:9876", "check the spelling");
    assert_failed(&report_of(&servers("127.0.0.1:1")).await, "NameServerReachable", "127.0.0.1:1: ", "its port (9876)");
    assert!(item(&report, "TopicsUsable").result == TestResult::Skipped, "{report:#?}");
    // A broker's port takes connections and is no name server.
    let broker = Broker::named("5.4.0-plain");
    let report = report_of(&servers(broker.setting("BROKER"))).await;
    assert_failed(&report, "ClusterKnown", "answered", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_advertised_on_an_unreachable_address_comes_with_the_map_that_works() {
    let real = Broker::named("5.4.0-plain");
    let (_, port) = real.setting("BROKER").rsplit_once(':').unwrap();
    let server = NameServer::start("plain", 23_700, None);
    // 192.0.2.0/24 is for documentation: nothing answers there.
    let advertised = format!("192.0.2.1:{port}");
    let _registration = server.register("far-away", &advertised).await;
    let cluster = ClusterConfig { name_servers: vec![server.address.clone()], ..ClusterConfig::default() };
    let report = report_of(&connection(cluster.clone())).await;
    let suggestion = format!("spec.brokerAddresses: {{\"{advertised}\": \"127.0.0.1:{port}\"}}");
    assert_failed(&report, "BrokersReachable", &format!("far-away advertises {advertised}"), &suggestion);

    let broker_addresses = [(advertised, format!("127.0.0.1:{port}"))].into();
    let report = report_of(&connection(ClusterConfig { broker_addresses, ..cluster })).await;
    assert_eq!(item(&report, "BrokersReachable").result, TestResult::Passed, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_fails_by_authority_name_time_and_absence_each_with_its_remedy() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-tls"));
        let tls = TlsFiles { ca: Some(broker.setting("CA_FILE").to_owned()), ..TlsFiles::default() };
        let with = |tls: Option<TlsFiles>| connection(ClusterConfig { tls, ..broker.cluster() });
        let good = report_of(&with(Some(tls.clone()))).await;
        assert_eq!(item(&good, "NameServerTls").result, TestResult::Passed, "{good:#?}");
        assert_eq!(item(&good, "BrokerTls").result, TestResult::Passed, "{good:#?}");

        let other = TlsFiles { ca: Some(broker.setting("OTHER_CA_FILE").to_owned()), ..tls.clone() };
        assert_failed(&report_of(&with(Some(other))).await, "NameServerTls", "UnknownIssuer", "tls.ca");
        let name = TlsFiles { server_name: Some("other.example".to_owned()), ..tls.clone() };
        assert_failed(&report_of(&with(Some(name))).await, "NameServerTls", "other.example", "tls.serverName");
        assert_failed(&report_of(&with(None)).await, "ClusterKnown", "no name server answers", "set spec.tls");

        let unchecked = TlsFiles { insecure_skip_verify: true, ..TlsFiles::default() };
        let report = report_of(&with(Some(unchecked))).await;
        assert_eq!(item(&report, "NameServerTls").result, TestResult::Warning, "{report:#?}");
        let plain = Broker::named(&format!("{version}-plain"));
        let report = report_of(&connection(ClusterConfig { tls: Some(tls), ..plain.cluster() })).await;
        // RocketMQ without TLS settings speaks TLS all the same, with a certificate that it has made up.
        assert_failed(&report, "NameServerTls", "UnknownIssuer", "tls.ca");
    }
    let server = NameServer::with_expired_certificate(23_800);
    let tls = TlsFiles { ca: Some(Broker::named("5.4.0-tls").setting("CA_FILE").to_owned()), ..TlsFiles::default() };
    let cluster =
        ClusterConfig { name_servers: vec![server.address.clone()], tls: Some(tls), ..ClusterConfig::default() };
    assert_failed(&report_of(&connection(cluster)).await, "NameServerTls", "expired", "renew it on the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_no_pass() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-acl"));
        let folder = tempfile::tempdir().unwrap();
        let cluster = with_user(&broker, &folder, broker.setting("ADMIN_ACCESS_KEY"), "wrong-secret-key");
        let report = report_of(&connection(cluster)).await;
        assert_failed(&report, "Authenticated", "", "check accessKey and secretKey");
        let report = report_of(&connection(broker.cluster())).await;
        assert_failed(&report, "Authenticated", "", "check accessKey and secretKey");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_on_one_topic_names_the_topic_and_how_to_give_it() {
    for (version, reported) in VERSIONS {
        let broker = Broker::named(&format!("{version}-acl"));
        let admin = broker.client();
        for topic in ["allowed", "allowed-pub"] {
            admin.admin().create_topic(topic, 2, 6).await.unwrap();
            eventually("the topic's route", async || admin.admin().topic_route(topic).await.is_ok()).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let cluster = with_user(&broker, &folder, broker.setting("APP_ACCESS_KEY"), broker.setting("APP_SECRET_KEY"));
        let config = |usage, topics: &[&str]| ConnectionConfig {
            usage,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            consumer_group: Some("g-allowed".to_owned()),
            ..connection(cluster.clone())
        };
        let report = report_of(&config(Usage::SourceAndTarget, &["allowed"])).await;
        assert!(report.items.iter().all(|item| item.result != TestResult::Failed), "{report:#?}");
        // The version is part of every answer, also to a user who is no administrator.
        assert_eq!(report.server_version.as_deref(), Some(reported), "{report:#?}");

        let report = report_of(&config(Usage::Target, &["allowed", "allowed-pub"])).await;
        assert_eq!(item(&report, "TopicsUsable").result, TestResult::Passed, "{report:#?}");
        let report = report_of(&config(Usage::Source, &["allowed", "allowed-pub"])).await;
        assert_failed(&report, "TopicsUsable", "topic allowed-pub may not be read by this user", "allowed-pub=SUB");
        // What this says of other items is told all the same.
        assert_eq!(item(&report, "ServerVersion").result, TestResult::Passed, "{report:#?}");

        let denied = unique("denied");
        admin.admin().create_topic(&denied, 1, 6).await.unwrap();
        eventually("the topic's route", async || admin.admin().topic_route(&denied).await.is_ok()).await;
        let report = report_of(&config(Usage::Target, &[&denied])).await;
        assert_failed(&report, "TopicsUsable", &format!("topic {denied} may not be written by this user"), "createAcl");
        admin.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_comes_with_its_command_or_is_created() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-plain"));
        let topic = unique("conn-missing");
        let config = ConnectionConfig { topics: vec![topic.clone()], ..connection(broker.cluster()) };
        let report = report_of(&config).await;
        let command = format!("mqadmin updateTopic -n {} -c DefaultCluster -t {topic} -r 8 -w 8", broker.name_server());
        assert_failed(&report, "TopicsUsable", &format!("topic {topic} does not exist"), &command);

        let report = report_of(&ConnectionConfig { create_topics: Some(5), ..config.clone() }).await;
        let created = format!("{topic} was created with 5 queues on 1 brokers");
        assert!(item(&report, "TopicsUsable").message.contains(&created), "{report:#?}");
        let report = report_of(&config).await;
        assert_eq!(item(&report, "TopicsUsable").result, TestResult::Passed, "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_group_is_neither_blank_nor_of_two_minds() {
    for (version, _) in VERSIONS {
        let broker = Broker::named(&format!("{version}-plain"));
        let (mine, other) = (broker.topic("conn-mine", 1).await, broker.topic("conn-other", 1).await);
        let config = |group: &str| ConnectionConfig {
            topics: vec![mine.clone()],
            consumer_group: Some(group.to_owned()),
            ..connection(broker.cluster())
        };
        let report = report_of(&config("  ")).await;
        assert_failed(&report, "ConsumerGroup", "the specified group is blank", "set consumerGroup to a name");

        let (group, client) = (unique("conn-group"), broker.client());
        let consumer =
            Consumer::start(&client, ConsumerConfig::new(group.clone(), vec![Subscription::all(other.clone())]))
                .unwrap();
        eventually("the member of the group", async || {
            client.admin().group_subscriptions(&group).await.is_ok_and(|topics| topics.contains_key(&other))
        })
        .await;
        let report = report_of(&config(&group)).await;
        let found = item(&report, "ConsumerGroup");
        assert_eq!(found.result, TestResult::Warning, "{report:#?}");
        assert!(found.message.contains(&other) && found.remedy.contains("use another consumerGroup"), "{found:#?}");
        drop(consumer);
        client.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_can_ask_for_a_test_at_any_time_and_a_failure_stops_nothing() {
    let broker = Broker::named("5.4.0-plain");
    let topic = broker.topic("conn-again", 1).await;
    let worker = start(ConnectionConfig { topics: vec![topic.clone()], ..connection(broker.cluster()) }).await;
    let tested_at = |report: &rocketmq_connector::worker_config::WorkerReport| {
        report.connection.as_ref().and_then(|connection| connection.tested_at_millis)
    };
    let first = worker.until("the first test", |report| tested_at(report).is_some()).await;
    broker.client().admin().delete_topic(&topic).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let answer = send(http::Method::GET, &worker.admin("/status?after=0&waitSeconds=0&test=a1"), &[], vec![]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let second = worker.until("the second test", |report| tested_at(report) > tested_at(&first)).await;
    assert!(second.message.unwrap().contains(&topic));
    // The same word again is no news.
    send(http::Method::GET, &worker.admin("/status?after=0&waitSeconds=0&test=a1"), &[], vec![]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(tested_at(&worker.report()), second.connection.unwrap().tested_at_millis);
    worker.stop().await;
}
