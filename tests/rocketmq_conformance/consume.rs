//! Receiving: starts, filters, acknowledgement, redelivery, order, rebalance, lag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rocketmq_connector::rocketmq::{
    Client, Consumer, ConsumerConfig, Delivery, Message, Queue, ReceivedMessage, Redelivery, StartFrom, Subscription,
};

use super::harness::{
    Case, Context, Failure, Outcome, body, case, ensure, eventually, receive, receive_with, send_numbered,
    sorted_bodies,
};

const LIMIT: Duration = Duration::from_secs(40);
const QUIET: Duration = Duration::from_secs(4);
const DRAIN: Duration = Duration::from_secs(5);

pub fn cases() -> Vec<Case> {
    vec![
        case("consume", "concurrent, several receivers, in batches", concurrent),
        case("consume", "start from first, last, timestamp, offsets", starts),
        case("consume", "a new group that starts last misses nothing after its first start", start_last_is_kept),
        case("consume", "tag filter", tags),
        case("consume", "SQL92 filter", sql),
        case("consume", "commit stops at the first open delivery; a crash loses nothing", crash),
        case("consume", "graceful leave commits: nothing repeated", leave),
        case("consume", "a new group's first commits, of all queues at once, are all kept", first_commits),
        case("consume", "negative acknowledgement with a delay level", nack),
        case("consume", "dead-letter topic after the last redelivery", dead_letter_after_retries),
        case("consume", "dead-letter topic at once", dead_letter_now),
        case("consume", "dropped delivery repeated here", dropped),
        case("consume", "bounded deliveries in flight", bounded),
        case("consume", "ordered: order kept across failures", ordered),
        case("consume", "ordered: two members, queues locked", ordered_members),
        case("consume", "broadcasting", broadcasting),
        case("consume", "rebalance when a member joins and leaves", rebalance),
        case("consume", "topic missing at start is waited for", missing_topic),
        case("consume", "lag per queue", lag),
    ]
}

async fn prepared(context: &Context, queues: i32, count: usize) -> Result<(Client, String), Failure> {
    let client = context.client()?;
    let topic = context.topic(&client, "t", queues).await?;
    send_numbered(&context.producer(&client)?, &topic, count).await?;
    Ok((client, topic))
}

fn config(context: &Context, topic: &str) -> ConsumerConfig {
    let mut config = ConsumerConfig::new(context.name("group"), vec![Subscription::all(topic)]);
    config.start_from = StartFrom::First;
    config
}

async fn concurrent(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 4, 0).await?;
    let producer = context.producer(&client)?;
    producer.send_batch((0..500).map(|number| Message::new(&topic, format!("{number:03}"))).collect()).await;
    let consumer = Arc::new(context.consumer(&client, vec![Subscription::all(&topic)])?);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let consumer = consumer.clone();
            tokio::spawn(async move {
                let mut bodies = Vec::new();
                while let Ok(batch) = tokio::time::timeout(Duration::from_secs(10), consumer.recv_batch(16)).await {
                    for delivery in batch {
                        bodies.push(body(delivery.message()));
                        delivery.ack();
                    }
                }
                bodies
            })
        })
        .collect();
    let mut bodies = Vec::new();
    for task in tasks {
        bodies.extend(task.await?);
    }
    bodies.sort();
    let expected: Vec<String> = (0..500).map(|number| format!("{number:03}")).collect();
    ensure!(bodies == expected, "{} of 500 received", bodies.len());
    Ok(())
}

