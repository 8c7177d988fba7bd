//! Syncs from a real broker to a real HTTP server: nothing is lost whatever the server answers, and what it refuses is set aside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod worker_support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use hmac::{Hmac, Mac};
use rocketmq_connector::rocketmq::{
    Consumer, ConsumerConfig, Message, Producer, ProducerConfig, ReceivedMessage, StartFrom, Subscription,
};
use rocketmq_connector::worker_config::connection::TlsFiles;
use rocketmq_connector::worker_config::report::WorkerState;
use rocketmq_connector::worker_config::sync::{
    BatchConfig, Format, HttpTargetConfig, OnInvalid, SourceConfig, TargetConfig,
};
use rocketmq_connector::worker_config::{SyncConfig, WorkerReport};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::{TcpListener, TcpStream};
use worker_support::sync::{Process, Running, from_topic, pipeline};
use worker_support::{Broker, LIMIT, eventually, unique};

const BROKER: &str = "5.4.0-plain";
const SIGNING_KEY: &str = "a key of 32 characters or longer";

fn sync(from: &Broker, topic: &str, url: String) -> SyncConfig {
    let name = unique("http");
    let target = TargetConfig::Http(HttpTargetConfig {
        url,
        timeout_millis: 2_000,
        headers: BTreeMap::new(),
        token_file: None,
        signing_key_file: None,
        tls: None,
    });
    SyncConfig {
        format: Format::Json,
        batch: BatchConfig { max_records: 200, max_bytes: 1 << 20, max_wait_millis: 50 },
        ..pipeline(&name, SourceConfig::RocketMq(from_topic(from, topic, &name)), target)
    }
}

fn target(config: &mut SyncConfig) -> &mut HttpTargetConfig {
    match &mut config.target {
        TargetConfig::Http(target) => target,
        _ => unreachable!("the target of these tests is an HTTP server"),
    }
}

