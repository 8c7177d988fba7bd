//! The client: name servers, routes, signed requests to brokers, heartbeats and the brokers' own requests. Producers,
//! consumers and the admin share one client and its connections.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::admin::Admin;
use super::auth;
use super::broker_requests;
use super::config::{ClientConfig, Credentials};
use super::connection::Connection;
use super::consumer::Member;
use super::error::{Error, ErrorKind, Result};
use super::heartbeat;
use super::message::with_namespace;
use super::name_server::NameServers;
use super::pool::Pool;
use super::producer::TransactionChecker;
use super::route::{BrokerInfo, MASTER_ID, Queue, TopicRoute};
use super::route_cache::RouteCache;
use super::wire::codes::{request, response};
use super::wire::{Command, loose_json};

/// Requests of brokers that may wait for their handler.
const BROKER_REQUEST_QUEUE: usize = 256;
/// How long leaving a group waits for heartbeats that are under way.
const HEARTBEAT_WAIT: Duration = Duration::from_secs(2);

/// A connection to a RocketMQ cluster. Cheap to clone; all clones share connections, routes and heartbeats.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

/// Shared state of a client.
pub(crate) struct Inner {
    pub config: ClientConfig,
    pub client_id: String,
    pub pool: Pool,
    pub name_servers: NameServers,
    pub token: CancellationToken,
    /// Wakes the heartbeat task: a group joined or a connection was lost.
    pub heartbeat_wanted: Notify,
    /// Held for reading while heartbeats are under way: one that still lists a group must not arrive after the group has been
    /// left, or brokers would keep queues for a member that is gone until it expires after two minutes.
    pub heartbeats: tokio::sync::RwLock<()>,
    pub routes: RouteCache,
    credentials: RwLock<Option<Arc<Credentials>>>,
    brokers: Mutex<BTreeMap<String, BrokerInfo>>,
    producers: Mutex<BTreeMap<String, ProducerGroup>>,
    consumers: Mutex<Vec<Weak<Member>>>,
    watched: Mutex<HashSet<String>>,
}

/// A producer group that brokers know through our heartbeats.
#[derive(Clone, Default)]
pub(crate) struct ProducerGroup {
    pub checker: Option<TransactionChecker>,
}

impl Client {
    /// Checks the configuration and starts the client's tasks on the current tokio runtime; nothing is dialled yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the field and the value.
    pub fn new(config: ClientConfig) -> Result<Self> {
        let config = config.validate()?;
        let (requests, queue) = mpsc::channel(BROKER_REQUEST_QUEUE);
        let token = CancellationToken::new();
        let inner = Arc::new(Inner {
            client_id: format!("{}@{}", host_name(), config.instance_name),
            pool: Pool::new(&config, requests, token.clone())?,
            name_servers: NameServers::new(&config),
            heartbeat_wanted: Notify::new(),
            heartbeats: tokio::sync::RwLock::default(),
            credentials: RwLock::new(config.credentials.clone().map(Arc::new)),
            routes: RouteCache::default(),
            brokers: Mutex::default(),
            producers: Mutex::default(),
            consumers: Mutex::default(),
            watched: Mutex::default(),
            token,
            config,
        });
        tokio::spawn(heartbeat::run(Arc::downgrade(&inner), inner.token.clone(), inner.config.heartbeat_interval));
        tokio::spawn(broker_requests::run(Arc::downgrade(&inner), inner.token.clone(), queue));
        Ok(Self(inner))
    }

    /// Replaces the credentials for all requests from now on; what is in flight goes on.
    pub fn set_credentials(&self, credentials: Option<Credentials>) {
        *self.0.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials.map(Arc::new);
        self.0.heartbeat_wanted.notify_one();
    }

    /// Queries and changes of topics, groups and offsets.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// The readable queues of a topic, as a name server told last, in the order broker, queue id; none while that is not known.
    #[must_use]
    pub fn known_queues(&self, topic: &str) -> Option<Vec<Queue>> {
        let scoped = self.0.scoped(topic);
        self.0.cached_route(&scoped).map(|route| route.readable_queues(&scoped))
    }

