//! Syncs from a real broker to a real S3 server and to folders: each message is in one object, whatever happens in between. What was
//! written is read by DuckDB.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod faults;
mod memory;
mod target;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rocketmq_connector::worker_config::connection::TlsFiles;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::{Compression, FileFormat, Format, PartitionBy, StoreConfig};
use serde_json::json;

use target::{Content, Server, as_format, folder, numbered, objects, publish, sync, target as objects_of};
use worker_support::Broker;
use worker_support::sync::Running;

const BROKER: &str = "5.4.0-plain";

const FORMATS: [(FileFormat, Compression); 6] = [
    (FileFormat::JsonLines, Compression::None),
    (FileFormat::JsonLines, Compression::Gzip),
    (FileFormat::JsonLines, Compression::Zstd),
    (FileFormat::Parquet, Compression::None),
    (FileFormat::Parquet, Compression::Snappy),
    (FileFormat::Parquet, Compression::Zstd),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_in_one_object_in_every_format() {
    const COUNT: i64 = 3_000;
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    let topic = broker.topic("lake", 4).await;
    publish(&broker, &topic, numbered(0..COUNT)).await;
    let temporary = tempfile::tempdir().unwrap();
    for (number, (format, compression)) in FORMATS.into_iter().enumerate() {
        let (bucket, path) = (server.bucket(), temporary.path().join(number.to_string()));
        for (store, place) in [(server.store(&bucket), server.bucket_folder(&bucket)), (folder(&path), path)] {
            let what = format!("{format:?} {compression:?} in {}", place.display());
            let mut config = sync(&broker, &topic, store);
            as_format(&mut config, format, compression);
            objects_of(&mut config).roll_records = Some(400);
            let running = Running::start(&config).await;
            let report = running.until(&what, |_, sync| sync.written == COUNT as u64 && sync.lag == Some(0)).await;
            running.stop().await;
            assert_eq!((report.repeated, report.in_flight), (0, 0), "{what}");
            let content = Content::of(&place, format);
            assert_eq!(content.lost_and_repeated(COUNT), (0, 0), "{what}");
            whole(&content, &topic, format);
        }
    }
}

/// Each record has all of its message, and its folder is that of its time.
fn whole(content: &Content, topic: &str, format: FileFormat) {
    for record in &content.records {
        assert_eq!((record["topic"].as_str(), record["broker"].as_str()), (Some(topic), Some("broker-a")), "{record}");
        assert_eq!((record["tag"].as_str(), &record["keys"]), (Some("paid"), &json!(["k"])), "{record}");
        assert_eq!((&record["operation"], record["message_id"].as_str().unwrap().len()), (&json!("insert"), 32));
        let properties = match format {
            FileFormat::Parquet => record["properties"].clone(),
            FileFormat::JsonLines => json!({"region": record["properties"]["region"]}),
        };
        assert_eq!(properties, json!({"region": "eu"}), "{record}");
        let stored = jiff::Timestamp::from_millisecond(record["store_time"].as_i64().unwrap()).unwrap();
        let folder = stored.strftime("dt=%Y-%m-%d/hh=%H").to_string();
        assert!(record["filename"].as_str().unwrap().contains(&folder), "{record} should be in {folder}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_are_kept_as_they_are() {
    let broker = Broker::named(BROKER);
    let topic = broker.topic("raw", 1).await;
    publish(&broker, &topic, [b"two\nlines".to_vec(), b"\xff\x00".to_vec()].into_iter()).await;
    for format in [FileFormat::JsonLines, FileFormat::Parquet] {
        let place = tempfile::tempdir().unwrap();
        let mut config = sync(&broker, &topic, folder(place.path()));
        config.format = Format::Raw;
        as_format(&mut config, format, Compression::None);
        objects_of(&mut config).partition_by = PartitionBy::None;
        let running = Running::start(&config).await;
        running.until("both", |_, sync| sync.written == 2).await;
        running.stop().await;
        let content = Content::of(place.path(), format);
        let found: Vec<_> = content.records.iter().map(|record| (&record["body"], record.get("body_base64"))).collect();
        match format {
            FileFormat::JsonLines => {
                assert_eq!(found, [(&json!("two\nlines"), Some(&json!(null))), (&json!(null), Some(&json!("/wA=")))]);
            }
            FileFormat::Parquet => {
                // binary, which the reader prints in hexadecimal digits
                assert_eq!(found, [(&json!("74776f0a6c696e6573"), None), (&json!("ff00"), None)]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_end_by_records_by_size_and_by_time() {
    let broker = Broker::named(BROKER);
    let topic = broker.topic("roll", 1).await;
    publish(&broker, &topic, numbered(0..1_050)).await;

    let by_records = tempfile::tempdir().unwrap();
    let mut config = sync(&broker, &topic, folder(by_records.path()));
    objects_of(&mut config).roll_records = Some(100);
    let running = Running::start(&config).await;
    running.until("all by records", |_, sync| sync.written == 1_050).await;
    running.stop().await;
    let sizes = records_of_objects(&Content::of(by_records.path(), FileFormat::JsonLines));
    assert_eq!(sizes, [[100; 10].as_slice(), &[50]].concat());

    let by_size = tempfile::tempdir().unwrap();
    let mut config = sync(&broker, &topic, folder(by_size.path()));
    as_format(&mut config, FileFormat::JsonLines, Compression::None);
    objects_of(&mut config).roll_bytes = 64 * 1024;
    let running = Running::start(&config).await;
    running.until("all by size", |_, sync| sync.written == 1_050).await;
    running.stop().await;
    let mut sizes: Vec<u64> = objects(by_size.path()).iter().map(|path| path.metadata().unwrap().len()).collect();
    let last = sizes.pop().unwrap();
    println!("objects of {sizes:?} bytes, and the last of {last}");
    assert!(sizes.len() >= 4 && sizes.iter().all(|size| (64 * 1024..66 * 1024).contains(size)), "{sizes:?}");

    let by_time = tempfile::tempdir().unwrap();
    let mut config = sync(&broker, &topic, folder(by_time.path()));
    objects_of(&mut config).roll_millis = 3_000;
    let running = Running::start(&config).await;
    running.until("all are gathered", |_, sync| sync.read == 1_050 && sync.in_flight == 1_050).await;
    assert_eq!(running.report().sync.unwrap().written, 0, "nothing is told as written before it is");
    assert!(objects(by_time.path()).is_empty());
    running.until("the time", |report, sync| sync.written == 1_050 && report.state == WorkerState::Running).await;
    assert_eq!(objects(by_time.path()).len(), 1);
    publish(&broker, &topic, numbered(1_050..1_060)).await;
    running.until("ten more are gathered", |_, sync| sync.read == 1_060 && sync.lag == Some(0)).await;
    assert_eq!(objects(by_time.path()).len(), 1);
    let report = running.until("ten more", |_, sync| sync.written == 1_060).await;
    assert_eq!((objects(by_time.path()).len(), report.in_flight), (2, 0));
    // What is gathered when the worker ends is finished, and not read again by the next one.
    publish(&broker, &topic, numbered(1_060..1_070)).await;
    running.until("the last are gathered", |_, sync| sync.read == 1_070).await;
    running.stop().await;
    assert_eq!(objects(by_time.path()).len(), 3);
    let running = Running::start(&config).await;
    running
        .until("the group's offsets", |report, sync| sync.lag == Some(0) && report.state == WorkerState::Running)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.report().sync.unwrap().read, 0);
    running.stop().await;
    assert_eq!(Content::of(by_time.path(), FileFormat::JsonLines).lost_and_repeated(1_070), (0, 0));
}

/// Numbers of records, by object.
fn records_of_objects(content: &Content) -> Vec<usize> {
    let mut objects: BTreeMap<&str, usize> = BTreeMap::new();
    content.records.iter().for_each(|record| *objects.entry(record["filename"].as_str().unwrap()).or_default() += 1);
    objects.into_values().collect()
}

/// Many queues: objects end early rather than take more memory than they may.
#[tokio::test(flavor = "multi_thread")]
async fn many_queues_share_the_memory_for_open_objects() {
    const COUNT: i64 = 6_000;
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    let (topic, bucket) = (broker.topic("many", 64).await, server.bucket());
    publish(&broker, &topic, target::incompressible(0..COUNT, 8_000)).await;
    let mut config = sync(&broker, &topic, server.store(&bucket));
    as_format(&mut config, FileFormat::Parquet, Compression::Snappy);
    objects_of(&mut config).roll_millis = 60_000;
    objects_of(&mut config).buffer_bytes = 8 << 20;
    let running = Running::start(&config).await;
    running.until("all were read", |_, sync| sync.read == COUNT as u64 && sync.lag == Some(0)).await;
    let gathered = running.report().sync.unwrap().in_flight;
    assert!(gathered * 8_000 < 9 << 20, "{gathered} records of 8 kB are more than 8 MiB");
    running.stop().await;
    let content = Content::of(&server.bucket_folder(&bucket), FileFormat::Parquet);
    println!("{} objects of {COUNT} records in 64 queues", objects(&server.bucket_folder(&bucket)).len());
    assert_eq!(content.lost_and_repeated(COUNT), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked_and_certificates_are_taken_up() {
    let (broker, server) = (Broker::named(BROKER), Server::named("s3-tls"));
    let (topic, bucket) = (broker.topic("tls", 1).await, server.bucket());
    publish(&broker, &topic, numbered(0..10)).await;
    let ca = server.files.path().join("ca.crt");
    let certificates = Path::new(server.setting("CA_FILE")).parent().unwrap();
    std::fs::copy(certificates.join("other-ca.pem"), &ca).unwrap();
    let mut config = sync(&broker, &topic, server.store(&bucket));
    if let StoreConfig::S3(store) = &mut objects_of(&mut config).store {
        store.tls = Some(TlsFiles { ca: Some(ca.to_string_lossy().into_owned()), ..TlsFiles::default() });
    }
    let running = Running::start(&config).await;
    let message = running.fails_with("StoreUnreachable").await;
    assert!(message.contains("certificate"), "{message}");
    std::fs::copy(certificates.join("ca.pem"), &ca).unwrap();
    running.until("all", |report, sync| sync.written == 10 && report.state == WorkerState::Running).await;
    running.stop().await;
    assert_eq!(Content::of(&server.bucket_folder(&bucket), FileFormat::JsonLines).lost_and_repeated(10), (0, 0));
}
