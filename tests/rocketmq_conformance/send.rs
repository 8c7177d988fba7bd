//! Sending: single, pipelined, batched, one-way, ordered, delayed, timed, transactional, compressed, and refused messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use rocketmq_connector::rocketmq::{
    Consumer, ConsumerConfig, Delay, ErrorKind, Message, Producer, ProducerConfig, SendStatus, StartFrom, Subscription,
    TransactionState,
};

use super::harness::{Case, Context, Outcome, body, case, ensure, receive};

const LIMIT: Duration = Duration::from_secs(40);

pub fn cases() -> Vec<Case> {
    vec![
        case("send", "one message with tag, keys and properties", one),
        case("send", "512 in flight: no error, order of each queue kept", pipelined),
        case("send", "batch split at the size limit", batch),
        case("send", "one-way", oneway),
        case("send", "ordered by sharding key", sharded),
        case("send", "delay level", delayed),
        case("send", "timed delivery (5.x)", timed).only(|instance| !instance.is_v4()),
        case("send", "timed delivery on 4.9: delivered at once", timed_on_v4).only(super::harness::Instance::is_v4),
        case("send", "transaction: commit and rollback", transaction),
        case("send", "transaction: unknown, the broker asks", transaction_check),
        case("send", "large body compressed", compressed),
        case("send", "unknown topic created on first use", auto_create),
        case("send", "refused messages name the field", refused),
        case("send", "4 MiB body", four_mebibytes),
    ]
}

async fn one(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "one", 4).await?;
    let message = Message::new(&topic, "{\"id\": 12345678901234567890}")
        .with_tag("tagA")
        .with_key("k1")
        .with_key("k2")
        .with_property("colour", "rot & grün")
        .with_property("n", "1");
    let receipt = context.producer(&client)?.send(message).await?;
    ensure!(
        receipt.status == SendStatus::Ok && receipt.topic == topic && !receipt.offset_message_id.is_empty(),
        "{receipt:?}"
    );
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 1, LIMIT).await;
    let message = received.first().ok_or("nothing was received")?;
    ensure!(body(message) == "{\"id\": 12345678901234567890}", "body {:?}", message.body);
    ensure!(
        message.message_id == receipt.message_id && *message.offset_message_id() == *receipt.offset_message_id,
        "{message:?} {receipt:?}"
    );
    ensure!(message.tag.as_deref() == Some("tagA") && message.keys == ["k1", "k2"], "{message:?}");
    let expected = BTreeMap::from([("colour".to_owned(), "rot & grün".to_owned()), ("n".to_owned(), "1".to_owned())]);
    ensure!(message.properties == expected.into_iter().collect(), "{:?}", message.properties);
    ensure!(
        message.queue_id == receipt.queue_id
            && message.queue_offset == receipt.queue_offset
            && message.reconsume_times == 0,
        "{message:?}"
    );
    Ok(())
}

async fn pipelined(context: Context) -> Outcome {
    const COUNT: usize = 2048;
    let client = context.client()?;
    let topic = context.topic(&client, "pipe", 4).await?;
    let producer = context.producer(&client)?;
    // the sends begin in the order of their numbers, so each queue must store its share in that order
    let sends = (0..COUNT).map(|number| {
        producer.send(Message::new(&topic, number.to_string()).with_sharding_key((number % 8).to_string()))
    });
    let results: Vec<_> = futures::stream::iter(sends).buffered(512).collect().await;
    let failures: Vec<String> =
        results.iter().filter_map(|result| result.as_ref().err().map(ToString::to_string)).collect();
    ensure!(failures.is_empty(), "{} of {COUNT} failed: {}", failures.len(), failures[0]);
    let mut by_queue: BTreeMap<i32, Vec<(i64, usize)>> = BTreeMap::new();
    for (number, receipt) in results.into_iter().flatten().enumerate() {
        by_queue.entry(receipt.queue_id).or_default().push((receipt.queue_offset, number));
    }
    for (queue, offsets) in by_queue {
        ensure!(offsets.windows(2).all(|pair| pair[0].0 < pair[1].0), "queue {queue} lost its order");
    }
    Ok(())
}

