//! Cross-checks with the Java client, both ways, and groups that have members of both.

use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use rocketmq_connector::rocketmq::{Delay, Message, Subscription};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::harness::{Case, Context, Failure, Outcome, body, case, ensure, receive};

const LIMIT: Duration = Duration::from_secs(60);

pub fn cases() -> Vec<Case> {
    vec![
        case("java", "Java reads what we send, with the same properties", java_reads),
        case("java", "we read what Java sends, with the same properties", we_read),
        case("java", "Java's LZ4 and Zstandard bodies are read", java_compression),
        case("java", "sharding keys go to the queues that Java chooses", same_shards),
        case("java", "group with members of both: every message once", mixed_group),
    ]
}

/// A Java peer that takes one command after the other; starting a JVM for each would take most of the suite's time.
struct Peer {
    _process: Child,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

type Peers = Mutex<HashMap<&'static str, Arc<Mutex<Peer>>>>;

/// One peer an instance: Java's TLS settings hold for a whole process.
static PEERS: LazyLock<Peers> = LazyLock::new(Mutex::default);

fn start(context: &Context, arguments: &[String]) -> Result<Child, Failure> {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/run.sh"));
    command.arg("Peer").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command.spawn().map_err(|error| format!("{}: {error}", context.instance.name))?)
}

/// Options by which a peer reaches the instance.
fn reach(context: &Context) -> Vec<String> {
    let get = |key: &str| context.instance.get(key);
    let mut options = vec![format!("namesrv={}", get("NAME_SERVER"))];
    if context.instance.is("acl") {
        options.extend([
            format!("access_key={}", get("ADMIN_ACCESS_KEY")),
            format!("secret_key={}", get("ADMIN_SECRET_KEY")),
        ]);
    }
    if context.instance.is("tls") {
        options.extend(["tls=true".to_owned(), format!("ca={}", get("CA_FILE"))]);
    }
    options
}

async fn peer_of(context: &Context) -> Result<Arc<Mutex<Peer>>, Failure> {
    let mut peers = PEERS.lock().await;
    if let Some(peer) = peers.get(context.instance.name) {
        return Ok(peer.clone());
    }
    let mut process = start(context, &["serve".to_owned()])?;
    let commands = process.stdin.take().ok_or("no input")?;
    let lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
    let peer = Arc::new(Mutex::new(Peer { _process: process, commands, lines }));
    peers.insert(context.instance.name, peer.clone());
    Ok(peer)
}

/// Runs one command of the Java peer to its end and returns the lines of one kind of event.
async fn run(context: &Context, event: &str, arguments: &[String]) -> Result<Vec<Value>, Failure> {
    let peer = peer_of(context).await?;
    let mut peer = peer.lock().await;
    let command = serde_json::to_string(&[arguments, &reach(context)].concat())?;
    peer.commands.write_all(format!("{command}\n").as_bytes()).await?;
    let (mut found, mut failure) = (Vec::new(), None);
    while let Some(line) = peer.lines.next_line().await? {
        let line: Value = serde_json::from_str(&line)?;
        match line["event"].as_str() {
            Some("done") => return failure.map_or(Ok(found), Err),
            Some("error") => failure = Some(format!("Java: {line}").into()),
            Some(kind) if kind == event => found.push(line),
            _ => {}
        }
    }
    Err("the Java peer ended".into())
}

fn options(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(name, value)| if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") })
        .collect()
}

async fn java_reads(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "ours", 2).await?;
    let producer = context.producer(&client)?;
    let rich =
        Message::new(&topic, "grün").with_tag("tagA").with_key("k1").with_key("k2").with_property("colour", "rot");
    let receipt = producer.send(rich).await?;
    producer.send(Message::new(&topic, "x".repeat(20_000)).with_tag("tagA")).await?;
    producer.send(Message::new(&topic, "later").with_tag("tagA").with_delay(Delay::Level(1))).await?;
    for result in producer
        .send_batch(
            (0..5)
                .map(|n| Message::new(&topic, format!("batch{n}")).with_tag("tagA").with_key(format!("b{n}")))
                .collect(),
        )
        .await
    {
        result?;
    }
    let group = context.name("java");
    let messages = run(
        &context,
        "message",
        &options(&[
            ("receive", ""),
            ("topic", &topic),
            ("group", &group),
            ("count", "8"),
            ("timeout", "60"),
            ("expression", "tagA"),
        ]),
    )
    .await?;
    ensure!(messages.len() == 8, "Java received {} of 8", messages.len());
    let decoded = |message: &Value| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(message["body"].as_str().unwrap_or_default())
            .unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let rich =
        messages.iter().find(|message| decoded(message) == "grün").ok_or("Java did not get the first message")?;
    ensure!(rich["msgId"] == *receipt.message_id && rich["tags"] == "tagA", "{rich}");
    ensure!(rich["keys"] == serde_json::json!(["k1", "k2"]) && rich["properties"]["colour"] == "rot", "{rich}");
    ensure!(messages.iter().any(|message| decoded(message).len() == 20_000), "Java did not decompress the large body");
    ensure!(
        messages.iter().any(|message| decoded(message) == "batch3" && message["keys"] == serde_json::json!(["b3"])),
        "Java lost a batched message"
    );
    Ok(())
}

