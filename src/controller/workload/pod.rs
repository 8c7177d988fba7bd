//! The Deployment of the workers of any kind.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, HTTPGetAction, KeyToPath, Lifecycle,
    LifecycleHandler, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use crate::api::connection::Agent;
use crate::controller::children::{CONFIG_DIGEST_ANNOTATION, OWNER_ANNOTATION, Owner};

use super::agent;
use super::files::{self, MountedFile};
use super::template::Template;

/// Name of the worker's container.
pub const CONTAINER: &str = "worker";

/// Folder of the worker's configuration in its pod.
const CONFIG_FOLDER: &str = "/etc/rocketmq-connector/config";

/// File of the worker's configuration, and key in the ConfigMap.
pub const CONFIG_FILE: &str = "worker.json";

const CONFIG_VOLUME: &str = "config";
/// Volume of the user's that a worker writes to.
const DATA_VOLUME: &str = "data";
const ADMIN_PORT_NAME: &str = "admin";

/// User and group of the image's process: a fixed number, because `runAsNonRoot` cannot be checked against a name.
const USER: i64 = 65_532;

/// What the pods of one custom resource need, apart from their number.
#[derive(Clone, PartialEq)]
pub struct Workload {
    /// The resource.
    pub owner: Owner,
    /// Image of the worker container.
    pub image: String,
    /// `imagePullPolicy`; none leaves it to Kubernetes.
    pub image_pull_policy: Option<String>,
    /// Admin port.
    pub admin_port: u16,
    /// Files to mount.
    pub files: Vec<MountedFile>,
    /// Nodes to run on.
    pub agent: Option<Agent>,
    /// The user's changes.
    pub template: Template,
    /// Seconds that a pod may take to finish what is in flight.
    pub grace_seconds: u32,
    /// A volume of the user's that the worker writes to.
    pub volume: Option<ClaimedVolume>,
    /// Whether the worker fills buffers of megabytes over and over, as it does for objects.
    pub has_large_buffers: bool,
    /// Seconds between a pod's leaving its Service and the signal to end: callers hear of it before it stops listening.
    pub leave_seconds: u32,
}

/// A volume that a PersistentVolumeClaim of the namespace gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedVolume {
    /// Name of the PersistentVolumeClaim.
    pub claim: String,
    /// Where it is mounted.
    pub path: String,
}