async fn batch(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "batch", 2).await?;
    let producer = context.producer(&client)?;
    // 6 MiB in all: more than a broker takes in one request
    let messages: Vec<Message> = (0..60)
        .map(|number| {
            Message::new(&topic, random_bytes(100 * 1024))
                .with_key(format!("k{number}"))
                .with_property("n", number.to_string())
        })
        .collect();
    let mut config = ProducerConfig::new("conformance");
    config.compress_over = usize::MAX;
    config.send_timeout = Duration::from_secs(30);
    let uncompressed = Producer::new(&client, config)?;
    for result in uncompressed.send_batch(messages).await {
        result?;
    }
    let results = producer.send_batch((0..10).map(|n| Message::new(&topic, format!("small{n}"))).collect()).await;
    let receipts = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(receipts.windows(2).all(|pair| pair[1].queue_offset == pair[0].queue_offset + 1), "{receipts:?}");
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 70, LIMIT).await;
    ensure!(received.len() == 70, "{} of 70 received", received.len());
    let known = received.iter().filter(|message| message.message_id == receipts[3].message_id).count();
    ensure!(known == 1, "a batched message lost its id");
    ensure!(
        received.iter().filter(|message| message.keys == ["k42"] && message.properties["n"] == "42").count() == 1,
        "a batched message lost its properties"
    );
    let mixed = producer
        .send_batch(vec![Message::new(&topic, "good"), Message::new("bad topic", "x"), Message::new(&topic, "good")])
        .await;
    ensure!(mixed[0].is_ok() && mixed[1].is_err() && mixed[2].is_ok(), "{mixed:?}");
    Ok(())
}

/// Bytes that do not compress, from a fixed linear congruential generator.
fn random_bytes(length: usize) -> Bytes {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn oneway(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "oneway", 1).await?;
    let producer = context.producer(&client)?;
    for number in 0..10 {
        producer.send_oneway(Message::new(&topic, number.to_string())).await?;
    }
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 10, LIMIT).await;
    ensure!(received.len() == 10, "{} of 10 received", received.len());
    Ok(())
}

async fn sharded(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "shard", 4).await?;
    let producer = context.producer(&client)?;
    let sends = (0..200).map(|number| {
        producer.send(Message::new(&topic, number.to_string()).with_sharding_key(format!("key{}", number % 10)))
    });
    let receipts = join_all(sends).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    for key in 0..10 {
        let of_key: Vec<_> = receipts.iter().skip(key).step_by(10).collect();
        ensure!(of_key.iter().all(|receipt| receipt.queue_id == of_key[0].queue_id), "key {key} is in several queues");
        ensure!(of_key.windows(2).all(|pair| pair[0].queue_offset < pair[1].queue_offset), "key {key} lost its order");
    }
    let queues: std::collections::BTreeSet<_> = receipts.iter().map(|receipt| receipt.queue_id).collect();
    ensure!(queues.len() > 1, "all keys are in one queue");
    Ok(())
}