async fn starts(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 3).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let middle = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let producer = context.producer(&client)?;
    producer.send(Message::new(&topic, "after")).await?;
    let start = |group: &str, start_from| {
        let mut config = ConsumerConfig::new(context.name(group), vec![Subscription::all(&topic)]);
        config.start_from = start_from;
        Consumer::start(&client, config)
    };
    let second = Queue { topic: topic.as_str().into(), broker_name: "broker-a".into(), queue_id: 0 };
    let (first, last, timed, chosen) = (
        start("first", StartFrom::First)?,
        start("last", StartFrom::Last)?,
        start("timed", StartFrom::Timestamp(middle))?,
        start("chosen", StartFrom::Offsets(Arc::new(BTreeMap::from([(second, 2)]))))?,
    );
    eventually("the start of the one that starts last", LIMIT, || async {
        Ok(last.status().queues.iter().any(|queue| queue.topic == topic && queue.acknowledged == 4))
    })
    .await?;
    producer.send(Message::new(&topic, "latest")).await?;
    let bodies = sorted_bodies(&receive(&first, 5, LIMIT).await);
    ensure!(bodies == ["0", "1", "2", "after", "latest"], "first: {bodies:?}");
    let bodies = sorted_bodies(&receive(&timed, 2, LIMIT).await);
    ensure!(bodies == ["after", "latest"], "timestamp: {bodies:?}");
    let bodies = sorted_bodies(&receive(&chosen, 3, LIMIT).await);
    ensure!(bodies == ["2", "after", "latest"], "offset 2: {bodies:?}");
    let bodies = sorted_bodies(&receive(&last, 1, LIMIT).await);
    ensure!(bodies == ["latest"], "last: {bodies:?}");
    Ok(())
}

async fn start_last_is_kept(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 3).await?;
    let mut settings = config(&context, &topic);
    settings.start_from = StartFrom::Last;
    let first = Consumer::start(&client, settings.clone())?;
    eventually("the committed start", LIMIT, || async {
        Ok(client.admin().consumer_lag(&settings.group, &topic).await?.iter().any(|lag| lag.consumer_offset == 3))
    })
    .await?;
    drop(first); // a crash before the first message
    context.producer(&client)?.send(Message::new(&topic, "while away")).await?;
    let second = Consumer::start(&context.client()?, settings)?;
    let bodies = sorted_bodies(&receive(&second, 1, LIMIT).await);
    ensure!(bodies == ["while away"], "{bodies:?}");
    Ok(())
}

async fn tags(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 2, 0).await?;
    let producer = context.producer(&client)?;
    // "Aa" and "BB" have the same hash, by which brokers filter
    for tag in ["a", "b", "c", "Aa", "BB"] {
        producer.send(Message::new(&topic, tag).with_tag(tag)).await?;
    }
    producer.send(Message::new(&topic, "none")).await?;
    let consumer = context.consumer(&client, vec![Subscription::tags(&topic, "a || c || Aa")])?;
    let bodies = sorted_bodies(&receive(&consumer, 4, Duration::from_secs(6)).await);
    ensure!(bodies == ["Aa", "a", "c"], "{bodies:?}");
    eventually("lag 0 with filtered messages", LIMIT, || async { Ok(consumer.status().lag == Some(0)) }).await
}

async fn sql(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 2, 0).await?;
    let producer = context.producer(&client)?;
    for number in 0..10 {
        let colour = if number % 2 == 0 { "red" } else { "blue" };
        producer
            .send(
                Message::new(&topic, number.to_string())
                    .with_property("colour", colour)
                    .with_property("n", number.to_string()),
            )
            .await?;
    }
    let consumer =
        context.consumer(&client, vec![Subscription::sql(&topic, "colour = 'red' AND n BETWEEN 2 AND 6")])?;
    let bodies = sorted_bodies(&receive(&consumer, 4, Duration::from_secs(8)).await);
    ensure!(bodies == ["2", "4", "6"], "{bodies:?} {:?}", consumer.status().last_error);
    Ok(())
}

async fn crash(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 20).await?;
    let crashing = Consumer::start(&client, config(&context, &topic))?;
    let mut held: Vec<Delivery> = Vec::new();
    receive_with(&crashing, 20, LIMIT, |delivery| match delivery.message().queue_offset {
        7 | 12 => held.push(delivery),
        _ => delivery.ack(),
    })
    .await;
    ensure!(held.len() == 2, "held {} deliveries", held.len());
    let group = context.name("group");
    eventually("the commit up to the first open delivery", LIMIT, || async {
        Ok(client.admin().consumer_lag(&group, &topic).await?.iter().any(|lag| lag.consumer_offset == 7))
    })
    .await?;
    drop(crashing); // no drain, no last commit
    client.shutdown().await;
    drop(held);
    let second = Consumer::start(&context.client()?, config(&context, &topic))?;
    let received = receive(&second, 13, Duration::from_secs(60)).await;
    let offsets: Vec<i64> = received.iter().map(|message| message.queue_offset).collect();
    ensure!(offsets == (7..20).collect::<Vec<_>>(), "{offsets:?}");
    Ok(())
}

