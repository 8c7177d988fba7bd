//! Source and target compared: what is lost, changed, invented or repeated is told by key.

use rocketmq_connector::worker_config::WorkerReport;
use rocketmq_connector::worker_config::verify::{Difference, VerifyConfig, VerifyReport};

use super::worker_support::verify::{command, compared};
use super::*;

fn config(from: &Broker, source_topic: &str, to: &Broker, target_topic: &str) -> SyncConfig {
    let mut config = sync(from, source_topic, to, target_topic);
    config.verify = Some(VerifyConfig { interval_millis: None, window_millis: None, max_reported: 100 });
    config
}

fn listed(report: &VerifyReport) -> Vec<(Difference, String)> {
    let mut found: Vec<_> = report.findings.iter().map(|finding| (finding.kind, finding.key.clone())).collect();
    found.sort();
    found
}

fn keyed(topic: &str, numbers: std::ops::Range<usize>) -> Vec<Message> {
    let message = |number: usize| {
        Message::new(topic, format!("body {number}"))
            .with_key(format!("k{number}"))
            .with_tag(format!("t{}", number % 2))
            .with_property("region", "eu")
    };
    numbers.map(message).collect()
}

/// Acknowledges `count` messages for a group without writing them anywhere.
async fn skip(broker: &Broker, group: &str, topic: &str, count: usize) {
    let client = broker.client();
    let consumer = Consumer::start(&client, ConsumerConfig::new(group, vec![Subscription::all(topic)])).unwrap();
    for number in 0..count {
        match tokio::time::timeout(LIMIT, consumer.recv()).await {
            Ok(delivery) => delivery.unwrap().ack(),
            Err(_) => panic!("message {number} of {topic} was not delivered: {:#?}", consumer.status()),
        }
    }
    // A commit that goes with a pull may come to the broker after the last one of a member that leaves: let it come before.
    tokio::time::sleep(Duration::from_secs(3)).await;
    consumer.shutdown(Duration::from_secs(2)).await;
    client.shutdown().await;
}

