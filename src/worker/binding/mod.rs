//! Role binding: an input, an output, or both, on one client.
//!
//! ```text
//! app ◂─ input ◂─ Consumer ─┐
//!                           ├─ Client ── RocketMQ
//! caller ─▸ server ─▸ output ─▸ Producer ─┘
//! ```
//! The API answers from the start, so that callers get a reason instead of a refused connection; input and readiness wait
//! until the cluster was reached with the credentials at hand.

pub mod app;
pub mod attributes;
pub mod backoff;
pub mod cloud_event;
pub mod encoding;
pub mod health;
pub mod input;
pub mod output;
pub mod reader;
pub mod render;
pub mod request;
pub mod subscription;
pub mod trace;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connection::probe;
use super::error::{Error, Result};
use super::metrics::BindingMetrics;
use super::report::Reporter;
use super::server::{self, Api, Listeners};
use super::{Context, config};
use crate::rocketmq::{Client, Producer, ProducerConfig};
use crate::worker_config::binding::BindingConfig;
use crate::worker_config::report::{BindingReport, WorkerState};
use health::{Health, Part};
use input::Input;
use output::Output;
use reader::Reader;

/// First and longest wait between two attempts to connect.
const CONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Time between two looks at a broker that refused a publication.
const RECHECK: Duration = Duration::from_secs(10);
/// How long callers of the API may take for what they have begun when the worker drains.
const API_DRAIN: Duration = Duration::from_secs(20);

/// A binding that is ready to run.
pub struct Binding {
    context: Context,
    config: Arc<BindingConfig>,
    metrics: BindingMetrics,
    health: Arc<Health>,
    output: Arc<Output>,
    reader: Arc<Reader>,
    input: Option<Arc<Input>>,
    api: Option<(Listeners, Arc<Api>)>,
}

impl Binding {
    /// Prepares a binding; `listeners` are the API's when there is an output.
    ///
    /// # Errors
    /// The app's URL or a token file cannot be used.
    pub fn new(context: Context, config: BindingConfig, listeners: Option<Listeners>) -> Result<Self> {
        let (config, health) = (Arc::new(config), Arc::new(Health::default()));
        let metrics = BindingMetrics::register(&context.metrics, &context.identity);
        let reporter = &context.reporter;
        let output = Output::new(Arc::clone(&config), metrics.output.clone(), reporter.clone(), Arc::clone(&health));
        let output = Arc::new(output);
        let reader = Arc::new(Reader::new(Arc::clone(&config), metrics.clone(), reporter.clone()));
        let input = config.input.clone().map(|input| {
            let (config, output, health) = (Arc::clone(&config), Arc::clone(&output), Arc::clone(&health));
            Input::new(config, input, output, metrics.clone(), reporter.clone(), health).map(Arc::new)
        });
        let api = match (&config.output, listeners) {
            (Some(settings), Some(listeners)) => {
                let token = settings.token_file.as_deref().map(config::TokenFile::open).transpose()?;
                Some((listeners, Arc::new(Api::new(Arc::clone(&output), Arc::clone(&reader), settings.clone(), token))))
            }
            _ => None,
        };
        Ok(Self { input: input.transpose()?, context, config, metrics, health, output, reader, api })
    }

    /// Runs until `token` is cancelled, then drains.
    ///
    /// # Errors
    /// The API's listener failed, or the client refused the configuration.
    pub async fn run(mut self, token: CancellationToken) -> Result<()> {
        let api = self.api.take();
        // The consumer, the API and the report end together, also when one of them fails.
        let stop = token.child_token();
        let serve = async {
            let Some((listeners, api)) = api else { return Ok(()) };
            let served = server::serve(listeners, api, stop.clone(), API_DRAIN).await;
            stop.cancel();
            served
        };
        let work = async {
            let worked = self.work(&stop).await;
            stop.cancel();
            worked
        };
        let (served, worked, (), ()) = tokio::join!(serve, work, self.observe(&stop), self.reader.tend(&stop));
        self.reader.set_client(None).await;
        if let Some(producer) = self.output.set_producer(None) {
            producer.shutdown().await;
        }
        if let Some(client) = worked? {
            client.shutdown().await;
        }
        self.publish_report();
        served
    }

    /// Builds a client and works with it, and again with a new one when certificates have changed. Gives back the last
    /// client, which the API may still be using.
    async fn work(&self, token: &CancellationToken) -> Result<Option<Client>> {
        let mut last: Option<Client> = None;
        while let Some(client) = self.build_client(token).await? {
            if let Some(before) = last.replace(client.clone()) {
                before.shutdown().await;
            }
            let session = token.child_token();
            let retry = Notify::new();
            let deliver = async {
                let delivered = self.deliver(&client, &session, &retry).await;
                session.cancel();
                delivered
            };
            let watch = async {
                let cluster = &self.config.cluster;
                config::watch(cluster, &client, &self.context.reporter, &session, || retry.notify_one()).await;
                session.cancel();
            };
            let (delivered, ()) = tokio::join!(deliver, watch);
            delivered?;
            if token.is_cancelled() {
                break;
            }
        }
        Ok(last)
    }

