//! What the operator process is told by its flags; `cli` fills it in.

use std::time::Duration;

/// Settings of the operator, the same for its whole life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The only namespace to watch; none watches the whole cluster.
    pub watch_namespace: Option<String>,
    /// Image of the worker pods: the operator's own, so that both planes are always of one version.
    pub worker_image: String,
    /// `imagePullPolicy` of the worker pods; none leaves it to Kubernetes.
    pub worker_image_pull_policy: Option<String>,
    /// Namespace of the operator: its lease lives there.
    pub operator_namespace: String,
    /// Name of this process's pod: its identity in the lease and in Events.
    pub pod_name: String,
    /// Whether a lease decides which of several operators reconciles.
    pub leader_election: bool,
    /// How long a lease is valid without renewal; a new leader takes over after at most this time. At least 5 s.
    pub lease_duration: Duration,
    /// Reconciliations of one kind at the same time, at least 1.
    pub concurrency: u16,
    /// Quiet time before an object is reconciled, so that a burst of changes costs one reconciliation.
    pub debounce: Duration,
    /// Longest time that one reconciliation may take.
    pub reconcile_timeout: Duration,
    /// Port of the workers' admin server, which serves `/status`.
    pub worker_admin_port: u16,
}

impl Settings {
    /// Settings with the defaults for everything that does not depend on where the operator runs.
    #[must_use]
    pub fn new(operator_namespace: &str, pod_name: &str, worker_image: &str) -> Self {
        Self {
            watch_namespace: None,
            worker_image: worker_image.to_owned(),
            worker_image_pull_policy: None,
            operator_namespace: operator_namespace.to_owned(),
            pod_name: pod_name.to_owned(),
            leader_election: true,
            lease_duration: Duration::from_secs(15),
            concurrency: 8,
            debounce: Duration::from_millis(100),
            reconcile_timeout: Duration::from_secs(30),
            worker_admin_port: 8080,
        }
    }
}
