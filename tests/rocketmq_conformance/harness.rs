//! Instances of the broker matrix, the context of a case, and the runner.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rocketmq_connector::rocketmq::{
    Client, ClientConfig, Consumer, ConsumerConfig, Credentials, Delivery, Error, Message, Producer, ProducerConfig,
    ReceivedMessage, StartFrom, Subscription, TlsConfig,
};
use tokio::sync::Semaphore;

/// The brokers of the matrix: instance and its column in the table.
pub const INSTANCES: [&str; 6] = ["4.9.7-plain", "4.9.7-acl", "4.9.7-tls", "5.4.0-plain", "5.4.0-acl", "5.4.0-tls"];
/// Cases that run at the same time; more only makes the brokers of one machine slow.
const PARALLEL: usize = 4;
/// Generous: Java needs half a minute to start on a busy machine.
const CASE_LIMIT: Duration = Duration::from_secs(240);

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome = Result<(), Failure>;
type Run = Arc<dyn Fn(Context) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// One line of the table.
#[derive(Clone)]
pub struct Case {
    pub area: &'static str,
    pub title: &'static str,
    run: Run,
    only: fn(&Instance) -> bool,
    own_servers: bool,
}

/// A case that runs on every instance.
pub fn case<F>(area: &'static str, title: &'static str, run: impl Fn(Context) -> F + Send + Sync + 'static) -> Case
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Case { area, title, run: Arc::new(move |context| Box::pin(run(context))), only: |_| true, own_servers: false }
}

impl Case {
    /// Restricts the case to the instances for which it has a meaning.
    pub fn only(mut self, only: fn(&Instance) -> bool) -> Self {
        self.only = only;
        self
    }

    /// A case that breaks servers: once a version, on servers of its own (`own.rs`), one such case after the other.
    pub fn on_own_servers(mut self) -> Self {
        self.own_servers = true;
        self.only(|instance| instance.is("plain"))
    }
}

/// A running name server and broker.
#[derive(Clone)]
pub struct Instance {
    pub name: &'static str,
    env: BTreeMap<String, String>,
}

impl Instance {
    pub fn load(name: &'static str) -> Result<Self, String> {
        let folder =
            std::env::var("ROCKETMQ_TEST_RUN").map_err(|_| "ROCKETMQ_TEST_RUN is not set; run make conformance")?;
        let file = PathBuf::from(folder).join(name).join("env");
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}; start the matrix first", file.display()))?;
        let env = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Ok(Self { name, env })
    }

    pub fn get(&self, key: &str) -> &str {
        self.env.get(key).map_or("", String::as_str)
    }

    pub fn is_v4(&self) -> bool {
        self.name.starts_with('4')
    }

    pub fn is(&self, variant: &str) -> bool {
        self.name.ends_with(variant)
    }
}

/// What a case works with.
#[derive(Clone)]
pub struct Context {
    pub instance: Instance,
    id: String,
}

impl Context {
    /// The same case on another instance.
    pub fn on(&self, instance: Instance) -> Self {
        Self { instance, id: self.id.clone() }
    }

    /// The instance's configuration, with the credentials or certificates of its variant.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(vec![self.instance.get("NAME_SERVER").to_owned()]);
        config.request_timeout = Duration::from_secs(10);
        config.connect_timeout = Duration::from_secs(10);
        if self.instance.is("acl") {
            config.credentials = Some(self.credentials("ADMIN"));
        }
        if self.instance.is("tls") {
            config.tls = Some(self.tls());
        }
        config
    }

    pub fn credentials(&self, user: &str) -> Credentials {
        let get = |key: &str| self.instance.get(&format!("{user}_{key}")).to_owned();
        Credentials { access_key: get("ACCESS_KEY"), secret_key: get("SECRET_KEY").into(), security_token: None }
    }

    pub fn tls(&self) -> TlsConfig {
        let read = |key: &str| std::fs::read(self.instance.get(key)).ok();
        TlsConfig {
            ca_pem: read("CA_FILE"),
            client_certificate_pem: read("CLIENT_CERTIFICATE_FILE"),
            client_key_pem: read("CLIENT_KEY_FILE"),
            ..TlsConfig::default()
        }
    }

    pub fn client(&self) -> Result<Client, Error> {
        Client::new(self.config())
    }

    pub fn producer(&self, client: &Client) -> Result<Producer, Error> {
        let mut config = ProducerConfig::new("conformance");
        config.send_timeout = Duration::from_secs(30);
        Producer::new(client, config)
    }

    /// A name that no other case or run uses.
    pub fn name(&self, stem: &str) -> String {
        format!("c-{stem}-{}", self.id)
    }

    /// A new topic with this many queues.
    pub async fn topic(&self, client: &Client, stem: &str, queues: i32) -> Result<String, Failure> {
        let topic = self.name(stem);
        client.admin().create_topic(&topic, queues, 6).await?;
        // brokers register a new topic with the name server before they answer, but not always for long enough to be read
        eventually("the topic's route", Duration::from_secs(20), || async {
            Ok(client.admin().topic_route(&topic).await.is_ok())
        })
        .await?;
        Ok(topic)
    }

    /// A consumer from the first offset with an own group.
    pub fn consumer(&self, client: &Client, subscriptions: Vec<Subscription>) -> Result<Consumer, Error> {
        let mut config = ConsumerConfig::new(self.name("group"), subscriptions);
        config.start_from = StartFrom::First;
        Consumer::start(client, config)
    }
}

/// Receives deliveries until there are `count` or the time is over, acknowledging each.
pub async fn receive(consumer: &Consumer, count: usize, limit: Duration) -> Vec<ReceivedMessage> {
    receive_with(consumer, count, limit, |delivery| {
        let message = delivery.message().clone();
        delivery.ack();
        message
    })
    .await
}