async fn we_read(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "theirs", 2).await?;
    let common = [("send", ""), ("topic", topic.as_str())];
    let with = |more: &[(&str, &str)]| options(&[&common[..], more].concat());
    let sent = run(
        &context,
        "sent",
        &with(&[("tag", "tagB"), ("keys", "j1 j2"), ("body", "von Java"), ("property.colour", "blau")]),
    )
    .await?;
    run(&context, "sent", &with(&[("size", "50000"), ("tag", "tagB")])).await?;
    run(&context, "sent", &with(&[("count", "6"), ("batch", "3"), ("body", "batch{i}")])).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 8, LIMIT).await;
    ensure!(received.len() == 8, "{} of 8 received", received.len());
    let rich = received.iter().find(|message| body(message) == "von Java").ok_or("the first message is missing")?;
    ensure!(sent[0]["msgId"] == *rich.message_id, "{} {rich:?}", sent[0]);
    ensure!(
        rich.tag.as_deref() == Some("tagB") && rich.keys == ["j1", "j2"] && rich.properties["colour"] == "blau",
        "{rich:?}"
    );
    ensure!(received.iter().any(|message| message.body.len() == 50_000), "Java's large body is missing");
    ensure!(
        received.iter().filter(|message| body(message).starts_with("batch")).count() == 6,
        "Java's batches are missing"
    );
    Ok(())
}

async fn java_compression(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "kinds", 1).await?;
    for kind in ["ZLIB", "LZ4", "ZSTD"] {
        let arguments = options(&[
            ("send", ""),
            ("topic", &topic),
            ("size", "30000"),
            ("compress_over", "1000"),
            ("compress_type", kind),
            ("property.kind", kind),
        ]);
        run(&context, "sent", &arguments).await?;
    }
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 3, LIMIT).await;
    let kinds: BTreeSet<&str> = received
        .iter()
        .filter(|message| message.body.len() == 30_000)
        .filter_map(|message| message.properties.get("kind"))
        .map(|kind| &**kind)
        .collect();
    ensure!(kinds.len() == 3, "read {kinds:?} {:?}", consumer.status().last_error);
    Ok(())
}

async fn same_shards(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "shards", 4).await?;
    let theirs = run(
        &context,
        "sent",
        &options(&[("send", ""), ("topic", &topic), ("count", "8"), ("shard", "key{i}"), ("body", "x")]),
    )
    .await?;
    ensure!(theirs.len() == 8, "Java sent {}", theirs.len());
    let producer = context.producer(&client)?;
    for sent in theirs {
        let key = format!("key{}", sent["index"]);
        let receipt = producer.send(Message::new(&topic, "x").with_sharding_key(key.as_str())).await?;
        ensure!(sent["queueId"] == receipt.queue_id, "{key}: Java {} ours {}", sent["queueId"], receipt.queue_id);
    }
    Ok(())
}

async fn mixed_group(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "mixed", 8).await?;
    let group = context.name("group");
    let member = options(&[("member", ""), ("topic", &topic), ("group", &group), ("seconds", "240")]);
    let mut java = start(&context, &[member, reach(&context)].concat())?;
    let mut lines = BufReader::new(java.stdout.take().ok_or("no output")?).lines();
    // Its first heartbeat is through before ours: of two at the same moment 4.9.7 may keep the older subscription, and refuses
    // the pulls of a Java member until its next heartbeat, half a minute later (docs/upstream.md).
    let started = async {
        while let Some(line) = lines.next_line().await? {
            if serde_json::from_str::<Value>(&line)?["event"] == "started" {
                return Ok::<_, Failure>(());
            }
        }
        Err("Java's member ended".into())
    };
    tokio::time::timeout(LIMIT, started).await.map_err(|_| "Java's member did not start")??;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    // Java's member tells its queues when they change. It takes them one after the other, so four of them may be half of
    // its way to eight: both halves must be there, and be different ones.
    let shared = async {
        let mut theirs = BTreeSet::new();
        loop {
            if let Ok(line) = tokio::time::timeout(Duration::from_millis(200), lines.next_line()).await {
                let line: Value = serde_json::from_str(&line?.ok_or("Java's member ended")?)?;
                if line["event"] == "queues" {
                    let queues = line["queues"].as_array().into_iter().flatten();
                    theirs = queues.filter_map(|queue| queue.as_str().map(str::to_owned)).collect();
                }
            }
            let ours = consumer.status().queues;
            let ours = ours.iter().filter(|queue| queue.topic == topic);
            let ours: BTreeSet<_> = ours.map(|queue| format!("{}:{}", queue.broker_name, queue.queue_id)).collect();
            if ours.len() == 4 && theirs.len() == 4 && ours.is_disjoint(&theirs) {
                return Ok::<_, Failure>(());
            }
        }
    };
    tokio::time::timeout(LIMIT * 2, shared)
        .await
        .map_err(|_| format!("the queues were not shared: {:?}", consumer.status()))??;
    let producer = context.producer(&client)?;
    for number in 0..80 {
        producer.send(Message::new(&topic, number.to_string())).await?;
    }
    let mut bodies: Vec<String> = receive(&consumer, 80, Duration::from_secs(8)).await.iter().map(body).collect();
    let ours = bodies.len();
    let mut others = Vec::new();
    let theirs = async {
        while bodies.len() < 80 {
            let Some(line) = lines.next_line().await? else { break };
            let line: Value = serde_json::from_str(&line)?;
            if line["event"] != "message" {
                others.push(line);
            } else {
                let bytes =
                    base64::engine::general_purpose::STANDARD.decode(line["body"].as_str().unwrap_or_default())?;
                bodies.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok::<_, Failure>(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), theirs).await;
    let lag = client.admin().consumer_lag(&group, &topic).await?;
    java.kill().await?;
    let distinct: BTreeSet<&String> = bodies.iter().collect();
    ensure!(
        distinct.len() == 80 && bodies.len() == 80,
        "{} deliveries, {} distinct, ours {ours}; Java said {others:?} after its share was there; lag {lag:?}; we hold {:?}",
        bodies.len(),
        distinct.len(),
        consumer.status()
    );
    ensure!(ours == 40, "we got {ours} of 80");
    Ok(())
}
