//! What fails meanwhile: the worker, the store, its disk and its settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::{Compression, FileFormat, SourceConfig, StoreConfig};

use crate::BROKER;
use crate::target::{
    Content, Server, as_format, folder, incompressible, numbered, objects, publish, sync, target as objects_of,
};
use crate::worker_support::relay::Relay;
use crate::worker_support::sync::{Process, Running};
use crate::worker_support::{Broker, LIMIT, eventually};

/// Waits until as many records are in objects, as DuckDB counts them.
async fn hold(place: &Path, format: FileFormat, count: i64) -> Content {
    let started = Instant::now();
    loop {
        let content = Content::of(place, format);
        if content.lost_and_repeated(count).0 == 0 {
            return content;
        }
        let (lost, _) = content.lost_and_repeated(count);
        assert!(started.elapsed() < LIMIT, "{lost} of {count} records have not come within {LIMIT:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The most memory that a process has had, in KiB.
fn peak_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

/// Messages that are published before each kill.
const PORTION: i64 = 2_000;

/// Kills a worker again and again while it writes what was just published; lost and repeated records at the end.
async fn killed(broker: &Broker, topic: &str, config: &SyncConfig, place: &Path, format: FileFormat) -> (usize, usize) {
    const KILLS: i64 = 12;
    let (log, mut early) = (tempfile::tempdir().unwrap(), 0);
    for kill in 0..KILLS {
        publish(broker, topic, numbered(kill * PORTION..(kill + 1) * PORTION)).await;
        let before = objects(place).len();
        let process = Process::start(log.path(), config);
        eventually("some objects", async || objects(place).len() > before + 1).await;
        // At another moment each time, from "an object was just created" on.
        tokio::time::sleep(Duration::from_millis(37 * kill as u64 % 150)).await;
        drop(process);
        early += usize::from(Content::of(place, format).numbers().len() < ((kill + 1) * PORTION) as usize);
    }
    let count = (KILLS + 1) * PORTION;
    publish(broker, topic, numbered(KILLS * PORTION..count)).await;
    let last = Process::start(log.path(), config);
    drop(hold(place, format, count).await);
    // What comes late would be a repetition.
    tokio::time::sleep(Duration::from_millis(objects_of(&mut config.clone()).roll_millis + 1_000)).await;
    let memory = peak_memory(&last);
    drop(last);
    let (lost, repeated) = Content::of(place, format).lost_and_repeated(count);
    println!(
        "{format:?}: {KILLS} kills, {early} of them in the middle, {count} records in {} objects: {lost} lost, {repeated} twice; \
         {memory} KiB at most",
        objects(place).len()
    );
    assert!(early >= 10, "only {early} kills came in the middle");
    (lost, repeated)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_it_writes_to_s3_loses_and_repeats_nothing() {
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    for (format, compression) in [(FileFormat::JsonLines, Compression::Gzip), (FileFormat::Parquet, Compression::Zstd)]
    {
        let (topic, bucket) = (broker.topic("kill", 4).await, server.bucket());
        let mut config = sync(&broker, &topic, server.store(&bucket));
        as_format(&mut config, format, compression);
        config.batch.max_records = 100;
        objects_of(&mut config).roll_records = Some(170);
        let place = server.bucket_folder(&bucket);
        assert_eq!(killed(&broker, &topic, &config, &place, format).await, (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_it_writes_files_loses_and_repeats_nothing() {
    let broker = Broker::named(BROKER);
    let (topic, place) = (broker.topic("killfs", 4).await, tempfile::tempdir().unwrap());
    let mut config = sync(&broker, &topic, folder(place.path()));
    as_format(&mut config, FileFormat::JsonLines, Compression::Zstd);
    config.batch.max_records = 100;
    objects_of(&mut config).roll_records = Some(110);
    assert_eq!(killed(&broker, &topic, &config, place.path(), FileFormat::JsonLines).await, (0, 0));
}

/// Objects that are uploaded in parts, by a worker that is killed while it does.
#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_uploaded_in_parts() {
    const COUNT: i64 = 500;
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    let (topic, bucket) = (broker.topic("large", 1).await, server.bucket());
    publish(&broker, &topic, incompressible(0..COUNT, 100_000)).await;
    let mut config = sync(&broker, &topic, server.store(&bucket));
    as_format(&mut config, FileFormat::JsonLines, Compression::None);
    objects_of(&mut config).roll_bytes = 17 << 20;
    objects_of(&mut config).roll_millis = 30_000;
    let (place, log) = (server.bucket_folder(&bucket), tempfile::tempdir().unwrap());
    for _ in 0..2 {
        let process = Process::start(log.path(), &config);
        let before = objects(&place).len();
        eventually("an object", async || objects(&place).len() > before).await;
        drop(process);
    }
    let running = Running::start(&config).await;
    running.until("all were read", |_, sync| sync.lag == Some(0) && sync.read > 0).await;
    running.stop().await;
    let sizes: Vec<u64> = objects(&place).iter().map(|path| path.metadata().unwrap().len() >> 20).collect();
    println!("objects of {sizes:?} MiB");
    assert!(sizes.iter().filter(|size| **size >= 17).count() >= 2, "{sizes:?}");
    assert_eq!(Content::of(&place, FileFormat::JsonLines).lost_and_repeated(COUNT), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_for_a_while_costs_nothing_but_time() {
    const COUNT: i64 = 4_000;
    let broker = Broker::named(BROKER);
    let server = Server::start("s3-gone");
    let (topic, large) = (broker.topic("gone", 2).await, broker.topic("gonelarge", 1).await);
    let (bucket, for_large) = (server.bucket(), server.bucket());
    publish(&broker, &topic, numbered(0..COUNT)).await;
    publish(&broker, &large, incompressible(0..350, 100_000)).await;
    let mut config = sync(&broker, &topic, server.store(&bucket));
    objects_of(&mut config).roll_records = Some(100);
    config.batch.max_records = 50;
    // This one is in the middle of an upload in parts when the store goes.
    let mut of_large = sync(&broker, &large, server.store(&for_large));
    as_format(&mut of_large, FileFormat::JsonLines, Compression::None);
    objects_of(&mut of_large).roll_bytes = 20 << 20;
    objects_of(&mut of_large).roll_millis = 20_000;
    let (small, large) = (Running::start(&config).await, Running::start(&of_large).await);
    eventually("some objects", async || objects(&server.bucket_folder(&bucket)).len() > 3).await;
    server.stop();
    small.fails_with("StoreUnreachable").await;
    large.fails_with("StoreUnreachable").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.restart();
    let all = |report: &_, sync: &_| is_through(report, sync);
    let (of_small, of_large) = (small.until("all", all).await, large.until("all", all).await);
    small.stop().await;
    large.stop().await;
    println!("{} and {} failed writes", of_small.failed_writes, of_large.failed_writes);
    let content = |bucket: &str| Content::of(&server.bucket_folder(bucket), FileFormat::JsonLines);
    assert_eq!(content(&bucket).lost_and_repeated(COUNT), (0, 0));
    assert_eq!(content(&for_large).lost_and_repeated(350), (0, 0));
    server.stop();
}

fn is_through(
    report: &rocketmq_connector::worker_config::WorkerReport,
    sync: &rocketmq_connector::worker_config::report::SyncReport,
) -> bool {
    report.state == WorkerState::Running && sync.lag == Some(0) && sync.in_flight == 0 && sync.written > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_a_wrong_key_and_a_wrong_region_are_told_and_their_correction_is_noticed() {
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    let topic = broker.topic("wrong", 1).await;
    publish(&broker, &topic, numbered(0..10)).await;

    let bucket = crate::worker_support::unique("later");
    let running = Running::start(&sync(&broker, &topic, server.store(&bucket))).await;
    let message = running.fails_with("BucketNotFound").await;
    assert!(message.contains(&bucket), "{message}");
    server.create(&bucket);
    running.until("all", is_through).await;
    // It goes again while the worker runs.
    std::fs::rename(server.bucket_folder(&bucket), server.bucket_folder(&format!("{bucket}-gone"))).unwrap();
    publish(&broker, &topic, numbered(10..20)).await;
    running.fails_with("BucketNotFound").await;
    std::fs::rename(server.bucket_folder(&format!("{bucket}-gone")), server.bucket_folder(&bucket)).unwrap();
    running.until("all again", |report, sync| is_through(report, sync) && sync.written == 20).await;
    running.stop().await;
    assert_eq!(Content::of(&server.bucket_folder(&bucket), FileFormat::JsonLines).lost_and_repeated(20), (0, 0));

    let bucket = server.bucket();
    server.keys("somebody", "else");
    let running = Running::start(&sync(&broker, &topic, server.store(&bucket))).await;
    let message = running.fails_with("AccessDenied").await;
    assert!(message.contains("access key"), "{message}");
    server.keys(server.setting("ACCESS_KEY"), "wrong");
    running
        .until("the other word", |report, _| {
            report.last_error.as_ref().is_some_and(|error| error.message.contains("SignatureDoesNotMatch"))
        })
        .await;
    server.keys(server.setting("ACCESS_KEY"), server.setting("SECRET_KEY"));
    running.until("all", is_through).await;
    // A key that is changed while the worker runs.
    server.keys(server.setting("ACCESS_KEY"), "wrong");
    tokio::time::sleep(Duration::from_secs(3)).await;
    publish(&broker, &topic, numbered(20..30)).await;
    running.fails_with("AccessDenied").await;
    server.keys(server.setting("ACCESS_KEY"), server.setting("SECRET_KEY"));
    running.until("all again", |report, sync| is_through(report, sync) && sync.written == 30).await;
    running.stop().await;
    assert_eq!(Content::of(&server.bucket_folder(&bucket), FileFormat::JsonLines).lost_and_repeated(30), (0, 0));

    let mut config = sync(&broker, &topic, server.store(&bucket));
    if let StoreConfig::S3(store) = &mut objects_of(&mut config).store {
        store.region = "elsewhere".to_owned();
    }
    let running = Running::start(&config).await;
    running.fails_with("WrongRegion").await;
    running.stop().await;
}

/// A small file system, gone when it is dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(disk.0.path());
        assert!(command.status().unwrap().success(), "mounting a small disk needs root");
        disk
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_room_is_noticed() {
    const COUNT: i64 = 3_000;
    let broker = Broker::named(BROKER);
    let topic = broker.topic("full", 2).await;
    publish(&broker, &topic, incompressible(0..COUNT, 1_000)).await;
    let disk = Disk::of("8m");
    let (place, filler) = (disk.0.path().join("objects"), disk.0.path().join("filler"));
    std::fs::write(&filler, vec![1; 6 << 20]).unwrap();
    let mut config = sync(&broker, &topic, folder(&place));
    as_format(&mut config, FileFormat::JsonLines, Compression::None);
    objects_of(&mut config).roll_bytes = 500_000;
    let running = Running::start(&config).await;
    let message = running.fails_with("StoreFull").await;
    assert!(message.contains("No space left"), "{message}");
    std::fs::remove_file(&filler).unwrap();
    running.until("all", is_through).await;
    running.stop().await;
    assert_eq!(Content::of(&place, FileFormat::JsonLines).lost_and_repeated(COUNT), (0, 0));
}

/// Publishes numbered messages at some 600 a second until it is told to stop; gives how many.
fn publishing(broker: &Broker, topic: &str, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<i64> {
    let (broker, topic, stop) = (broker.clone(), topic.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            publish(&broker, &topic, numbered(count..count + 120)).await;
            count += 120;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        count
    })
}

/// How often the workers with these logs found objects that others had made.
fn meetings(logs: &[tempfile::TempDir]) -> (usize, usize) {
    let texts = logs.iter().map(|log| std::fs::read_to_string(log.path().join("log")).unwrap_or_default());
    let text = texts.collect::<String>();
    (text.matches("the target has these records already").count(), text.matches("ObjectExists").count())
}

/// Workers come and go, so that queues move with what was gathered of them.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_share_the_queues_write_each_message_once() {
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    let (topic, bucket) = (broker.topic("share", 6).await, server.bucket());
    let mut config = sync(&broker, &topic, server.store(&bucket));
    objects_of(&mut config).roll_millis = 1_500;
    let place = server.bucket_folder(&bucket);
    let logs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let stop = Arc::<AtomicBool>::default();
    let published = publishing(&broker, &topic, &stop);
    let first = Process::start(logs[0].path(), &config);
    eventually("objects", async || objects(&place).len() > 6).await;
    let second = Process::start(logs[1].path(), &config);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let third = Process::start(logs[2].path(), &config);
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(second);
    tokio::time::sleep(Duration::from_secs(8)).await;
    stop.store(true, Ordering::Relaxed);
    let count = published.await.unwrap();
    drop(hold(&place, FileFormat::JsonLines, count).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop((first, third));
    let (passed, overtaken) = meetings(&logs);
    let content = Content::of(&place, FileFormat::JsonLines);
    let (lost, repeated) = content.lost_and_repeated(count);
    println!(
        "{count} records in {} objects, {} sent twice, {passed} found, {overtaken} overtaken: {lost} lost, {repeated} twice",
        objects(&place).len(),
        content.sent_twice(),
    );
    assert_eq!((lost, repeated), (0, 0));
}

/// A worker that stands still until the broker has given its queues to another one, and then goes on with what it has gathered. The broker
/// notices by the end of the worker's connections, as of a node that is gone; else it would wait for two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_asleep_writes_nothing_twice() {
    let (broker, server) = (Broker::named(BROKER), Server::named("s3"));
    let (topic, bucket) = (broker.topic("asleep", 4).await, server.bucket());
    let mut config = sync(&broker, &topic, server.store(&bucket));
    objects_of(&mut config).roll_millis = 3_000;
    let place = server.bucket_folder(&bucket);
    let logs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let stop = Arc::<AtomicBool>::default();
    let published = publishing(&broker, &topic, &stop);
    let relay = Relay::to(broker.setting("BROKER")).await;
    let mut through = config.clone();
    let SourceConfig::RocketMq(source) = &mut through.source else { panic!("the source is RocketMQ") };
    source.cluster.broker_addresses =
        BTreeMap::from([(broker.setting("BROKER").to_owned(), relay.address().to_string())]);
    let asleep = Process::start(logs[0].path(), &through);
    eventually("objects", async || objects(&place).len() >= 8).await;
    // Objects end at about the same time: it has to have gathered something of the next ones.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &asleep.0.id().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    relay.cut();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let count = published.await.unwrap();
    let second = Process::start(logs[1].path(), &config);
    drop(hold(&place, FileFormat::JsonLines, count).await);
    signal("-CONT");
    // It does not know yet that its queues are another's: the store alone can tell it.
    eventually("the store's word", async || meetings(&logs[..1]).1 > 0).await;
    relay.mend();
    tokio::time::sleep(Duration::from_secs(6)).await;
    drop((asleep, second));
    // Queues were begun anew, each for itself, and not the worker's session.
    let log = std::fs::read_to_string(logs[0].path().join("log")).unwrap();
    assert!(log.contains("the queue is begun anew at what is committed"), "{log}");
    assert!(!log.contains("what was not acknowledged is read again"), "{log}");
    let (passed, overtaken) = meetings(&logs);
    let (lost, repeated) = Content::of(&place, FileFormat::JsonLines).lost_and_repeated(count);
    println!("{count} records, {passed} found, {overtaken} overtaken: {lost} lost, {repeated} twice");
    assert_eq!((lost, repeated), (0, 0));
}
