//! Servers that die, move and come back while messages flow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rocketmq_connector::rocketmq::{
    Client, Consumer, ConsumerConfig, Error, ErrorKind, Message, Producer, ProducerConfig, StartFrom, Subscription,
};
use tokio::task::{JoinHandle, JoinSet};

use super::harness::{Case, Context, Failure, Outcome, body, case, ensure, eventually, receive, send_numbered};
use super::own::{self, Cluster};

const LIMIT: Duration = Duration::from_secs(90);
/// Sends that may be unanswered at the same time.
const IN_FLIGHT: usize = 32;
/// Messages that show that the traffic flows.
const SOME: usize = 200;

pub fn cases() -> Vec<Case> {
    vec![
        case("faults", "unknown topic without auto-create: error with remedy", no_auto_create).on_own_servers(),
        case("faults", "broker: kill -9 and restart while sending and consuming", killed).on_own_servers(),
        case("faults", "broker: kill -9 and restart at another address", moved).on_own_servers(),
        case("faults", "name server: kill -9, traffic goes on, restart", name_server).on_own_servers(),
        case("faults", "master gone: messages read from its replica", replica).on_own_servers(),
    ]
}

/// A sender whose every message must be confirmed, and a consumer that must receive each.
struct Traffic {
    client: Client,
    stop: Arc<AtomicBool>,
    /// The sender has ended: what is confirmed is final.
    ended: Arc<AtomicBool>,
    confirmed: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
    sending: JoinHandle<Result<usize, String>>,
    consuming: JoinHandle<BTreeSet<String>>,
}