/// Receives deliveries until there are `count` or the time is over, and gives each to `settle`.
pub async fn receive_with<T>(
    consumer: &Consumer,
    count: usize,
    limit: Duration,
    mut settle: impl FnMut(Delivery) -> T,
) -> Vec<T> {
    let mut received = Vec::new();
    let gather = async {
        while received.len() < count {
            let Some(delivery) = consumer.recv().await else { break };
            received.push(settle(delivery));
        }
    };
    let _ = tokio::time::timeout(limit, gather).await;
    received
}

/// Sends numbered messages one after the other.
pub async fn send_numbered(producer: &Producer, topic: &str, count: usize) -> Result<(), Failure> {
    for number in 0..count {
        producer.send(Message::new(topic, number.to_string())).await?;
    }
    Ok(())
}

/// Bodies as text, sorted.
pub fn sorted_bodies(messages: &[ReceivedMessage]) -> Vec<String> {
    let mut bodies: Vec<String> = messages.iter().map(body).collect();
    bodies.sort();
    bodies
}

pub fn body(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// Waits until `probe` is true.
pub async fn eventually<F: Future<Output = Result<bool, Failure>>>(
    what: &str,
    limit: Duration,
    probe: impl Fn() -> F,
) -> Outcome {
    let end = Instant::now() + limit;
    while !probe().await? {
        if Instant::now() > end {
            return Err(format!("{what} did not come within {} s", limit.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+).into());
        }
    };
}
pub(crate) use ensure;

/// Runs the cases and returns the process's exit code.
pub fn run(cases: Vec<Case>) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        cases.iter().for_each(|case| println!("{}: {}: test", case.area, case.title));
        return ExitCode::SUCCESS;
    }
    let instances: Vec<Instance> = match INSTANCES.iter().map(|name| Instance::load(name)).collect() {
        Ok(instances) => instances,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a tokio runtime should start");
    let results = runtime.block_on(run_all(&cases, &instances, &filters));
    super::own::stop();
    let failed = results.values().flat_map(BTreeMap::values).filter(|passed| !**passed).count();
    let passed = results.values().flat_map(BTreeMap::values).filter(|passed| **passed).count();
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        return ExitCode::FAILURE;
    }
    if filters.is_empty() { check_document(&table(&cases, &results)) } else { ExitCode::SUCCESS }
}

type Results = BTreeMap<usize, BTreeMap<&'static str, bool>>;

async fn run_all(cases: &[Case], instances: &[Instance], filters: &[String]) -> Results {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let turns: BTreeMap<&str, Arc<Semaphore>> =
        instances.iter().map(|instance| (instance.name, Arc::new(Semaphore::new(1)))).collect();
    let mut running = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        for instance in instances {
            let label = format!("{} {}: {}", instance.name, case.area, case.title);
            if !(case.only)(instance)
                || !(filters.is_empty() || filters.iter().any(|filter| label.contains(filter.as_str())))
            {
                continue;
            }
            let id = format!("{stamp}-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
            let (context, run) = (Context { instance: instance.clone(), id }, case.run.clone());
            // those on servers of their own mostly wait for these to start, so they run beside the others
            let slots = if case.own_servers { turns[instance.name].clone() } else { slots.clone() };
            let name = instance.name;
            running.push(tokio::spawn(async move {
                let _slot = slots.acquire().await;
                let started = Instant::now();
                // a task of its own, so that a panic fails this case only
                let outcome = tokio::time::timeout(CASE_LIMIT, tokio::spawn(run(context))).await;
                let seconds = started.elapsed().as_secs_f64();
                let failure = match outcome {
                    Ok(Ok(Ok(()))) => None,
                    Ok(Ok(Err(error))) => Some(error.to_string()),
                    Ok(Err(panic)) => Some(panic.to_string()),
                    Err(_) => Some(format!("not done after {} s", CASE_LIMIT.as_secs())),
                };
                match &failure {
                    None => println!("ok      {label} ({seconds:.1} s)"),
                    Some(error) => println!("FAILED  {label} ({seconds:.1} s): {error}"),
                }
                (at, name, failure.is_none())
            }));
        }
    }
    let mut results = Results::new();
    for task in running {
        if let Ok((at, name, passed)) = task.await {
            results.entry(at).or_default().insert(name, passed);
        }
    }
    results
}

fn table(cases: &[Case], results: &Results) -> String {
    let mut text =
        format!("| area | case | {} |\n|---|---|{}\n", INSTANCES.join(" | "), "---|".repeat(INSTANCES.len()));
    for (at, case) in cases.iter().enumerate() {
        let cells: Vec<&str> = INSTANCES
            .iter()
            .map(|name| match results.get(&at).and_then(|row| row.get(name)) {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "–",
            })
            .collect();
        text.push_str(&format!("| {} | {} | {} |\n", case.area, case.title, cells.join(" | ")));
    }
    text
}

/// The document must show the table of this run.
fn check_document(table: &str) -> ExitCode {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let document = format!(
        "# Compatibility with Apache RocketMQ\n\n\
         Generated by the conformance suite (`make conformance`): each case was run against brokers of Apache RocketMQ, plain, with \
         ACL (4.9.7: ACL 1.0, 5.4.0: ACL 2.0) and with TLS. A dash means that the case has no meaning there.\n\n{table}"
    );
    if std::env::var_os("UPDATE").is_some() {
        return match std::fs::write(&file, document) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}: {error}", file.display());
                ExitCode::FAILURE
            }
        };
    }
    if std::fs::read_to_string(&file).is_ok_and(|known| known == document) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: docs/compatibility.md does not show this run; UPDATE=1 make conformance writes it");
    ExitCode::FAILURE
}