/// The Deployment. `replicas` is left out of it when nobody decides, so that an autoscaler or a user can.
#[must_use]
pub fn deployment(workload: &Workload, digest: &str, replicas: Option<i32>, ports: Vec<ContainerPort>) -> Deployment {
    let selector = LabelSelector { match_labels: Some(workload.owner.selector()), ..LabelSelector::default() };
    // No message waits during a rollout: a new pod is ready before an old one goes.
    let rolling =
        RollingUpdateDeployment { max_surge: Some(IntOrString::Int(1)), max_unavailable: Some(IntOrString::Int(0)) };
    let mut template = workload.template.merge_over(pod(workload, digest, ports));
    if let Some(spec) = &mut template.spec {
        agent::leave_lost_nodes(spec);
    }
    Deployment {
        metadata: workload.owner.child_meta(),
        spec: Some(DeploymentSpec {
            replicas,
            revision_history_limit: Some(2),
            selector,
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(rolling),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(workload: &Workload, digest: &str, ports: Vec<ContainerPort>) -> PodTemplateSpec {
    let annotations = [
        (OWNER_ANNOTATION.to_owned(), workload.owner.name.clone()),
        (CONFIG_DIGEST_ANNOTATION.to_owned(), digest.to_owned()),
    ];
    let meta = ObjectMeta {
        labels: Some(workload.owner.selector()),
        annotations: Some(annotations.into()),
        ..ObjectMeta::default()
    };
    let mut spec = PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![container(workload, ports)],
        enable_service_links: Some(false),
        security_context: Some(pod_security()),
        service_account_name: Some(workload.owner.child_name()),
        termination_grace_period_seconds: Some(i64::from(workload.grace_seconds)),
        topology_spread_constraints: Some(spread(&workload.owner.selector())),
        volumes: Some(volumes(workload)),
        ..PodSpec::default()
    };
    agent::place(&mut spec, workload.agent.as_ref());
    PodTemplateSpec { metadata: Some(meta), spec: Some(spec) }
}

fn container(workload: &Workload, ports: Vec<ContainerPort>) -> Container {
    let admin = ContainerPort {
        name: Some(ADMIN_PORT_NAME.to_owned()),
        container_port: i32::from(workload.admin_port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mut mounts = vec![mount(CONFIG_VOLUME, CONFIG_FOLDER)];
    if !workload.files.is_empty() {
        mounts.push(mount(files::VOLUME, files::FOLDER));
    }
    mounts.extend(workload.volume.as_ref().map(|volume| VolumeMount {
        name: DATA_VOLUME.to_owned(),
        mount_path: volume.path.clone(),
        ..VolumeMount::default()
    }));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(workload.image.clone()),
        image_pull_policy: workload.image_pull_policy.clone(),
        args: Some(vec!["worker".to_owned(), "--config".to_owned(), format!("{CONFIG_FOLDER}/{CONFIG_FILE}")]),
        env: Some(environment(workload)),
        ports: Some(std::iter::once(admin).chain(ports).collect()),
        startup_probe: Some(probe("/healthz", 1, 30)),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        resources: Some(resources()),
        lifecycle: leave(workload.leave_seconds),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// The C library's allocator keeps memory for each thread, a tenth of what a busy worker needs for no gain in speed; and once it was given a
/// large buffer back, it takes the next ones from where they leave gaps, unless it is told a size for ever.
fn environment(workload: &Workload) -> Vec<EnvVar> {
    let variable =
        |name: &str, value: &str| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() };
    let mut variables = vec![variable("MALLOC_ARENA_MAX", "1")];
    if workload.has_large_buffers {
        variables.push(variable("MALLOC_MMAP_THRESHOLD_", "131072"));
    }
    variables
}

/// The image has no shell to sleep with, so the kubelet does (Kubernetes 1.30 and later).
fn leave(seconds: u32) -> Option<Lifecycle> {
    let sleep = SleepAction { seconds: i64::from(seconds) };
    let pre_stop = LifecycleHandler { sleep: Some(sleep), ..LifecycleHandler::default() };
    (seconds > 0).then(|| Lifecycle { pre_stop: Some(pre_stop), ..Lifecycle::default() })
}

fn mount(volume: &str, folder: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: folder.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn volumes(workload: &Workload) -> Vec<Volume> {
    let name = workload.owner.child_name();
    let credentials = files::volume(&workload.files, &name);
    let config = ConfigMapVolumeSource {
        name,
        items: Some(vec![KeyToPath { key: CONFIG_FILE.to_owned(), path: CONFIG_FILE.to_owned(), mode: None }]),
        ..ConfigMapVolumeSource::default()
    };
    let config = Volume { name: CONFIG_VOLUME.to_owned(), config_map: Some(config), ..Volume::default() };
    let data = workload.volume.as_ref().map(|volume| Volume {
        name: DATA_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: volume.claim.clone(),
            read_only: None,
        }),
        ..Volume::default()
    });
    std::iter::once(config).chain(credentials).chain(data).collect()
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String(ADMIN_PORT_NAME.to_owned()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(get),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

fn resources() -> ResourceRequirements {
    let quantities = |cpu: &str, memory: &str| {
        let pairs = [("cpu", cpu), ("memory", memory)];
        Some(pairs.map(|(name, quantity)| (name.to_owned(), Quantity(quantity.to_owned()))).into())
    };
    ResourceRequirements {
        requests: quantities("20m", "32Mi"),
        limits: quantities("1", "256Mi"),
        ..ResourceRequirements::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// Prefers nodes and zones without another worker of the same resource.
fn spread(selector: &BTreeMap<String, String>) -> Vec<TopologySpreadConstraint> {
    let constraint = |topology_key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector { match_labels: Some(selector.clone()), ..LabelSelector::default() }),
        ..TopologySpreadConstraint::default()
    };
    vec![constraint("kubernetes.io/hostname"), constraint("topology.kubernetes.io/zone")]
}