async fn leave(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 4, 50).await?;
    let first = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let received = receive(&first, 50, LIMIT).await;
    ensure!(received.len() == 50, "{} of 50", received.len());
    let started = Instant::now();
    first.shutdown(DRAIN).await;
    ensure!(started.elapsed() < Duration::from_secs(4), "leaving took {:?}", started.elapsed());
    ensure!(first.recv().await.is_none(), "a delivery after leaving");
    ensure!(
        client.admin().consumer_connections(&context.name("group")).await?.is_empty(),
        "the broker still lists the member"
    );
    let second = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let again = receive(&second, 1, Duration::from_secs(6)).await;
    ensure!(again.is_empty(), "repeated {again:?}");
    Ok(())
}

/// A broker that makes its table of a group's offsets for two commits at once keeps one of them: `docs/upstream.md`.
async fn first_commits(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 16, 160).await?;
    // many groups at once, so that the broker has several commits in hand
    let groups = (0..60).map(async |number| -> Outcome {
        let group = context.name(&format!("first-{number}"));
        let mut config = ConsumerConfig::new(&group, vec![Subscription::all(&topic)]);
        config.start_from = StartFrom::First;
        let consumer = Consumer::start(&client, config)?;
        let received = receive(&consumer, 160, LIMIT).await;
        ensure!(received.len() == 160, "{} of 160", received.len());
        consumer.shutdown(DRAIN).await;
        let lags = client.admin().consumer_lag(&group, &topic).await?;
        let lost: Vec<_> = lags.iter().filter(|lag| lag.consumer_offset != lag.broker_offset).collect();
        ensure!(lags.len() == 16 && lost.is_empty(), "of {} queues these are not kept: {lost:?}", lags.len());
        Ok(())
    });
    futures::future::try_join_all(groups).await.map(|_| ())
}

async fn nack(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 1).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let first = receive_with(&consumer, 1, LIMIT, |delivery| delivery).await.pop().ok_or("nothing was received")?;
    let original = first.message().clone();
    let handed_back = Instant::now();
    first.nack(Redelivery::Level(1)).await?;
    let again = receive(&consumer, 1, LIMIT).await.pop().ok_or("the message did not come again")?;
    let waited = handed_back.elapsed();
    ensure!(again.reconsume_times == 1 && again.topic == topic && again.message_id == original.message_id, "{again:?}");
    ensure!(again.body == original.body && waited > Duration::from_millis(700), "came after {waited:?}");
    let more = receive(&consumer, 1, QUIET).await;
    ensure!(more.is_empty(), "an acknowledged redelivery came again");
    Ok(())
}

async fn dead_letters(context: &Context, client: &Client) -> Result<Vec<ReceivedMessage>, Failure> {
    let topic = format!("%DLQ%{}", context.name("group"));
    eventually("the dead-letter topic", LIMIT, || async { Ok(client.admin().topic_route(&topic).await.is_ok()) })
        .await?;
    // brokers create it without the permission to read
    client.admin().create_topic(&topic, 1, 6).await?;
    let mut config = ConsumerConfig::new(context.name("reader"), vec![Subscription::all(&topic)]);
    config.start_from = StartFrom::First;
    let reader = Consumer::start(client, config)?;
    Ok(receive(&reader, 1, LIMIT).await)
}