/// What the pipeline would have written for a message of the source, with changes.
fn copy_of(original: &ReceivedMessage, source_place: &str, target: &str) -> Message {
    let mut copy = Message::new(target, original.body.clone());
    copy.id = Some(original.message_id.clone());
    (copy.tag, copy.keys) = (original.tag.clone(), original.keys.clone());
    copy.properties.clone_from(&original.properties);
    copy.properties.insert("connector-origin".to_owned(), source_place.to_owned());
    copy.properties.insert("connector-born-time".to_owned(), original.born_timestamp.to_string());
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_changed_invented_or_repeated_is_told_by_key() {
    for (from, to) in [("4.9.7-plain", "5.4.0-plain"), ("5.4.0-plain", "4.9.7-plain")] {
        let (from, to) = (Broker::named(from), Broker::named(to));
        let (source_topic, target_topic) = (from.topic("verify", 3).await, to.topic("verified", 3).await);
        let mut config = config(&from, &source_topic, &to, &target_topic);
        // One worker that has ended leaves the window open for the next: the whole of the last ten minutes is compared.
        config.verify.as_mut().unwrap().window_millis = Some(600_000);
        config.transforms = vec![TransformConfig::Filter("message.tag != 't1' || message.keys[0] != 'k7'".into())];
        publish(&from, keyed(&source_topic, 0..300)).await;
        let running = Running::start(&config).await;
        running.until("the copy", |_, sync| sync.written == 299 && sync.left_out == 1).await;
        let report = compared(&running, "1").await;
        let counts = report.counts;
        assert_eq!((counts.source, counts.target, counts.left_out, counts.duplicates), (300, 299, 1, 0));
        assert!(!counts.has_differences() && report.findings.is_empty(), "{report:#?}");
        assert!(report.from_millis.is_some() && report.from_millis <= report.to_millis);
        running.stop().await;

        // Messages that the group is moved past are lost.
        publish(&from, keyed(&source_topic, 300..304)).await;
        let originals = read_all(&from, &source_topic, 304).await;
        let group = source(&mut config).group.clone();
        skip(&from, &group, &source_topic, 4).await;
        let place = format!("{}/{source_topic}", from.name_server());
        let original = |key: &str| originals.iter().find(|message| message.keys == [key]).unwrap();
        let copy = |key: &str| copy_of(original(key), &place, &target_topic);
        // k300 stays lost; k301 and k302 come with another body and another property; k303 comes twice, as it should be.
        let mut changed = vec![copy("k301"), copy("k302"), copy("k303"), copy("k303")];
        changed[0].body = "altered".into();
        changed[1].properties.insert("region".to_owned(), "us".to_owned());
        // A message that the source never had, and one that is not of this sync.
        let mut invented = copy("k303");
        (invented.id, invented.keys) = (Some("INVENTED".into()), vec!["k999".into()]);
        let foreign = Message::new(&target_topic, "of somebody else");
        changed.extend([invented, foreign]);
        publish(&to, changed).await;

        let running = Running::start(&config).await;
        running.until("to be at the end", |_, sync| sync.lag == Some(0) && sync.partitions == 3).await;
        let report = compared(&running, "2").await;
        let counts = report.counts;
        assert_eq!((counts.source, counts.target, counts.left_out, counts.duplicates), (304, 300, 1, 1), "{report:#?}");
        assert_eq!((counts.missing, counts.different, counts.extra), (1, 2, 1), "{report:#?}");
        let expected = [
            (Difference::Missing, "k300".to_owned()),
            (Difference::Different, "k301".to_owned()),
            (Difference::Different, "k302".to_owned()),
            (Difference::Extra, "k999".to_owned()),
        ];
        assert_eq!(listed(&report), expected);
        let lost = report.findings.iter().find(|finding| finding.key == "k300").unwrap();
        let stands = original("k300");
        let expected =
            format!("topic {source_topic}, broker broker-a, queue {}, offset {}", stands.queue_id, stands.queue_offset);
        assert_eq!((&lost.place, &lost.topic, &*lost.id), (&expected, &target_topic, &*stands.message_id));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_compared_again_and_again_without_an_alarm() {
    let (from, to) = (Broker::named("4.9.7-plain"), Broker::named("5.4.0-plain"));
    let (source_topic, target_topic) = (from.topic("steady", 4).await, to.topic("steady", 4).await);
    let mut config = config(&from, &source_topic, &to, &target_topic);
    config.verify.as_mut().unwrap().interval_millis = Some(700);
    let running = Running::start(&config).await;
    running.until("the queues", |_, sync| sync.partitions == 4 && sync.lag == Some(0)).await;
    // Long enough for the worker to note where it begins.
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Runs fall between and into writes: what is on its way is neither missing nor extra.
    for round in 0..20 {
        publish(&from, keyed(&source_topic, round * 500..(round + 1) * 500)).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    running.until("the copy", |_, sync| sync.written == 10_000).await;
    let done = |report: &WorkerReport| report.verify.as_ref().is_some_and(|verify| verify.counts.source == 10_000);
    running.until("all to be compared", |report, _| done(report)).await;
    let report = running.report().verify.unwrap();
    println!("{} runs, the last took {} ms", report.runs, report.duration_millis);
    assert!(report.runs >= 5, "{report:#?}");
    assert!(!report.counts.has_differences(), "{report:#?}");
    assert_eq!((report.counts.target, report.counts.duplicates), (10_000, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_differences_and_ends_with_a_code() {
    let (from, to) = (Broker::named("5.4.0-plain"), Broker::named("4.9.7-plain"));
    let (source_topic, target_topic) = (from.topic("command", 2).await, to.topic("command", 2).await);
    let group = unique("command");
    let manifest = format!(
        r#"
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQConnection
metadata: {{ name: from }}
spec: {{ nameServers: ["{}"] }}
---
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQConnection
metadata: {{ name: to }}
spec: {{ nameServers: ["{}"] }}
---
apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQSync
metadata: {{ name: copy }}
spec:
  source: {{ connectionRef: {{ name: from }}, topics: [{source_topic}], consumerGroup: {group}, clusterId: east }}
  target: {{ connectionRef: {{ name: to }}, topic: {target_topic}, clusterId: west }}
  format: Raw
  verify: {{}}
"#,
        from.name_server(),
        to.name_server()
    );
    let verify = |arguments: &[&str]| command(&manifest, arguments);

    let mut config = sync(&from, &source_topic, &to, &target_topic);
    source(&mut config).group = group.clone();
    source(&mut config).cluster_id = "east".to_owned();
    target(&mut config).cluster_id = "west".to_owned();
    publish(&from, keyed(&source_topic, 0..50)).await;
    let running = Running::start(&config).await;
    running.until("the copy", |_, sync| sync.written == 50 && sync.lag == Some(0)).await;
    running.stop().await;
    let (code, text) = verify(&["--window", "10m"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("        50  in the window of the source\n        50  at the target as they should be"),
        "{text}"
    );

    publish(&from, keyed(&source_topic, 50..53)).await;
    skip(&from, &group, &source_topic, 3).await;
    let (code, text) = verify(&["--window", "10m", "--max", "2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("         3  missing") && text.contains("Missing    k5"), "{text}");
    assert!(text.contains("1 more are not listed"), "{text}");
    let (code, text) = verify(&["--window", "10m", "-o", "json"]);
    assert_eq!(code, Some(1), "{text}");
    let report: VerifyReport = serde_json::from_str(&text).unwrap();
    let expected: Vec<_> = (50..53).map(|number| (Difference::Missing, format!("k{number}"))).collect();
    assert_eq!(listed(&report), expected);
    assert_eq!(verify(&["--window", "soon"]).0, Some(2), "a wrong flag");
    assert_eq!(verify(&["--name", "other"]).0, Some(2), "no such sync");
}