    /// A client and its producer; waits for credential and certificate files that cannot be read yet.
    async fn build_client(&self, token: &CancellationToken) -> Result<Option<Client>> {
        loop {
            let read = config::client_config(&self.config.cluster, &self.context.identity);
            match read {
                Ok(settings) => {
                    let refused = |source| Error::RocketMq { what: "failed to build the client", source };
                    let client = Client::new(settings).map_err(refused)?;
                    let before = self.output.set_producer(self.build_producer(&client)?);
                    if let Some(before) = before {
                        before.shutdown().await;
                    }
                    self.reader.set_client(Some(client.clone())).await;
                    return Ok(Some(client));
                }
                Err(error) => self.health.set(Part::Cluster, Some(error.report())),
            }
            if token.run_until_cancelled(tokio::time::sleep(config::POLL)).await.is_none() {
                return Ok(None);
            }
        }
    }

    fn build_producer(&self, client: &Client) -> Result<Option<Producer>> {
        let has_dead_letters = self.config.input.as_ref().is_some_and(|input| input.dead_letter_topic.is_some());
        let limit = self.config.output.as_ref().map(|output| output.max_body_bytes);
        if limit.is_none() && !has_dead_letters {
            return Ok(None);
        }
        let mut settings = ProducerConfig::new(&self.config.group);
        if let Some(limit) = limit {
            settings.max_message_size = usize::try_from(limit).unwrap_or(usize::MAX);
        }
        let refused = |source| Error::RocketMq { what: "failed to build the producer", source };
        Producer::new(client, settings).map(Some).map_err(refused)
    }

    /// Connects, then delivers to the app until `session` ends.
    async fn deliver(&self, client: &Client, session: &CancellationToken, retry: &Notify) -> Result<()> {
        if !self.connect(client, session, retry).await {
            return Ok(());
        }
        let work = async {
            match &self.input {
                Some(input) => {
                    let stop = session.child_token();
                    let run = async {
                        let ran = Arc::clone(input).run(client, session).await;
                        stop.cancel();
                        ran
                    };
                    let look = subscription::watch(client, &self.config, &self.context.reporter, &stop);
                    tokio::join!(run, look).0
                }
                None => {
                    session.cancelled().await;
                    Ok(())
                }
            }
        };
        let (worked, ()) = tokio::join!(work, self.recheck(client, session, retry));
        worked
    }

    /// Looks again after a failed publication: without further calls nothing else would tell that the broker is back.
    async fn recheck(&self, client: &Client, session: &CancellationToken, retry: &Notify) {
        let pause = async || {
            tokio::select! {
                () = tokio::time::sleep(RECHECK) => {}
                () = retry.notified() => {}
            }
        };
        while session.run_until_cancelled(pause()).await.is_some() {
            if self.health.has(Part::Producer) && probe(client).await.is_ok() {
                self.health.clear(Part::Producer);
            }
        }
    }

    /// Tries until the cluster takes the credentials; false when `session` ends before. New credentials are tried at once.
    async fn connect(&self, client: &Client, session: &CancellationToken, retry: &Notify) -> bool {
        let mut wait = CONNECT.0;
        let mut attempt = 1;
        let trying = async {
            while let Err(trouble) = probe(client).await {
                tracing::warn!(
                    attempt,
                    reason = trouble.reason,
                    error = trouble.message,
                    "failed to connect to RocketMQ"
                );
                if attempt >= self.config.retries {
                    self.health.set(Part::Cluster, Some(trouble));
                } else {
                    self.context.reporter.record_error(trouble);
                }
                attempt += 1;
                tokio::select! {
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(CONNECT.1),
                    () = retry.notified() => wait = CONNECT.0,
                }
            }
        };
        let is_connected = session.run_until_cancelled(trying).await.is_some();
        if is_connected {
            self.health.clear(Part::Cluster);
            self.health.clear(Part::Producer);
            self.health.connected();
        }
        is_connected
    }

    /// Keeps report and readiness up to date until `token` is cancelled.
    async fn observe(&self, token: &CancellationToken) {
        let reporter: &Reporter = &self.context.reporter;
        loop {
            self.publish_report();
            match self.health.trouble() {
                Some(trouble) => reporter.set_health(Some(trouble)),
                None if self.health.is_connected() => reporter.set_health(None),
                None => {}
            }
            if self.health.is_connected() {
                self.context.gate.ready();
            }
            if token.run_until_cancelled(tokio::time::sleep(Duration::from_millis(500))).await.is_none() {
                self.context.gate.wait("nothing any more: the worker drains and ends");
                reporter.set_state(WorkerState::Draining, Some("finishing what is in flight".to_owned()));
                return;
            }
        }
    }

    fn publish_report(&self) {
        let BindingMetrics { input, output, redelivered, dead_lettered, lag, queues } = &self.metrics;
        let in_flight = input.in_flight.get() + output.in_flight.get();
        self.context.reporter.set_binding(BindingReport {
            messages_in: input.sent.get(),
            messages_out: output.sent.get(),
            failed: input.failed.get() + output.failed.get(),
            redelivered: redelivered.get(),
            dead_lettered: dead_lettered.get(),
            in_flight: u64::try_from(in_flight).unwrap_or(0),
            lag: u64::try_from(lag.get()).ok(),
            queues: u32::try_from(queues.get()).unwrap_or(0),
        });
    }
}
