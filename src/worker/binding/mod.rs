//! Role binding: an input, an output, or both, on one link: a RocketMQ client, or one of an Aliyun MQ HTTP endpoint.
//!
//! ```text
//! app ◂─ input ◂─ Receiver ─┐
//!                           ├─ Link ── RocketMQ, or an endpoint
//! caller ─▸ server ─▸ output ─▸ Publisher ─┘
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
pub mod link;
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

use super::error::{Error, Result};
use super::metrics::BindingMetrics;
use super::report::Reporter;
use super::server::{self, Api, Listeners};
use super::{Context, config};
use crate::worker_config::binding::BindingConfig;
use crate::worker_config::report::{BindingReport, WorkerState};
use health::{Health, Part};
use input::Input;
use link::{Link, Publisher};
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
        if let Some(publisher) = self.output.set_publisher(None) {
            publisher.shutdown().await;
        }
        if let Some(link) = worked? {
            link.shutdown().await;
        }
        self.publish_report();
        served
    }

    /// Builds a link and works with it, and again with a new one when certificates have changed. Gives back the last link,
    /// which the API may still be using.
    async fn work(&self, token: &CancellationToken) -> Result<Option<Link>> {
        let mut last: Option<Link> = None;
        while let Some(link) = self.build_link(token).await? {
            if let Some(before) = last.replace(link.clone()) {
                before.shutdown().await;
            }
            let session = token.child_token();
            let retry = Notify::new();
            let deliver = async {
                let delivered = self.deliver(&link, &session, &retry).await;
                session.cancel();
                delivered
            };
            let watch = async {
                link.watch(&self.config, &self.context.reporter, &session, || retry.notify_one()).await;
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

    /// A link and its publisher; waits for credential and certificate files that cannot be read yet.
    async fn build_link(&self, token: &CancellationToken) -> Result<Option<Link>> {
        loop {
            match Link::open(&self.config, &self.context.identity) {
                Ok(link) => {
                    let before = self.output.set_publisher(self.build_publisher(&link)?);
                    if let Some(before) = before {
                        before.shutdown().await;
                    }
                    if let Link::Remoting(client) = &link {
                        self.reader.set_client(Some(client.clone())).await;
                    }
                    return Ok(Some(link));
                }
                // Of an endpoint, the certificates may be what cannot be used: they are waited for.
                Err(error @ Error::RocketMq { .. }) if self.config.http_endpoint.is_none() => {
                    return Err(error);
                }
                Err(error) => self.health.set(Part::Cluster, Some(error.report())),
            }
            if token.run_until_cancelled(tokio::time::sleep(config::POLL)).await.is_none() {
                return Ok(None);
            }
        }
    }

    fn build_publisher(&self, link: &Link) -> Result<Option<Publisher>> {
        let has_dead_letters = self.config.input.as_ref().is_some_and(|input| input.dead_letter_topic.is_some());
        let limit = self.config.output.as_ref().map(|output| output.max_body_bytes);
        if limit.is_none() && !has_dead_letters {
            return Ok(None);
        }
        link.publisher(&self.config.group, limit).map(Some)
    }

    /// Connects, then delivers to the app until `session` ends.
    async fn deliver(&self, link: &Link, session: &CancellationToken, retry: &Notify) -> Result<()> {
        if !self.connect(link, session, retry).await {
            return Ok(());
        }
        let work = async {
            match &self.input {
                Some(input) => {
                    let stop = session.child_token();
                    let run = async {
                        let ran = Arc::clone(input).run(link, session).await;
                        stop.cancel();
                        ran
                    };
                    let look = async {
                        // Over HTTP nobody tells who else is in the group.
                        if let Link::Remoting(client) = link {
                            subscription::watch(client, &self.config, &self.context.reporter, &stop).await;
                        }
                    };
                    tokio::join!(run, look).0
                }
                None => {
                    session.cancelled().await;
                    Ok(())
                }
            }
        };
        let (worked, ()) = tokio::join!(work, self.recheck(link, session, retry));
        worked
    }

    /// Looks again after a failed publication: without further calls nothing else would tell that the broker is back.
    async fn recheck(&self, link: &Link, session: &CancellationToken, retry: &Notify) {
        let pause = async || {
            tokio::select! {
                () = tokio::time::sleep(RECHECK) => {}
                () = retry.notified() => {}
            }
        };
        while session.run_until_cancelled(pause()).await.is_some() {
            if self.health.has(Part::Producer) && link.probe(&self.config).await.is_ok() {
                self.health.clear(Part::Producer);
            }
        }
    }

    /// Tries until the cluster takes the credentials; false when `session` ends before. New credentials are tried at once.
    async fn connect(&self, link: &Link, session: &CancellationToken, retry: &Notify) -> bool {
        let mut wait = CONNECT.0;
        let mut attempt = 1;
        let trying = async {
            while let Err(trouble) = link.probe(&self.config).await {
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
