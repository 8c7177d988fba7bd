//! Object stores and folders as targets, and what is in them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rocketmq_connector::rocketmq::{Message, Producer, ProducerConfig};
use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::sync::{
    BatchConfig, Compression, FileFormat, Format, KeyFiles, ObjectStorageTargetConfig, PartitionBy, S3Config,
    SourceConfig, StoreConfig, TargetConfig,
};
use serde_json::Value;

use crate::worker_support::sync::{from_topic, pipeline};
use crate::worker_support::{Broker, cache, unique};

/// An S3 server, with the files that a worker reads.
pub struct Server {
    settings: BTreeMap<String, String>,
    instance: String,
    pub files: tempfile::TempDir,
}

impl Server {
    /// The instance of this name: `s3` or `s3-tls`.
    pub fn named(instance: &str) -> Self {
        let path = run_folder().join(instance).join("env");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let settings = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let server = Self { settings, instance: instance.to_owned(), files: tempfile::tempdir().unwrap() };
        server.keys(server.setting("ACCESS_KEY"), server.setting("SECRET_KEY"));
        server
    }

    /// An instance of the test's own, which it may stop.
    pub fn start(instance: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        script("up.sh", &["plain", instance, &port.to_string()], false);
        Self::named(instance)
    }

    pub fn stop(&self) {
        script("down.sh", &[&self.instance], false);
    }

    /// Starts it again, with its objects.
    pub fn restart(&self) {
        script("up.sh", &["plain", &self.instance, self.setting("PORT")], true);
    }

    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map(String::as_str).unwrap_or_default()
    }

    /// Writes the keys that workers read.
    pub fn keys(&self, access_key: &str, secret_key: &str) {
        std::fs::write(self.files.path().join("access"), access_key).unwrap();
        std::fs::write(self.files.path().join("secret"), secret_key).unwrap();
    }

    /// The folder of a bucket's objects.
    pub fn bucket_folder(&self, bucket: &str) -> PathBuf {
        Path::new(self.setting("DATA")).join(bucket)
    }

    /// A bucket that exists.
    pub fn bucket(&self) -> String {
        let bucket = unique("bucket");
        self.create(&bucket);
        bucket
    }

    pub fn create(&self, bucket: &str) {
        std::fs::create_dir(self.bucket_folder(bucket)).unwrap();
    }

    pub fn store(&self, bucket: &str) -> StoreConfig {
        let path = |name: &str| self.files.path().join(name).to_string_lossy().into_owned();
        StoreConfig::S3(Box::new(S3Config {
            bucket: bucket.to_owned(),
            prefix: "lake/raw".to_owned(),
            endpoint: Some(self.setting("ENDPOINT").to_owned()),
            region: self.setting("REGION").to_owned(),
            is_virtual_hosted: false,
            keys: Some(KeyFiles { access_key: path("access"), secret_key: path("secret") }),
            tls: None,
        }))
    }
}

/// Where instances live: `OBJECTS_TEST_RUN`, or beside the brokers.
fn run_folder() -> PathBuf {
    match std::env::var("OBJECTS_TEST_RUN") {
        Ok(folder) => PathBuf::from(folder),
        Err(_) => {
            let brokers =
                std::env::var("ROCKETMQ_TEST_RUN").expect("OBJECTS_TEST_RUN should name the folder of the stores");
            Path::new(&brokers).with_file_name("objects")
        }
    }
}

fn script(name: &str, arguments: &[&str], keep: bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/objects").join(name);
    let mut command = Command::new(&path);
    command.args(arguments).env("OBJECTS_TEST_RUN", run_folder()).stdout(Stdio::null());
    if keep {
        command.env("KEEP", "1");
    }
    assert!(command.status().unwrap().success(), "{} {arguments:?} failed", path.display());
}

pub fn folder(path: &Path) -> StoreConfig {
    StoreConfig::Folder { path: path.to_string_lossy().into_owned() }
}

/// A sync of a topic into a store: large objects that end after two seconds.
pub fn sync(broker: &Broker, topic: &str, store: StoreConfig) -> SyncConfig {
    let name = unique("objects");
    let target = TargetConfig::ObjectStorage(ObjectStorageTargetConfig {
        store,
        file_format: FileFormat::JsonLines,
        compression: Compression::Gzip,
        partition_by: PartitionBy::Hour,
        roll_bytes: 128 << 20,
        roll_records: None,
        roll_millis: 2_000,
        buffer_bytes: 24 << 20,
    });
    SyncConfig {
        format: Format::Json,
        batch: BatchConfig { max_records: 200, max_bytes: 1 << 20, max_wait_millis: 50 },
        ..pipeline(&name, SourceConfig::RocketMq(from_topic(broker, topic, &name)), target)
    }
}