async fn dead_letter_after_retries(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 1).await?;
    let mut settings = config(&context, &topic);
    settings.max_reconsume_times = 1;
    let consumer = Consumer::start(&client, settings)?;
    for attempt in 0..2 {
        let delivery =
            receive_with(&consumer, 1, LIMIT, |delivery| delivery).await.pop().ok_or("nothing was received")?;
        ensure!(delivery.message().reconsume_times == attempt, "{:?}", delivery.message());
        delivery.nack(Redelivery::Level(1)).await?;
    }
    let dead = dead_letters(&context, &client).await?;
    ensure!(dead.len() == 1 && body(&dead[0]) == "0" && dead[0].topic == topic, "{dead:?}");
    Ok(())
}

async fn dead_letter_now(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 1).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let delivery = receive_with(&consumer, 1, LIMIT, |delivery| delivery).await.pop().ok_or("nothing was received")?;
    delivery.dead_letter().await?;
    let dead = dead_letters(&context, &client).await?;
    ensure!(dead.len() == 1 && body(&dead[0]) == "0", "{dead:?}");
    let more = receive(&consumer, 1, QUIET).await;
    ensure!(more.is_empty(), "a dead message came again");
    Ok(())
}

async fn dropped(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 1).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    receive_with(&consumer, 1, LIMIT, drop).await;
    let again = receive(&consumer, 1, LIMIT).await;
    ensure!(again.len() == 1 && body(&again[0]) == "0", "{again:?}");
    Ok(())
}

async fn bounded(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 2, 40).await?;
    let mut settings = config(&context, &topic);
    settings.max_in_flight_messages = 5;
    let consumer = Consumer::start(&client, settings)?;
    let mut held = receive_with(&consumer, 6, Duration::from_secs(8), |delivery| delivery).await;
    ensure!(held.len() == 5, "{} deliveries open at the same time", held.len());
    ensure!(consumer.status().in_flight == 5, "{:?}", consumer.status());
    held.drain(..).for_each(Delivery::ack);
    let rest = receive(&consumer, 35, LIMIT).await;
    ensure!(rest.len() == 35, "{} of the other 35", rest.len());
    Ok(())
}

async fn ordered(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 2, 30).await?;
    let mut settings = config(&context, &topic);
    settings.ordered = true;
    let consumer = Consumer::start(&client, settings)?;
    let mut taken: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let mut attempts = 0;
    let work = async {
        while taken.values().map(Vec::len).sum::<usize>() < 30 {
            let Some(delivery) = consumer.recv().await else { break };
            let message = delivery.message().clone();
            if message.queue_offset % 5 == 2 && message.reconsume_times < 2 {
                attempts += 1;
                if attempts % 2 == 0 {
                    drop(delivery);
                } else {
                    let _ = delivery.nack(Redelivery::After(Duration::from_millis(100))).await;
                }
                continue;
            }
            taken.entry(message.queue_id).or_default().push(message.queue_offset);
            delivery.ack();
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(60), work).await;
    for (queue, offsets) in &taken {
        ensure!(offsets.iter().copied().eq(0..offsets.len() as i64), "queue {queue}: {offsets:?}");
    }
    ensure!(taken.values().map(Vec::len).sum::<usize>() == 30 && attempts == 12, "{taken:?} after {attempts} failures");
    Ok(())
}

async fn ordered_members(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 4, 200).await?;
    let mut settings = config(&context, &topic);
    settings.ordered = true;
    let first = Consumer::start(&client, settings.clone())?;
    let mut taken: Vec<(i32, i64)> = Vec::new();
    let note = |delivery: Delivery| {
        let at = (delivery.message().queue_id, delivery.message().queue_offset);
        delivery.ack();
        at
    };
    taken.extend(receive_with(&first, 40, LIMIT, note).await);
    let second = Consumer::start(&context.client()?, settings)?;
    let share = |consumer: &Consumer| consumer.status().queues.iter().filter(|queue| queue.topic == topic).count();
    eventually("a half for each", LIMIT, || async { Ok(share(&first) == 2 && share(&second) == 2) }).await?;
    // a lock that is not given back holds the second member up for a minute
    let left = AtomicUsize::new(160);
    let rest = async |consumer: &Consumer| {
        let mut taken = Vec::new();
        let end = Instant::now() + Duration::from_secs(15);
        while left.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            if let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(300), consumer.recv()).await {
                taken.push(note(delivery));
                left.fetch_sub(1, Ordering::Relaxed);
            }
        }
        taken
    };
    let (from_first, from_second) = tokio::join!(rest(&first), rest(&second));
    ensure!(!from_second.is_empty(), "the second member got nothing: {:?}", second.status());
    taken.extend(&from_first);
    taken.extend(&from_second);
    let distinct: BTreeSet<_> = taken.iter().collect();
    ensure!(distinct.len() == 200, "{} of 200 messages, {} deliveries", distinct.len(), taken.len());
    ensure!(taken.len() == 200, "{} of 200 messages were repeated", taken.len() - 200);
    for member in [&from_first, &from_second] {
        for queue in 0..4 {
            let offsets: Vec<i64> = member.iter().filter(|(id, _)| *id == queue).map(|(_, offset)| *offset).collect();
            ensure!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "queue {queue}: {offsets:?}");
        }
    }
    Ok(())
}

