//! Backpressure and cancellation: what is bounded, and what happens to what is given up.

use std::time::Duration;

use futures::StreamExt as _;
use rocketmq_connector::rocketmq::{Consumer, ConsumerConfig, Delivery, Message, Producer, ProducerConfig};
use rocketmq_connector::rocketmq::{StartFrom, Subscription};

use super::harness::{Case, Context, Outcome, body, case, ensure, receive, receive_with};

const LIMIT: Duration = Duration::from_secs(60);

pub fn cases() -> Vec<Case> {
    vec![
        case("send", "more bytes in flight than memory is given: senders wait, none fails", memory),
        case("send", "a send that is given up is sent once or never, the others in order", given_up),
        case("consume", "bounded bytes in flight", bytes),
    ]
}

async fn memory(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "wide", 2).await?;
    let mut config = ProducerConfig::new("conformance");
    (config.send_timeout, config.compress_over) = (LIMIT, usize::MAX);
    let producer = Producer::new(&client, config)?;
    let body = vec![b'x'; 1 << 20];
    // 48 MiB, all asked for at once
    let sends = (0..48).map(|_| producer.send(Message::new(&topic, body.clone())));
    for sent in futures::future::join_all(sends).await {
        sent?;
    }
    Ok(())
}

async fn given_up(context: Context) -> Outcome {
    const COUNT: usize = 400;
    let client = context.client()?;
    let topic = context.topic(&client, "given-up", 1).await?;
    let producer = context.producer(&client)?;
    producer.send(Message::new(&topic, "first")).await?; // the route is known from here on
    let sends = (0..COUNT).map(|number| {
        let (producer, topic) = (&producer, &topic);
        async move {
            let send = producer.send(Message::new(topic, format!("{number:03}")));
            if number % 2 == 0 {
                return send.await.map(|_| true);
            }
            // dropped as soon as it has been polled
            Ok(tokio::time::timeout(Duration::ZERO, send).await.is_ok())
        }
    });
    let results: Vec<_> = futures::stream::iter(sends).buffered(64).collect().await;
    for result in results {
        result?;
    }
    producer.send(Message::new(&topic, "last")).await?; // one queue: all others are before it
    let consumer = context.consumer(&client, vec![Subscription::all(&topic)])?;
    let mut bodies = Vec::new();
    let gather = async {
        while let Some(delivery) = consumer.recv().await {
            let body = body(delivery.message());
            delivery.ack();
            match body.as_str() {
                "first" => {}
                "last" => break,
                _ => bodies.push(body),
            }
        }
    };
    tokio::time::timeout(LIMIT, gather).await.map_err(|_| "the last message was not received")?;
    ensure!(bodies.windows(2).all(|pair| pair[0] < pair[1]), "repeated or out of order: {bodies:?}");
    let kept = (0..COUNT).step_by(2).map(|number| format!("{number:03}")).filter(|body| bodies.contains(body)).count();
    ensure!(kept == COUNT / 2, "{kept} of {} that were awaited are stored", COUNT / 2);
    Ok(())
}

async fn bytes(context: Context) -> Outcome {
    let client = context.client()?;
    let topic = context.topic(&client, "bytes", 2).await?;
    let producer = context.producer(&client)?;
    for result in producer.send_batch((0..40).map(|_| Message::new(&topic, vec![b'x'; 1000])).collect()).await {
        result?;
    }
    let mut config = ConsumerConfig::new(context.name("group"), vec![Subscription::all(&topic)]);
    (config.start_from, config.max_in_flight_bytes) = (StartFrom::First, 5_500);
    let consumer = Consumer::start(&client, config)?;
    let held = receive_with(&consumer, 6, Duration::from_secs(8), |delivery| delivery).await;
    ensure!(held.len() == 5, "{} deliveries of 1,000 bytes open with a limit of 5,500", held.len());
    held.into_iter().for_each(Delivery::ack);
    let rest = receive(&consumer, 35, LIMIT).await;
    ensure!(rest.len() == 35, "{} of the other 35", rest.len());
    Ok(())
}
