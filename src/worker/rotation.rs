//! Takes up what changes in the mounted files of a cluster while a worker runs.
//!
//! Changed credentials are tried on the cluster by a client of their own first: only when it takes them are they given to the
//! client that works, whose requests go on meanwhile. Credentials that are refused change nothing but the worker's report.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::config::{Change, POLL, Seen, client_config};
use super::connection::probe;
use super::error::reported;
use super::report::Reporter;
use crate::rocketmq::{Client, Credentials};
use crate::worker_config::Identity;
use crate::worker_config::connection::ClusterConfig;
use crate::worker_config::report::{ReportedError, warnings};

/// Time until credentials that were refused are tried again: the cluster may hear of them later than the worker.
const RETRY: Duration = Duration::from_secs(15);

/// Longest time that trying credentials may take.
const LIMIT: Duration = Duration::from_secs(15);

struct Candidate {
    credentials: Option<Credentials>,
    due: Instant,
}

/// Whose credentials change.
pub trait CredentialUser: Sync {
    /// Whether the cluster takes `credentials`.
    fn try_out(&self, credentials: Option<Credentials>) -> impl Future<Output = Result<(), ReportedError>> + Send;

    /// Uses `credentials`, which the cluster takes, from now on.
    fn take(&self, credentials: Option<Credentials>);
}

/// A RocketMQ client whose credentials change.
struct ClientUser<'a, Told> {
    cluster: &'a ClusterConfig,
    client: &'a Client,
    identity: Identity,
    on_credentials: Told,
}

impl<Told: Fn() + Sync> CredentialUser for ClientUser<'_, Told> {
    async fn try_out(&self, credentials: Option<Credentials>) -> Result<(), ReportedError> {
        try_out(self.cluster, &self.identity, credentials).await
    }

    fn take(&self, credentials: Option<Credentials>) {
        self.client.set_credentials(credentials);
        (self.on_credentials)();
    }
}

/// Watches the files of a cluster: changed credentials go to `client` when the cluster takes them. Returns when certificate
/// files have changed, for then the client must be built anew, or when `token` is cancelled.
pub async fn watch(
    cluster: &ClusterConfig,
    client: &Client,
    reporter: &Reporter,
    token: &CancellationToken,
    on_credentials: impl Fn() + Sync,
) {
    let identity = reporter.current().identity;
    follow(cluster, &ClientUser { cluster, client, identity, on_credentials }, reporter, token).await;
}

/// The same for `user`, whatever it speaks.
pub async fn follow(
    cluster: &ClusterConfig,
    user: &impl CredentialUser,
    reporter: &Reporter,
    token: &CancellationToken,
) {
    let mut seen = Seen::new(cluster);
    let mut candidate: Option<Candidate> = None;
    while token.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
        match seen.look_again(cluster) {
            Ok(Change::None) => {}
            Ok(Change::Credentials(credentials)) => candidate = Some(Candidate { credentials, due: Instant::now() }),
            Ok(Change::Certificates) => {
                tracing::info!("certificate files changed, the client connects again");
                reporter.set_warning(warnings::CREDENTIALS_REFUSED, None);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "keeping the credentials and certificates read before");
                reporter.record_error(error.report());
            }
        }
        let Some(due) = candidate.take_if(|candidate| candidate.due <= Instant::now()) else { continue };
        let tried = user.try_out(due.credentials.clone());
        match token.run_until_cancelled(tried).await {
            None => return,
            Some(Ok(())) => {
                tracing::info!("the cluster takes the changed credentials, the client uses them from now on");
                user.take(due.credentials);
                reporter.set_warning(warnings::CREDENTIALS_REFUSED, None);
            }
            Some(Err(trouble)) => {
                tracing::warn!(error = trouble.message, "keeping the credentials that are in use");
                reporter.set_warning(warnings::CREDENTIALS_REFUSED, Some(refused(&trouble)));
                candidate = Some(Candidate { due: Instant::now() + RETRY, ..due });
            }
        }
    }
}

/// Whether the cluster takes `credentials`.
async fn try_out(
    cluster: &ClusterConfig,
    identity: &Identity,
    credentials: Option<Credentials>,
) -> Result<(), ReportedError> {
    let mut settings = client_config(cluster, identity).map_err(|error| error.report())?;
    settings.credentials = credentials;
    let failed = |error: crate::rocketmq::Error| reported(error.reason(), error.to_string(), error.remedy());
    let client = Client::new(settings).map_err(failed)?;
    let outcome = tokio::time::timeout(LIMIT, probe(&client)).await;
    client.shutdown().await;
    outcome.unwrap_or_else(|_| {
        let message = format!("the cluster did not answer within {} s", LIMIT.as_secs());
        Err(reported("Timeout", message, "check that name servers and brokers can be reached"))
    })
}

fn refused(trouble: &ReportedError) -> ReportedError {
    let message = format!("the changed credentials do not work, the earlier ones stay in use: {}", trouble.message);
    reported(warnings::CREDENTIALS_REFUSED, message, format!("correct the Secret; {}", trouble.remedy))
}