async fn broadcasting(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 2, 10).await?;
    let mut settings = config(&context, &topic);
    settings.broadcasting = true;
    let consumers = [Consumer::start(&client, settings.clone())?, Consumer::start(&context.client()?, settings)?];
    for consumer in &consumers {
        let received = receive(consumer, 10, LIMIT).await;
        ensure!(received.len() == 10, "{} of 10", received.len());
    }
    Ok(())
}

async fn rebalance(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 8, 0).await?;
    let first = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let count = |consumer: &Consumer| consumer.status().queues.iter().filter(|queue| queue.topic == topic).count();
    eventually("all queues for the first member", LIMIT, || async { Ok(count(&first) == 8) }).await?;
    let other = context.client()?;
    let second = context.consumer(&other, vec![Subscription::all(&topic)])?;
    eventually("a half for each", LIMIT, || async { Ok(count(&first) == 4 && count(&second) == 4) }).await?;
    send_numbered(&context.producer(&client)?, &topic, 80).await?;
    let (one, two) =
        tokio::join!(receive(&first, 40, Duration::from_secs(15)), receive(&second, 40, Duration::from_secs(15)));
    let bodies: BTreeSet<String> = one.iter().chain(&two).map(body).collect();
    ensure!(
        bodies.len() == 80 && !one.is_empty() && !two.is_empty(),
        "{} and {} messages, {} distinct",
        one.len(),
        two.len(),
        bodies.len()
    );
    second.shutdown(DRAIN).await;
    eventually("all queues for the first member again", LIMIT, || async { Ok(count(&first) == 8) }).await
}

async fn missing_topic(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.name("later");
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    eventually("the error", LIMIT, || async {
        Ok(consumer.status().last_error.is_some_and(|error| error.remedy().contains("mqadmin updateTopic")))
    })
    .await?;
    client.admin().create_topic(&topic, 1, 6).await?;
    let created = Instant::now();
    context.producer(&client)?.send(Message::new(&topic, "x")).await?;
    let received = receive(&consumer, 1, LIMIT).await;
    ensure!(
        received.len() == 1 && created.elapsed() < Duration::from_secs(20),
        "{} after {:?}",
        received.len(),
        created.elapsed()
    );
    ensure!(consumer.status().last_error.is_none(), "{:?}", consumer.status().last_error);
    Ok(())
}

async fn lag(context: Context) -> Outcome {
    let (client, topic) = prepared(&context, 1, 10).await?;
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let mut deliveries = receive_with(&consumer, 10, LIMIT, |delivery| delivery).await;
    ensure!(consumer.status().lag == Some(10), "{:?}", consumer.status());
    deliveries.drain(..4).for_each(Delivery::ack);
    ensure!(consumer.status().lag == Some(6), "{:?}", consumer.status());
    let group = context.name("group");
    eventually("the committed lag", LIMIT, || async {
        let lags = client.admin().consumer_lag(&group, &topic).await?;
        Ok(lags.iter().map(|lag| lag.broker_offset - lag.consumer_offset).sum::<i64>() == 6)
    })
    .await
}
