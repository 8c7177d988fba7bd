//! Leader election: of several operators only the holder of a Lease reconciles.

use std::future::Future;
use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::settings::Settings;

/// Name of the Lease in the operator's namespace.
pub const LEASE: &str = "rocketmq-connector-operator";
/// Longest time that releasing the lease may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// Runs `work` whenever this process leads, until `token` is cancelled. The token given to `work` is cancelled when
/// leadership is lost; `work` has ended before this process can lead, or release the lease, again.
///
/// # Errors
/// The Lease cannot be read or created.
pub async fn lead<Work, Running>(
    client: Client,
    settings: &Settings,
    token: &CancellationToken,
    mut work: Work,
) -> Result<(), LeaseManagerError>
where
    Work: FnMut(CancellationToken) -> Running,
    Running: Future<Output = ()>,
{
    if !settings.leader_election {
        work(token.child_token()).await;
        return Ok(());
    }
    let duration = settings.lease_duration.as_secs().max(5);
    let manager = LeaseManagerBuilder::new(client, LEASE)
        .with_namespace(&settings.operator_namespace)
        .with_identity(&settings.pod_name)
        .with_duration(duration)
        // Renewed at half of its life: a busy node or API server does not cost the leadership.
        .with_grace(duration / 2)
        .build()
        .await?;
    let (mut leading, manager) = manager.watch().await;
    while wait_until(&mut leading, true, token).await {
        tracing::info!(lease = LEASE, identity = settings.pod_name, "leading");
        let term = token.child_token();
        let running = work(term.clone());
        tokio::pin!(running);
        tokio::select! {
            () = &mut running => continue,
            lost = wait_until(&mut leading, false, token) => {
                tracing::info!(lease = LEASE, lost, "no longer leading, ending the controllers");
                term.cancel();
                running.await;
            }
        }
    }
    // Closing the channel makes the manager release the lease, so that the next leader need not wait for it to expire.
    drop(leading);
    // A request under way, or an API server that does not answer, must not keep the process from ending.
    let abort = manager.abort_handle();
    match tokio::time::timeout(RELEASE_LIMIT, manager).await {
        Ok(Ok(released)) => released.map(|_| ()),
        Ok(Err(_)) => Ok(()),
        Err(_) => {
            abort.abort();
            tracing::warn!(lease = LEASE, "the lease was not released in time; it expires by itself");
            Ok(())
        }
    }
}

/// Waits until the state is `wanted`; `false` when `token` was cancelled or the election has ended.
async fn wait_until(leading: &mut watch::Receiver<bool>, wanted: bool, token: &CancellationToken) -> bool {
    tokio::select! {
        // First, so that no term begins after the end was asked for.
        biased;
        () = token.cancelled() => false,
        state = leading.wait_for(|state| *state == wanted) => state.is_ok(),
    }
}
