//! Role connection: tests a RocketMQ cluster, again at the interval, when a mounted file changes and when the operator says so;
//! loads topics as models; and sends heartbeats while something uses the connection.

pub mod broker;
pub mod clock;
pub mod cluster;
pub mod group;
pub mod heartbeat;
pub mod models;
pub mod test;
pub mod topics;

use std::time::{Duration, Instant};

use clock::Clocks;
use tokio_util::sync::CancellationToken;

use super::error::{reported, rocketmq_report};
use super::{Context, config};
use crate::random;
use crate::rocketmq::{Client, Error, ErrorKind};
use crate::worker_config::ConnectionConfig;
use crate::worker_config::report::{ConnectionReport, ReportedError, TestResult, WorkerState};

/// Longest time until a failed test is repeated.
const RETRY_FAILED: Duration = Duration::from_secs(15);

/// What brokers say, in lower case, when a known user may not do something: two from 4.9 (`PlainPermissionManager`), whose class
/// name is part of every refusal, and one from 5.x.
const AUTHORIZATION: [&str; 3] = ["need admin permission", "no default permission", "has no permission"];

/// A connection that is looked after.
pub struct Connection {
    context: Context,
    config: ConnectionConfig,
    models: models::Store,
}

impl Connection {
    /// Prepares the role; dials nothing yet.
    #[must_use]
    pub fn new(context: Context, config: ConnectionConfig) -> Self {
        Self { context, config, models: models::Store::default() }
    }

    /// The routes under which the models are served.
    pub fn routes(&self) -> axum::Router {
        self.models.routes()
    }

    /// Tests, loads and beats until `token` is cancelled.
    pub async fn run(&self, token: CancellationToken) {
        let (context, config) = (self.context.clone(), self.config.clone());
        let load = async {
            if let Some(settings) = config.models.clone() {
                models::run(context.clone(), config.clone(), settings, self.models.clone(), token.clone()).await;
            }
        };
        let beat = async {
            if let Some(settings) = config.heartbeat.clone() {
                heartbeat::run(context.clone(), config.clone(), settings, token.clone()).await;
            }
        };
        tokio::join!(self.keep_testing(token.clone()), load, beat);
    }

    async fn keep_testing(&self, token: CancellationToken) {
        let reporter = &self.context.reporter;
        let mut instructions = reporter.instructions();
        let mut clocks = Clocks::asked_later();
        // Many workers may have started in the same moment: their second tests are anywhere in the interval.
        let mut least = 0.0;
        loop {
            let asked = instructions.borrow_and_update().test.clone();
            let testing = test::run(&self.config, &self.context.identity, &mut clocks);
            let Some(report) = token.run_until_cancelled(testing).await else { break };
            let trouble = first_failure(&report);
            match &trouble {
                Some(trouble) => self.context.gate.wait(trouble.message.clone()),
                None => self.context.gate.ready(),
            }
            reporter.set_connection(report);
            reporter.set_health(trouble.clone());
            let asked_again = instructions.wait_for(|instructions| instructions.test != asked);
            tokio::select! {
                () = self.wait(trouble.is_some(), least, &token) => {}
                _ = asked_again => {}
            }
            least = 0.9;
        }
        self.context.gate.wait("nothing any more: the worker ends");
        reporter.set_state(WorkerState::Draining, None);
    }

    /// Waits for the next test: the interval or a part of it, at least the share `least`, less when the last one failed, or a
    /// changed file.
    async fn wait(&self, has_failed: bool, least: f64, token: &CancellationToken) {
        let interval = Duration::from_secs(self.config.test_interval_seconds.max(1));
        let interval = if has_failed { interval.min(RETRY_FAILED) } else { interval };
        let interval = interval.mul_f64(least + (1.0 - least) * random::share());
        let (started, files) = (Instant::now(), config::fingerprint(&self.config.cluster));
        while started.elapsed() < interval && files == config::fingerprint(&self.config.cluster) {
            let pause = config::POLL.min(interval.saturating_sub(started.elapsed()));
            if token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }
}

/// The first failed item of a test as an error to report; its reason is the item's name with `Failed`.
#[must_use]
pub fn first_failure(report: &ConnectionReport) -> Option<ReportedError> {
    let item = report.items.iter().find(|item| item.result == TestResult::Failed)?;
    Some(reported(&format!("{}Failed", item.name), item.message.clone(), item.remedy.clone()))
}

/// Looks whether the cluster answers and takes the client's credentials.
///
/// # Errors
/// It does not, with the reason and the remedy.
pub async fn probe(client: &Client) -> Result<(), ReportedError> {
    let admin = client.admin();
    let cluster = admin.cluster().await.map_err(|error| rocketmq_report("failed to ask the name server", &error))?;
    let Some(address) = cluster.brokers.iter().find_map(|broker| broker.addresses.values().next()) else {
        let remedy = "start a broker, and check the name servers that it registers at (namesrvAddr)";
        return Err(reported("NoBroker", "the name server knows no broker", remedy));
    };
    match admin.broker_settings(address).await {
        Ok(_) => Ok(()),
        // The broker knows the user: only this question is not for everybody.
        Err(error) if is_authorization(&error) => Ok(()),
        Err(error) => Err(rocketmq_report("failed to ask the broker", &error)),
    }
}

/// Whether a broker refused what was asked and not who asked; a wrong signature or an unknown user is told in other words.
#[must_use]
pub fn is_authorization(error: &Error) -> bool {
    let remark = error.remark().unwrap_or_default().to_ascii_lowercase();
    error.kind() == ErrorKind::AccessDenied && AUTHORIZATION.iter().any(|words| remark.contains(words))
}