impl Traffic {
    async fn start(cluster: &Cluster) -> Result<Self, Failure> {
        let mut config = cluster.context.config();
        config.route_refresh = Duration::from_secs(1);
        config.request_timeout = Duration::from_secs(5);
        let client = Client::new(config)?;
        let topic = cluster.context.topic(&client, "traffic", 4).await?;
        let mut config = ProducerConfig::new("conformance");
        (config.send_timeout, config.retries) = (LIMIT * 2, u32::MAX);
        let producer = Producer::new(&client, config)?;
        let consumer = cluster.context.consumer(&client, vec![Subscription::all(&topic)])?;
        let (stop, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (confirmed, received) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let sending = tokio::spawn(send(producer, topic, Arc::clone(&stop), Arc::clone(&confirmed)));
        let consuming =
            tokio::spawn(consume(consumer, Arc::clone(&received), Arc::clone(&confirmed), Arc::clone(&ended)));
        Ok(Self { client, stop, ended, confirmed, received, sending, consuming })
    }

    /// Waits until messages have gone the whole way since now.
    async fn flows(&self, when: &str) -> Outcome {
        let (sent, got) = (self.confirmed.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        eventually(&format!("traffic {when}"), LIMIT, || async {
            Ok(self.confirmed.load(Ordering::Relaxed) >= sent + SOME
                && self.received.load(Ordering::Relaxed) >= got + SOME)
        })
        .await
    }

    /// Ends the sender and waits until everything that was confirmed has been received.
    async fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sending.await??;
        self.ended.store(true, Ordering::Release);
        let received = tokio::time::timeout(LIMIT, self.consuming).await.map_err(|_| "messages are missing")??;
        ensure!(received.len() == sent, "{} of {sent} received", received.len());
        self.client.shutdown().await;
        Ok(())
    }
}

/// Sends numbered messages until it is told to stop, some hundred a second; returns how many, or the first failure.
async fn send(
    producer: Producer,
    topic: String,
    stop: Arc<AtomicBool>,
    confirmed: Arc<AtomicUsize>,
) -> Result<usize, String> {
    let mut sends = JoinSet::new();
    for number in 0usize.. {
        let stopping = stop.load(Ordering::Relaxed);
        while sends.len() >= if stopping { 1 } else { IN_FLIGHT } {
            let Some(sent) = sends.join_next().await else { break };
            let sent: Result<_, Error> = sent.map_err(|error| error.to_string())?;
            sent.map_err(|error| format!("a send failed: {error}"))?;
            confirmed.fetch_add(1, Ordering::Relaxed);
        }
        if stopping {
            break;
        }
        let (producer, message) = (producer.clone(), Message::new(&topic, number.to_string()));
        sends.spawn(async move { producer.send(message).await });
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(confirmed.load(Ordering::Relaxed))
}

/// Receives until the sender has ended and nothing is missing; returns the bodies, each once.
async fn consume(
    consumer: Consumer,
    received: Arc<AtomicUsize>,
    confirmed: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
) -> BTreeSet<String> {
    let mut bodies = BTreeSet::new();
    while !(ended.load(Ordering::Acquire) && bodies.len() >= confirmed.load(Ordering::Relaxed)) {
        if let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(500), consumer.recv()).await {
            bodies.insert(body(delivery.message()));
            delivery.ack();
            received.store(bodies.len(), Ordering::Relaxed);
        }
    }
    consumer.shutdown(Duration::from_secs(5)).await;
    bodies
}

async fn no_auto_create(context: Context) -> Outcome {
    let cluster = own::cluster(&context).await?;
    let client = cluster.context.client()?;
    let topic = context.name("nowhere");
    let sent = cluster.context.producer(&client)?.send(Message::new(&topic, "x")).await;
    let error = sent.err().ok_or("the message was taken")?;
    ensure!(error.kind() == ErrorKind::TopicNotFound && error.to_string().contains(&topic), "{error}");
    ensure!(error.remedy().contains("updateTopic"), "{}", error.remedy());
    Ok(())
}

async fn killed(context: Context) -> Outcome {
    let cluster = own::cluster(&context).await?;
    let traffic = Traffic::start(&cluster).await?;
    traffic.flows("before the kill").await?;
    cluster.kill("broker-a-0")?;
    cluster.start("broker", &[]).await?;
    traffic.flows("after the restart").await?;
    traffic.finish().await
}

async fn moved(context: Context) -> Outcome {
    let cluster = own::cluster(&context).await?;
    let traffic = Traffic::start(&cluster).await?;
    traffic.flows("before the kill").await?;
    cluster.kill("broker-a-0")?;
    cluster.start_moved().await?;
    traffic.flows("at the other address").await?;
    traffic.finish().await
}

async fn name_server(context: Context) -> Outcome {
    let cluster = own::cluster(&context).await?;
    let traffic = Traffic::start(&cluster).await?;
    traffic.flows("before the kill").await?;
    cluster.kill("name-server")?;
    tokio::time::sleep(Duration::from_secs(3)).await; // three times as long as a route is kept
    traffic.flows("without a name server").await?;
    cluster.start("ns", &[]).await?;
    let (client, topic) = (&traffic.client, context.name("after"));
    eventually("the broker at the new name server", LIMIT, || async {
        Ok(client.admin().create_topic(&topic, 1, 6).await.is_ok())
    })
    .await?;
    eventually("a route from the new name server", LIMIT, || async {
        Ok(client.admin().topic_route(&topic).await.is_ok())
    })
    .await?;
    traffic.flows("after the restart").await?;
    traffic.finish().await
}

async fn replica(context: Context) -> Outcome {
    const COUNT: usize = 50;
    let cluster = own::cluster(&context).await?;
    let address = cluster.start_replica().await?;
    let client = cluster.context.client()?;
    let topic = cluster.context.topic(&client, "copied", 1).await?;
    send_numbered(&cluster.context.producer(&client)?, &topic, COUNT).await?;
    eventually("the copies at the replica", LIMIT, || async {
        Ok(own::max_offset(&address, &topic, 0).await? == COUNT as i64 && cluster.replica_knows(&topic)?)
    })
    .await?;
    cluster.kill("broker-a-0")?;
    let fresh = cluster.context.client()?;
    eventually("a route without the master", LIMIT, || async {
        let route = fresh.admin().topic_route(&topic).await?;
        Ok(route.brokers.iter().all(|broker| !broker.addresses.contains_key(&0)))
    })
    .await?;
    let mut config = ConsumerConfig::new(context.name("group"), vec![Subscription::all(&topic)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(&fresh, config)?;
    let received = receive(&consumer, COUNT, LIMIT).await;
    ensure!(received.len() == COUNT, "{} of {COUNT}: {:?}", received.len(), consumer.status().last_error);
    let sent = cluster.context.producer(&fresh)?.send(Message::new(&topic, "x")).await;
    let error = sent.err().ok_or("a message was taken without a master")?;
    ensure!(error.to_string().contains("no master"), "{error}");
    consumer.shutdown(Duration::from_secs(1)).await;
    cluster.kill("broker-a-1")?;
    Ok(())
}