pub fn target(config: &mut SyncConfig) -> &mut ObjectStorageTargetConfig {
    match &mut config.target {
        TargetConfig::ObjectStorage(target) => target,
        _ => unreachable!("the target of these tests is an object store"),
    }
}

/// Sets the format of a sync's objects.
pub fn as_format(config: &mut SyncConfig, format: FileFormat, compression: Compression) {
    let target = target(config);
    (target.file_format, target.compression) = (format, compression);
}

/// What a folder of objects holds.
pub struct Content {
    /// Records as DuckDB reads them.
    pub records: Vec<Value>,
}

impl Content {
    /// Reads all objects below a folder.
    pub fn of(folder: &Path, format: FileFormat) -> Self {
        let text = read(folder, format, None);
        Self { records: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    /// How many records all objects below a folder have.
    pub fn count(folder: &Path, format: FileFormat) -> i64 {
        read(folder, format, Some("count")).trim().parse().unwrap_or_default()
    }

    /// The numbers in the bodies.
    pub fn numbers(&self) -> Vec<i64> {
        self.records.iter().map(|record| number(&record["body"])).collect()
    }

    /// How many of the numbers `0..count` are missing, and how many messages are there more than once. What a producer has sent twice,
    /// because it got no answer in time, are two messages.
    pub fn lost_and_repeated(&self, count: i64) -> (usize, usize) {
        let numbers: HashSet<i64> = self.numbers().into_iter().collect();
        let place = |record: &Value| ["topic", "broker", "queue", "offset"].map(|field| record[field].to_string());
        let places: HashSet<_> = self.records.iter().map(place).collect();
        let lost = (0..count).filter(|number| !numbers.contains(number)).count();
        (lost, self.records.len() - places.len())
    }

    /// How many numbers are in several messages.
    pub fn sent_twice(&self) -> usize {
        let numbers: HashSet<i64> = self.numbers().into_iter().collect();
        self.records.len() - self.lost_and_repeated(0).1 - numbers.len()
    }
}

/// What the reader prints of all objects below a folder.
fn read(folder: &Path, format: FileFormat, what: Option<&str>) -> String {
    let kind = match format {
        FileFormat::JsonLines => "jsonl",
        FileFormat::Parquet => "parquet",
    };
    if objects(folder).is_empty() {
        return String::new();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worker_sink_objects/python/read.py");
    let output = Command::new(python()).arg(script).arg(folder).arg(kind).args(what).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A body is text in Parquet, and what it holds in JSON lines.
fn number(body: &Value) -> i64 {
    match body {
        Value::String(text) => serde_json::from_str::<Value>(text).unwrap()["n"].as_i64().unwrap(),
        body => body["n"].as_i64().unwrap(),
    }
}

fn python() -> PathBuf {
    let python = cache().join("objects-reader/python/bin/python");
    assert!(python.exists(), "run tests/worker_sink_objects/install.sh: {} is missing", python.display());
    python
}

/// The objects below a folder, in the order of their names.
pub fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let is_hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
        if path.is_dir() && !is_hidden {
            found.extend(objects(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Publishes messages with these bodies, tagged and with a key.
pub async fn publish(broker: &Broker, topic: &str, bodies: impl Iterator<Item = Vec<u8>>) {
    let client = broker.client();
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    let mut messages = Vec::new();
    for (number, body) in bodies.enumerate() {
        let message = Message::new(topic, body).with_tag("paid").with_key("k").with_property("region", "eu");
        // a producer that has just begun would take one queue
        messages.push(message.with_sharding_key(number.to_string()));
        if messages.iter().map(|message| message.body.len()).sum::<usize>() > 1 << 20 || messages.len() == 1_000 {
            send(&producer, &mut messages).await;
        }
    }
    send(&producer, &mut messages).await;
    producer.shutdown().await;
    client.shutdown().await;
}

async fn send(producer: &Producer, messages: &mut Vec<Message>) {
    for result in producer.send_batch(std::mem::take(messages)).await {
        result.unwrap();
    }
}

pub fn numbered(numbers: std::ops::Range<i64>) -> impl Iterator<Item = Vec<u8>> {
    numbers.map(|number| format!("{{\"n\":{number},\n \"text\":\"{}\"}}", "x".repeat(100)).into_bytes())
}

/// Numbered bodies of this many bytes that cannot be compressed to much less than three quarters.
pub fn incompressible(numbers: std::ops::Range<i64>, bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    numbers.map(move |number| {
        let letters = (0..bytes).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'0' + (state % 64) as u8).to_string().replace(['\\', '"'], "z")
        });
        format!("{{\"n\":{number},\"text\":\"{}\"}}", letters.collect::<String>()).into_bytes()
    })
}