async fn arrival(context: &Context, stem: &str, delay: Delay) -> Result<Duration, super::harness::Failure> {
    let client = context.client()?;
    let topic = context.topic(&client, stem, 1).await?;
    let mut config = ConsumerConfig::new(context.name(&format!("{stem}-group")), vec![Subscription::all(&topic)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(&client, config)?;
    context.producer(&client)?.send(Message::new(&topic, "warm-up")).await?;
    receive(&consumer, 1, LIMIT).await;
    let sent = Instant::now();
    context.producer(&client)?.send(Message::new(&topic, "x").with_delay(delay)).await?;
    let received = receive(&consumer, 1, LIMIT).await;
    ensure!(received.len() == 1 && received[0].topic == topic, "received {received:?}");
    Ok(sent.elapsed())
}

async fn delayed(context: Context) -> Outcome {
    let waited = arrival(&context, "level", Delay::Level(2)).await?;
    ensure!(
        waited > Duration::from_millis(4500) && waited < Duration::from_secs(20),
        "level 2 (5 s) came after {waited:?}"
    );
    Ok(())
}

async fn timed(context: Context) -> Outcome {
    let waited = arrival(&context, "after", Delay::After(Duration::from_secs(3))).await?;
    ensure!(
        waited > Duration::from_secs(2) && waited < Duration::from_secs(20),
        "a delay of 3 s came after {waited:?}"
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    let waited = arrival(&context, "at", Delay::At(now + 4000)).await?;
    ensure!(waited < Duration::from_secs(20), "a time in 4 s came after {waited:?}");
    Ok(())
}

async fn timed_on_v4(context: Context) -> Outcome {
    let waited = arrival(&context, "after", Delay::After(Duration::from_secs(30))).await?;
    ensure!(waited < Duration::from_secs(15), "4.9 is documented to deliver at once; it took {waited:?}");
    Ok(())
}

async fn transaction(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "tx", 1).await?;
    let mut config = ProducerConfig::new(context.name("tx"));
    config.send_timeout = Duration::from_secs(30);
    config.transaction_checker = Some(Arc::new(|_| Box::pin(async { TransactionState::Rollback })));
    let producer = Producer::new(&client, config)?;
    producer
        .send_in_transaction(Message::new(&topic, "committed").with_key("c"), async { TransactionState::Commit })
        .await?;
    producer.send_in_transaction(Message::new(&topic, "rolled back"), async { TransactionState::Rollback }).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 1, LIMIT).await;
    ensure!(
        received.len() == 1 && body(&received[0]) == "committed" && received[0].keys == ["c"],
        "received {received:?}"
    );
    let more = receive(&consumer, 1, Duration::from_secs(5)).await;
    ensure!(more.is_empty(), "a rolled back message was delivered: {more:?}");
    Ok(())
}

async fn transaction_check(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "check", 1).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let mut config = ProducerConfig::new(context.name("check"));
    config.send_timeout = Duration::from_secs(30);
    let (counter, wanted) = (asked.clone(), topic.clone());
    config.transaction_checker = Some(Arc::new(move |message| {
        let right = message.topic == wanted && body(&message) == "undecided";
        counter.fetch_add(usize::from(right), Ordering::Relaxed);
        Box::pin(async move { if right { TransactionState::Commit } else { TransactionState::Unknown } })
    }));
    let producer = Producer::new(&client, config)?;
    producer.send_in_transaction(Message::new(&topic, "undecided"), async { TransactionState::Unknown }).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 1, Duration::from_secs(90)).await;
    ensure!(received.len() == 1 && asked.load(Ordering::Relaxed) > 0, "received {received:?}, asked {asked:?} times");
    Ok(())
}

async fn compressed(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "zip", 1).await?;
    let text = "0123456789".repeat(40_000);
    context.producer(&client)?.send(Message::new(&topic, text.clone())).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 1, LIMIT).await;
    let message = received.first().ok_or("nothing was received")?;
    ensure!(message.sys_flag & 1 == 1, "the body was not compressed");
    ensure!(message.body == text, "the body changed");
    Ok(())
}

async fn auto_create(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.name("auto");
    let producer = context.producer(&client)?;
    let results = join_all((0..50).map(|number| producer.send(Message::new(&topic, number.to_string())))).await;
    for result in results {
        result?;
    }
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 50, LIMIT).await;
    ensure!(received.len() == 50, "{} of 50 received", received.len());
    Ok(())
}

async fn refused(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "refused", 1).await?;
    let producer = context.producer(&client)?;
    let kind = |result: Result<_, rocketmq_connector::rocketmq::Error>| {
        result.err().map(|error| (error.kind(), error.to_string()))
    };
    let (found, words) =
        kind(producer.send(Message::new("bad topic!", "x")).await.map(|_| ())).ok_or("a bad topic was taken")?;
    ensure!(found == ErrorKind::InvalidMessage && words.contains("bad topic!"), "{words}");
    let (found, words) =
        kind(producer.send(Message::new(&topic, vec![0; 5 << 20])).await.map(|_| ())).ok_or("5 MiB were taken")?;
    ensure!(found == ErrorKind::MessageTooLarge && words.contains("5242880"), "{words}");
    let mut config = ProducerConfig::new("conformance");
    (config.max_message_size, config.compress_over) = (8 << 20, usize::MAX);
    let permissive = Producer::new(&client, config)?;
    let (found, words) = kind(permissive.send(Message::new(&topic, random_bytes(5 << 20))).await.map(|_| ()))
        .ok_or("the broker took 5 MiB")?;
    ensure!(found == ErrorKind::MessageTooLarge && words.contains("13"), "{found:?}: {words}");
    Ok(())
}

async fn four_mebibytes(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "large", 1).await?;
    let bytes = random_bytes(4 << 20);
    context.producer(&client)?.send(Message::new(&topic, bytes.clone())).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&consumer, 1, LIMIT).await;
    ensure!(received.first().is_some_and(|message| message.body == bytes), "the body did not come back whole");
    Ok(())
}
