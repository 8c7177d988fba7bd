//! Condition types and reasons, one list for conditions, Events and metric labels.

/// Types of `status.conditions`.
pub mod types {
    /// Summary: the resource does what its spec asks for. `Unknown` until it was first looked at.
    pub const READY: &str = "Ready";
    /// The spec is valid.
    pub const ACCEPTED: &str = "Accepted";
    /// Secrets, ConfigMaps and connections that the spec names were found.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// Abnormal when true: the operator or its workers are still getting there (kstatus).
    pub const RECONCILING: &str = "Reconciling";
    /// Abnormal when true: nothing will change until someone acts (kstatus).
    pub const STALLED: &str = "Stalled";
    /// The newest connection test passed.
    pub const TESTED: &str = "Tested";
    /// Topics are loaded as models.
    pub const MODELS_LOADED: &str = "ModelsLoaded";
    /// Heartbeats are sent and come back.
    pub const HEARTBEATING: &str = "Heartbeating";
    /// The log cache is being filled.
    pub const MINING: &str = "Mining";
    /// Messages are delivered to the app, or taken from it.
    pub const DELIVERING: &str = "Delivering";
    /// `spec.state` holds the resource back.
    pub const PAUSED: &str = "Paused";
    /// All members of the consumer group subscribe to the same topics and expressions.
    pub const SUBSCRIPTION_CONSISTENT: &str = "SubscriptionConsistent";
    /// Abnormal when true: changed credentials do not work, and workers go on with the earlier ones.
    pub const CREDENTIALS_REFUSED: &str = "CredentialsRefused";
    /// The target of a sync holds what it should, as far as was compared.
    pub const VERIFIED: &str = "Verified";
    /// Abnormal when true: topics that are found by pattern become one at the target, or are more than are read.
    pub const TOPIC_CONFLICT: &str = "TopicConflict";
    /// Abnormal when true: a credential stands in the manifest instead of in a Secret.
    pub const PLAIN_TEXT_CREDENTIAL: &str = "PlainTextCredential";
}

/// Reasons of conditions, Events and metric labels.
pub mod reasons {
    /// All is as it should be.
    pub const READY: &str = "Ready";
    /// The spec is valid.
    pub const ACCEPTED: &str = "Accepted";
    /// The spec contradicts itself or holds a value out of bounds.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The spec asks for something that this version does not do.
    pub const NOT_IMPLEMENTED: &str = "NotImplemented";
    /// Every reference was found.
    pub const RESOLVED: &str = "Resolved";
    /// A Secret does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A Secret exists without the key.
    pub const SECRET_KEY_NOT_FOUND: &str = "SecretKeyNotFound";
    /// A ConfigMap does not exist.
    pub const CONFIG_MAP_NOT_FOUND: &str = "ConfigMapNotFound";
    /// A ConfigMap exists without the key.
    pub const CONFIG_MAP_KEY_NOT_FOUND: &str = "ConfigMapKeyNotFound";
    /// A RocketMQConnection does not exist.
    pub const CONNECTION_NOT_FOUND: &str = "ConnectionNotFound";
    /// A RocketMQConnection exists but its own spec is not accepted.
    pub const CONNECTION_NOT_ACCEPTED: &str = "ConnectionNotAccepted";
    /// A RocketMQConnection's `type` forbids what is asked of it.
    pub const CONNECTION_TYPE_MISMATCH: &str = "ConnectionTypeMismatch";
    /// A credential stands in the manifest.
    pub const PLAIN_TEXT_VALUE: &str = "PlainTextValue";
    /// An object of that name exists and belongs to somebody else.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// The API server refused a child object.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// The API server could not be reached or was too slow.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// Children are being created or changed.
    pub const PROGRESSING: &str = "Progressing";
    /// Pods are not ready yet.
    pub const WORKERS_NOT_READY: &str = "WorkersNotReady";
    /// Pods cannot be scheduled or started.
    pub const WORKERS_UNAVAILABLE: &str = "WorkersUnavailable";
    /// A worker's report could not be read.
    pub const REPORT_UNAVAILABLE: &str = "ReportUnavailable";
    /// A worker runs, but something outside it is missing or wrong.
    pub const WORKER_FAILING: &str = "WorkerFailing";
    /// Workers run and messages flow.
    pub const RUNNING: &str = "Running";
    /// `spec.state` is `Paused`.
    pub const PAUSED: &str = "Paused";
    /// `spec.state` is `Stopped`.
    pub const STOPPED: &str = "Stopped";
    /// `spec.state` is `Running`.
    pub const NOT_PAUSED: &str = "NotPaused";
    /// No connection test has finished yet.
    pub const TEST_PENDING: &str = "TestPending";
    /// The newest connection test passed.
    pub const TEST_PASSED: &str = "TestPassed";
    /// The newest connection test passed with warnings.
    pub const TEST_WARNING: &str = "TestWarning";
    /// The newest connection test failed.
    pub const TEST_FAILED: &str = "TestFailed";
    /// All members of the consumer group that are known subscribe alike.
    pub const CONSISTENT: &str = "Consistent";
    /// Another RocketMQBinding of the consumer group subscribes to other topics or with other expressions.
    pub const SUBSCRIPTION_CONFLICT: &str = "SubscriptionConflict";
    /// A client that is no RocketMQBinding's subscribes otherwise in the consumer group.
    pub const FOREIGN_SUBSCRIPTION: &str = "ForeignSubscription";
    /// Changed credentials do not work.
    pub const CREDENTIALS_REFUSED: &str = "CredentialsRefused";
    /// Source and target were compared and are alike.
    pub const VERIFIED: &str = "Verified";
    /// Source and target were not compared yet.
    pub const VERIFY_PENDING: &str = "VerifyPending";
    /// Source and target were compared and differ.
    pub const DIFFERENCES_FOUND: &str = "DifferencesFound";
    /// Source and target could not be compared.
    pub const VERIFY_FAILED: &str = "VerifyFailed";
    /// Topics that are found by pattern become one at the target, or are more than are read.
    pub const TOPIC_CONFLICT: &str = "TopicConflict";
    /// No node is eligible for a worker.
    pub const AGENT_UNAVAILABLE: &str = "AgentUnavailable";
    /// The connections of one resource pin its workers to different nodes.
    pub const AGENT_CONFLICT: &str = "AgentConflict";
    /// The first load of models is under way.
    pub const MODELS_LOADING: &str = "ModelsLoading";
    /// The newest load of models came to its end.
    pub const MODELS_LOADED: &str = "ModelsLoaded";
    /// The newest load of models came to its end, but some topics could not be looked at.
    pub const MODELS_INCOMPLETE: &str = "ModelsIncomplete";
    /// The newest load of models failed.
    pub const MODELS_FAILED: &str = "ModelsFailed";
    /// Nothing uses the connection: no heartbeat is sent.
    pub const NO_USERS: &str = "NoUsers";
    /// Heartbeats begin.
    pub const HEARTBEAT_STARTING: &str = "HeartbeatStarting";
    /// Heartbeats come back.
    pub const BEATING: &str = "Beating";
    /// No heartbeat has come back for six intervals.
    pub const HEARTBEAT_MISSING: &str = "HeartbeatMissing";
    /// Nothing is being changed.
    pub const SETTLED: &str = "Settled";
    /// The resource is being deleted.
    pub const DELETING: &str = "Deleting";
}