    /// The id under which brokers know this client.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Leaves all groups and ends all connections. Producers and consumers should be shut down before.
    pub async fn shutdown(&self) {
        let groups: Vec<String> = lock(&self.0.producers).keys().cloned().collect();
        for group in groups {
            self.0.unregister("producerGroup", &group).await;
        }
        self.0.token.cancel();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Inner {
    /// The name with this client's namespace.
    pub fn scoped(&self, name: &str) -> String {
        with_namespace(self.config.namespace.as_deref(), name)
    }

    /// Signs a request with the current credentials.
    pub fn sign(&self, mut request: Command) -> Command {
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(credentials) = credentials {
            auth::sign(&mut request, &credentials);
        }
        request
    }

    /// Sends a request to a broker and returns its successful answer.
    ///
    /// # Errors
    /// Connection failures, and any answer other than success with the broker's code and words; `subject` says what the
    /// request was about.
    pub async fn call(&self, address: &str, request: Command, subject: &str) -> Result<Command> {
        let answer = self.exchange(address, request, self.config.request_timeout).await?;
        check(answer, address, subject)
    }

    /// Sends a request to a broker and returns its answer, whatever its code.
    ///
    /// # Errors
    /// Connection failures.
    pub async fn exchange(&self, address: &str, request: Command, limit: Duration) -> Result<Command> {
        let connection = self.connection(address).await?;
        connection.invoke(self.sign(request), limit).await
    }

    /// The connection to a broker; a heartbeat follows when it is lost, so that groups are known again soon.
    pub async fn connection(&self, address: &str) -> Result<Arc<Connection>> {
        self.pool.get(address).await
    }

    /// Asks the name servers and returns the successful answer.
    ///
    /// # Errors
    /// None answers, or the answer is not success.
    pub async fn ask_name_server(&self, request: Command, subject: &str) -> Result<Command> {
        let answer = self.name_servers.invoke(&self.pool, || self.sign(request.clone())).await?;
        check(answer, "the name server", subject)
    }

    /// The route of a topic (with namespace), from the cache when it is fresh; a stale one is used while it is renewed.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`] when the name servers know no route.
    pub async fn route(self: &Arc<Self>, topic: &str) -> Result<Arc<TopicRoute>> {
        match self.cached_route(topic) {
            Some(route) => Ok(route),
            None => self.refresh_route(topic).await,
        }
    }

    /// The route of a topic if it is known; a stale one is renewed in the background.
    pub fn cached_route(self: &Arc<Self>, topic: &str) -> Option<Arc<TopicRoute>> {
        let age = self.config.route_refresh;
        let (route, is_wanted) = self.routes.get(topic, age)?;
        if is_wanted {
            let (client, topic) = (self.clone(), topic.to_owned());
            tokio::spawn(async move {
                if let Err(error) = client.refresh_route(&topic).await {
                    client.routes.failed(&topic, age, &error);
                }
            });
        }
        Some(route)
    }

    /// Asks the name servers for a route now.
    ///
    /// # Errors
    /// See [`Inner::route`].
    pub async fn refresh_route(&self, topic: &str) -> Result<Arc<TopicRoute>> {
        let request = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with("topic", topic);
        let answer = self.ask_name_server(request, &format!("topic {topic}")).await?;
        let body = loose_json::parse(&answer.body).map_err(|error| {
            Error::new(ErrorKind::Protocol, format!("the name server's route of topic {topic}: {error}"))
        })?;
        let route = Arc::new(TopicRoute::from_loose(&body));
        let mut brokers = lock(&self.brokers);
        for broker in &route.brokers {
            brokers.insert(broker.name.clone(), broker.clone());
        }
        drop(brokers);
        self.routes.put(topic, route.clone());
        Ok(route)
    }

    /// Forgets a route, so that the next use asks for it.
    pub fn forget_route(&self, topic: &str) {
        self.routes.forget(topic);
    }

    /// Address of a broker's master.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] when no route shows one.
    pub fn master_address(&self, broker_name: &str) -> Result<String> {
        self.broker_address(broker_name, MASTER_ID, true)
    }

    /// Address of a broker's replica `id`, or of its master, or of any when `exact` is false.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] when no route shows one.
    pub fn broker_address(&self, broker_name: &str, id: i64, exact: bool) -> Result<String> {
        let brokers = lock(&self.brokers);
        let addresses = brokers.get(broker_name).map(|broker| &broker.addresses);
        let found = addresses
            .and_then(|addresses| addresses.get(&id).or_else(|| (!exact).then(|| addresses.values().next()).flatten()));
        found.cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Connect,
                format!("broker {broker_name} has no address with id {id}: it is down or has left the cluster"),
            )
        })
    }

    /// Addresses of all brokers that routes have shown; replicas only when `replicas`.
    pub fn broker_addresses(&self, replicas: bool) -> BTreeSet<String> {
        let brokers = lock(&self.brokers);
        let all = brokers.values().flat_map(|broker| &broker.addresses);
        all.filter(|(id, _)| replicas || **id == MASTER_ID).map(|(_, address)| address.clone()).collect()
    }

    /// Registers a producer group with the brokers' heartbeats.
    pub fn join_producers(&self, group: &str, checker: Option<TransactionChecker>) {
        lock(&self.producers).insert(group.to_owned(), ProducerGroup { checker });
        self.heartbeat_wanted.notify_one();
    }

    /// The producer groups.
    pub fn producers(&self) -> BTreeMap<String, ProducerGroup> {
        lock(&self.producers).clone()
    }

    /// Registers a member of a consumer group with the brokers' heartbeats.
    pub fn join_consumers(&self, member: &Arc<Member>) {
        lock(&self.consumers).push(Arc::downgrade(member));
        self.heartbeat_wanted.notify_one();
    }

    /// The members of consumer groups that still run.
    pub fn consumers(&self) -> Vec<Arc<Member>> {
        let mut consumers = lock(&self.consumers);
        consumers.retain(|member| member.strong_count() > 0);
        consumers.iter().filter_map(Weak::upgrade).filter(|member| !member.is_leaving()).collect()
    }

    /// Tells all brokers that this client leaves a group; `field` is `producerGroup` or `consumerGroup`.
    pub async fn unregister(&self, field: &'static str, group: &str) {
        // brokers that can be reached have answered by then
        drop(tokio::time::timeout(HEARTBEAT_WAIT, self.heartbeats.write()).await);
        for address in self.broker_addresses(true) {
            let request =
                Command::request(request::UNREGISTER_CLIENT).with("clientID", &self.client_id).with(field, group);
            if let Err(error) = self.call(&address, request, group).await {
                tracing::debug!(group, %error, "a broker could not be told that this client leaves; it notices by itself");
            }
        }
    }

    /// Wakes the heartbeat task when this connection ends; once per connection.
    pub fn watch_connection(self: &Arc<Self>, address: &str, connection: Arc<Connection>) {
        if !lock(&self.watched).insert(address.to_owned()) {
            return;
        }
        let (client, address) = (Arc::downgrade(self), address.to_owned());
        tokio::spawn(async move {
            connection.wait_closed().await;
            if let Some(client) = client.upgrade() {
                lock(&client.watched).remove(&address);
                client.heartbeat_wanted.notify_one();
            }
        });
    }
}

/// The answer when it is a success, else the error that it means.
pub(crate) fn check(answer: Command, peer: &str, subject: &str) -> Result<Command> {
    match i32::from(answer.code) {
        response::SUCCESS => Ok(answer),
        code => Err(Error::from_response(code, &answer.remark, peer, subject)),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".into(), |name| name.trim().to_owned())
}
