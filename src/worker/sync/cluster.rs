//! A RocketMQ cluster as a side of a pipeline: a client that follows its mounted files.

use tokio_util::sync::CancellationToken;

use super::Setting;
use crate::rocketmq::Client;
use crate::worker::config;
use crate::worker::connection::probe;
use crate::worker::error::rocketmq_report;
use crate::worker_config::ClusterConfig;
use crate::worker_config::report::ReportedError;

/// A client whose credentials are those of the mounted files; changed certificates end the session, which begins anew.
pub struct Followed {
    client: Client,
    stop: CancellationToken,
}

impl Followed {
    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the client.
    pub async fn close(&self) {
        self.stop.cancel();
        self.client.shutdown().await;
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Connects to a cluster; `side` is `the source` or `the target`.
///
/// # Errors
/// A file cannot be read, the cluster does not answer, or it does not take the credentials.
pub async fn connect(setting: &Setting, cluster: &ClusterConfig, side: &str) -> Result<Followed, ReportedError> {
    let at_side = |mut report: ReportedError| {
        report.message = format!("{side}: {}", report.message);
        report
    };
    let settings = config::client_config(cluster, &setting.identity).map_err(|error| at_side(error.report()))?;
    let client = Client::new(settings)
        .map_err(|error| rocketmq_report(&format!("{side}: failed to build the client"), &error))?;
    if let Err(report) = probe(&client).await {
        client.shutdown().await;
        return Err(at_side(report));
    }
    let stop = setting.session.child_token();
    tokio::spawn({
        let (cluster, client, reporter) = (cluster.clone(), client.clone(), setting.reporter.clone());
        let (stop, session) = (stop.clone(), setting.session.clone());
        async move {
            config::watch(&cluster, &client, &reporter, &stop, || {}).await;
            // Returns without being stopped when certificates have changed.
            if !stop.is_cancelled() {
                session.cancel();
            }
        }
    });
    Ok(Followed { client, stop })
}