/// A request that the server has got.
struct Request {
    headers: HeaderMap,
    records: Vec<Value>,
    body: Vec<u8>,
    at: Instant,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn ids(&self) -> Vec<String> {
        self.records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// What the server does with a request.
enum Answer {
    /// Answers; records are kept after 2xx.
    Status(u16),
    /// Answers with `Retry-After`.
    RetryAfter(u16, &'static str),
    /// Keeps the records and answers with a failure all the same.
    TakeAndFail,
    /// Keeps the records and answers after this time.
    Late(Duration),
}

type Respond = Arc<dyn Fn(&Request, usize) -> Answer + Send + Sync>;

/// A server that answers as it is told; the number is how many requests have come, from 1.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    respond: Respond,
    count: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    async fn start(respond: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let (server, listener, router) = Self::prepare(respond).await;
        tokio::spawn(axum::serve(listener, router).into_future());
        server
    }

    async fn prepare(
        respond: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> (Self, TcpListener, Router) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            respond: Arc::new(respond),
            count: Arc::default(),
            requests: Arc::default(),
            taken: Arc::default(),
        };
        let state = server.clone();
        let router = Router::new().fallback(async move |headers: HeaderMap, body: axum::body::Bytes| {
            state.answer(headers, body.to_vec()).await
        });
        (server, listener, router)
    }

    async fn answer(&self, headers: HeaderMap, body: Vec<u8>) -> Response<Body> {
        let records = serde_json::from_slice(&body).unwrap();
        let request = Request { headers, records, body, at: Instant::now() };
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = (self.respond)(&request, number);
        let (status, keeps, pause, retry_after) = match answer {
            Answer::Status(status) => (status, (200..300).contains(&status), Duration::ZERO, None),
            Answer::RetryAfter(status, after) => (status, false, Duration::ZERO, Some(after)),
            Answer::TakeAndFail => (500, true, Duration::ZERO, None),
            Answer::Late(pause) => (200, true, pause, None),
        };
        if keeps {
            self.taken.lock().unwrap().extend(request.records.iter().cloned());
        }
        self.requests.lock().unwrap().push(request);
        tokio::time::sleep(pause).await;
        let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
        if let Some(after) = retry_after {
            response = response.header("Retry-After", after);
        }
        response.body(Body::from("because the test says so")).unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}/orders", self.address)
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Numbers of the records that it has, in the order of their coming.
    fn numbers(&self) -> Vec<i64> {
        self.taken.lock().unwrap().iter().map(|record| record["body"]["n"].as_i64().unwrap()).collect()
    }

    /// The records that a receiver has which leaves out what it had before, by partition and offset alone.
    fn deduplicated(&self) -> Vec<i64> {
        let mut newest: HashMap<String, u64> = HashMap::new();
        let mut numbers = Vec::new();
        for record in self.taken.lock().unwrap().iter() {
            let (partition, offset) = (record["partition"].as_str().unwrap(), record["offset"].as_u64().unwrap());
            if newest.get(partition).is_none_or(|newest| *newest < offset) {
                newest.insert(partition.to_owned(), offset);
                numbers.push(record["body"]["n"].as_i64().unwrap());
            }
        }
        numbers.sort_unstable();
        numbers
    }
}

async fn publish(broker: &Broker, topic: &str, bodies: impl Iterator<Item = String>) {
    let client = broker.client();
    let producer = Producer::new(&client, ProducerConfig::new(unique("publisher"))).unwrap();
    let messages: Vec<Message> = bodies.map(|body| Message::new(topic, body).with_tag("paid").with_key("k")).collect();
    for part in messages.chunks(1_000) {
        for result in producer.send_batch(part.to_vec()).await {
            result.unwrap();
        }
    }
    producer.shutdown().await;
    client.shutdown().await;
}

fn numbered(numbers: std::ops::Range<i64>) -> impl Iterator<Item = String> {
    numbers.map(|number| format!(r#"{{"n":{number}}}"#))
}

/// The first `count` messages of a topic.
async fn read(broker: &Broker, topic: &str, count: usize) -> Vec<ReceivedMessage> {
    let client = broker.client();
    eventually("the topic", async || client.admin().topic_route(topic).await.is_ok()).await;
    let mut config = ConsumerConfig::new(unique("reader"), vec![Subscription::all(topic)]);
    config.start_from = StartFrom::First;
    let consumer = Consumer::start(&client, config).unwrap();
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = tokio::time::timeout(LIMIT, consumer.recv()).await.unwrap().unwrap();
        messages.push(next.message().clone());
        next.ack();
    }
    consumer.shutdown(Duration::from_secs(2)).await;
    client.shutdown().await;
    messages
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

/// As docs/http-target.md tells receivers to do it.
fn signature_is_valid(request: &Request, key: &str) -> bool {
    let header = request.header("x-signature");
    let parts: HashMap<&str, &str> = header.split(',').filter_map(|part| part.split_once('=')).collect();
    let signed = [parts["t"].as_bytes(), b".", &request.body].concat();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(&signed);
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let age = jiff::Timestamp::now().as_second() - parts["t"].parse::<i64>().unwrap();
    expected == parts["v1"] && (0..300).contains(&age)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_server_fails_at_times() {
    const COUNT: i64 = 10_000;
    let broker = Broker::named(BROKER);
    let topic = broker.topic("http", 4).await;
    publish(&broker, &topic, numbered(0..COUNT)).await;
    let server = Server::start(|_, number| match number % 20 {
        3 => Answer::Status(503),
        7 => Answer::TakeAndFail,
        11 => Answer::RetryAfter(429, "0"),
        13 if number < 40 => Answer::Late(Duration::from_secs(5)),
        17 => Answer::Status(404),
        _ => Answer::Status(202),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = sync(&broker, &topic, server.url());
    target(&mut config).signing_key_file = Some(file(folder.path(), "key", &format!("{SIGNING_KEY}\n")));
    target(&mut config).token_file = Some(file(folder.path(), "token", "t0ken"));
    target(&mut config).headers.insert("X-Team".to_owned(), "shop".to_owned());
    config.errors.retry_interval_millis = 300;
    let running = Running::start(&config).await;
    let report = running.until("all", |_, sync| sync.written == COUNT as u64 && sync.lag == Some(0)).await;
    running.stop().await;
    assert_eq!((report.read, report.in_flight), (COUNT as u64, 0));

    let numbers = server.numbers();
    let distinct: BTreeSet<i64> = numbers.iter().copied().collect();
    let (lost, repeated) = (COUNT as usize - distinct.len(), numbers.len() - distinct.len());
    println!("{} requests: {lost} lost, {repeated} repeated", server.count.load(Ordering::SeqCst));
    assert_eq!(lost, 0);
    assert!(repeated > 0, "the server has taken requests and said that it failed");
    assert_eq!(report.resent, repeated as u64, "what may be there twice is counted");
    assert_eq!(server.deduplicated(), (0..COUNT).collect::<Vec<_>>());
    let mut keys: HashMap<String, Vec<String>> = HashMap::new();
    for request in server.requests.lock().unwrap().iter() {
        assert!(signature_is_valid(request, SIGNING_KEY), "{}", request.header("x-signature"));
        assert!(!signature_is_valid(request, "another key"));
        assert_eq!((request.header("authorization"), request.header("x-team")), ("Bearer t0ken", "shop"));
        assert_eq!(request.header("content-type"), "application/json");
        let same = keys.entry(request.header("idempotency-key").to_owned()).or_insert_with(|| request.ids());
        assert_eq!(*same, request.ids(), "a key stands for the same records");
    }
    let of_records: BTreeSet<_> = keys.values().collect();
    assert_eq!(of_records.len(), keys.len(), "a repeated request has its key again");
    let first = server.taken.lock().unwrap()[0].clone();
    assert_eq!((first["topic"].as_str(), first["tag"].as_str()), (Some(topic.as_str()), Some("paid")));
    assert_eq!((first["operation"].as_str(), first["keys"][0].as_str()), (Some("insert"), Some("k")));
}

/// A server that takes 50 ms for a request gets all records; how long that takes, and the most requests at the same time.
async fn written_by(writers: usize) -> (Duration, usize) {
    const COUNT: i64 = 4_000;
    let broker = Broker::named(BROKER);
    let topic = broker.topic("writers", 4).await;
    publish(&broker, &topic, numbered(0..COUNT)).await;
    let server = Server::start(|_, _| Answer::Late(Duration::from_millis(50))).await;
    let mut config = sync(&broker, &topic, server.url());
    (config.writers, config.batch.max_records) = (writers, 50);
    let running = Running::start(&config).await;
    let report = running.until("all", |_, sync| sync.written == COUNT as u64 && sync.lag == Some(0)).await;
    running.stop().await;
    assert_eq!((report.read, report.in_flight, report.resent), (COUNT as u64, 0, 0));
    // Each queue in its order, nothing twice: what comes is what a receiver has that leaves out what it had before.
    assert_eq!(server.numbers().len(), COUNT as usize);
    assert_eq!(server.deduplicated(), (0..COUNT).collect::<Vec<_>>());
    let requests = server.requests.lock().unwrap();
    let began: Vec<Instant> = requests.iter().map(|request| request.at).collect();
    let at_once = |at: &Instant| {
        began.iter().filter(|began| **began <= *at && at.duration_since(**began) < Duration::from_millis(50)).count()
    };
    let (first, last) = (began.iter().min().unwrap(), began.iter().max().unwrap());
    (last.duration_since(*first), began.iter().map(at_once).max().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn four_writers_write_four_queues_at_the_same_time_each_in_its_order() {
    let (alone, most_alone) = written_by(1).await;
    let (together, most) = written_by(4).await;
    println!("one writer {alone:?}, {most_alone} at once; four writers {together:?}, {most} at once");
    assert_eq!((most_alone, most), (1, 4));
    assert!(together * 2 < alone, "one writer {alone:?}, four writers {together:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_stops_one_writer_stops_the_sync_with_the_others_acknowledged() {
    let broker = Broker::named(BROKER);
    let topic = broker.topic("stop", 4).await;
    publish(&broker, &topic, numbered(0..400)).await;
    let server = Server::start(|request, _| {
        let is_bad = request.records.iter().any(|record| record["body"]["n"] == 250);
        Answer::Status(if is_bad { 400 } else { 200 })
    })
    .await;
    let mut config = sync(&broker, &topic, server.url());
    (config.writers, config.batch.max_records) = (4, 10);
    let running = Running::start(&config).await;
    eventually("a stop", async || {
        running.report().last_error.is_some_and(|error| error.remedy.contains("errors.onInvalid"))
            && running.report().state == WorkerState::Failing
    })
    .await;
    let report = running.report().sync.unwrap();
    running.stop().await;
    // Of the queue with the bad record nothing behind it was acknowledged, and it comes again with all that follow.
    let offset = |numbers: &[i64]| numbers.iter().filter(|number| **number != 250).count();
    assert!(report.written as usize == offset(&server.numbers()) && report.written < 400, "{report:?}");
    let again = Server::start(|_, _| Answer::Status(200)).await;
    target(&mut config).url = again.url();
    let running = Running::start(&config).await;
    running.until("the rest", |_, sync| sync.lag == Some(0) && sync.in_flight == 0).await;
    running.stop().await;
    let both: BTreeSet<i64> = server.numbers().into_iter().chain(again.numbers()).collect();
    assert_eq!(both, (0..400).collect::<BTreeSet<_>>());
    assert!(again.numbers().contains(&250));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_goes_to_the_dead_letter_topic() {
    let broker = Broker::named(BROKER);
    let (topic, dead) = (broker.topic("refuse", 2).await, broker.topic("refused", 1).await);
    let is_bad = |number: i64| matches!(number, 0 | 41 | 42 | 199 | 250);
    publish(&broker, &topic, numbered(0..300)).await;
    let server = Server::start(move |request, _| {
        let has_bad = request.records.iter().any(|record| is_bad(record["body"]["n"].as_i64().unwrap()));
        Answer::Status(if has_bad { 400 } else { 200 })
    })
    .await;
    let mut config = sync(&broker, &topic, server.url());
    config.errors.on_invalid = OnInvalid::DeadLetter { topic: Some(dead.clone()) };
    let running = Running::start(&config).await;
    let report = running.until("all", |_, sync| sync.written == 295 && sync.dead_lettered == 5).await;
    running.stop().await;
    assert_eq!(report.resent, 0);
    let mut numbers = server.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).filter(|number| !is_bad(*number)).collect::<Vec<_>>(), "each exactly once");
    for message in read(&broker, &dead, 5).await {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert!(is_bad(body["n"].as_i64().unwrap()), "{body}");
        assert_eq!((&*message.properties["connector-reason"], message.tag.as_deref()), ("RecordRefused", Some("paid")));
        let said = "the endpoint answered 400 Bad Request: because the test says so";
        assert_eq!(message.properties["connector-message"], said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_the_server_asks_for_is_kept_and_a_new_token_is_taken_up() {
    let broker = Broker::named(BROKER);
    let topic = broker.topic("pause", 1).await;
    publish(&broker, &topic, numbered(0..10)).await;
    let server = Server::start(|request, number| match (number, request.header("authorization")) {
        (1, _) => Answer::RetryAfter(503, "3"),
        (_, "Bearer new") => Answer::Status(200),
        _ => Answer::Status(401),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = sync(&broker, &topic, server.url());
    target(&mut config).token_file = Some(file(folder.path(), "token", "old"));
    let running = Running::start(&config).await;
    let refused =
        |report: &WorkerReport| report.last_error.as_ref().is_some_and(|error| error.reason == "AccessDenied");
    running.until("the refusal", |report, _| report.state == WorkerState::Failing && refused(report)).await;
    {
        let requests = server.requests.lock().unwrap();
        let pause = requests[1].at - requests[0].at;
        assert!(pause >= Duration::from_secs(3), "the second try came after {pause:?}");
    }
    file(folder.path(), "token", "new");
    running.until("all", |report, sync| sync.written == 10 && report.state == WorkerState::Running).await;
    running.stop().await;
    assert_eq!(server.taken(), 10);
}

/// A listener that speaks TLS with the certificate of the brokers' tests.
struct TlsListener {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn acceptor(certificates: &Path) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(certificates.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.join("server.key")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.join("ca.pem")).unwrap()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let mut config =
        rustls::ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked_on_both_sides_and_certificates_are_taken_up() {
    let (broker, tls_broker) = (Broker::named(BROKER), Broker::named("5.4.0-tls"));
    let certificates = PathBuf::from(tls_broker.setting("CA_FILE")).parent().unwrap().to_owned();
    let topic = broker.topic("tls", 1).await;
    publish(&broker, &topic, numbered(0..10)).await;
    let (server, listener, router) = Server::prepare(|_, _| Answer::Status(204)).await;
    tokio::spawn(axum::serve(TlsListener { listener, acceptor: acceptor(&certificates) }, router).into_future());
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        std::fs::copy(certificates.join(from), folder.path().join(to)).unwrap();
        Some(folder.path().join(to).to_string_lossy().into_owned())
    };
    let mut config = sync(&broker, &topic, format!("https://localhost:{}/orders", server.address.port()));
    target(&mut config).tls = Some(TlsFiles {
        ca: copy("other-ca.pem", "ca.crt"),
        client_certificate: copy("client.pem", "client.crt"),
        client_key: copy("client.key", "client.key"),
        ..TlsFiles::default()
    });
    let running = Running::start(&config).await;
    running.until("a stranger's certificate", |report, _| report.state == WorkerState::Failing).await;
    let error = running.report().last_error.unwrap();
    assert_eq!(error.reason, "EndpointUnreachable");
    assert!(error.message.contains("certificate"), "{}", error.message);
    copy("ca.pem", "ca.crt");
    running.until("all", |report, sync| sync.written == 10 && report.state == WorkerState::Running).await;
    running.stop().await;
    assert_eq!(server.taken(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_it_posts_loses_nothing() {
    const COUNT: i64 = 6_000;
    let broker = Broker::named(BROKER);
    let topic = broker.topic("kill", 4).await;
    publish(&broker, &topic, numbered(0..COUNT)).await;
    // Slow enough that each kill comes in the middle.
    let server = Server::start(|_, _| Answer::Late(Duration::from_millis(40))).await;
    let mut config = sync(&broker, &topic, server.url());
    config.batch.max_records = 50;
    let folder = tempfile::tempdir().unwrap();
    for kill in 1..=3 {
        let process = Process::start(folder.path(), &config);
        let before = server.taken();
        eventually("some records", async || server.taken() >= before + 500).await;
        drop(process);
        assert!(server.taken() < COUNT as usize, "kill {kill} should come in the middle");
    }
    let last = Process::start(folder.path(), &config);
    let distinct = || server.numbers().into_iter().collect::<BTreeSet<_>>().len();
    eventually("the rest", async || distinct() >= COUNT as usize).await;
    drop(last);
    let repeated = server.taken() - COUNT as usize;
    println!("3 kills, {COUNT} records: 0 lost, {repeated} repeated");
    assert_eq!(server.deduplicated(), (0..COUNT).collect::<Vec<_>>(), "partition and offset tell repetitions");
}
