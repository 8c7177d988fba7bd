//! From resources to worker configurations, by the operator's own pure functions: what runs here is what would run in a pod.
//!
//! What a pod finds elsewhere is put in its place: mounted files come from a private folder, ports are on loopback, and
//! `app.service` is looked for on this machine under the same port.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Error, Mistake, Result};
use super::files::PrivateFolder;
use super::resources::{Key, Resources};
use crate::api::reference::{ConfigMapKeyRef, ConnectionRef, SecretKeyRef};
use crate::api::workload::DesiredState;
use crate::controller::binding;
use crate::controller::connection;
use crate::controller::error::Error as ControllerError;
use crate::controller::feed::ReferenceKind;
use crate::controller::settings::Settings;
use crate::controller::sync;
use crate::controller::workload::files::{FOLDER, MountedFile, Source};
use crate::controller::workload::lookup::Found;
use crate::worker_config::{BindingConfig, ClusterConfig, Role, WorkerConfig};

/// Where workers listen.
const HOST: &str = "127.0.0.1";

/// What is to be changed in every configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Name servers to use instead of those in the manifests.
    pub name_servers: Vec<String>,
}

/// A custom resource and what it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Kind of the custom resource.
    pub kind: String,
    /// Its namespace and name.
    pub key: Key,
    /// What a worker gets; or why there is none.
    pub config: std::result::Result<WorkerConfig, String>,
}

/// Checks all resources and writes the files that their workers need into `folder`.
///
/// # Errors
/// Every mistake that the operator would show as a condition; or a file cannot be written.
pub fn plan(resources: &Resources, overrides: &Overrides, folder: &PrivateFolder) -> Result<Vec<Planned>> {
    let settings = Settings::new("default", "dev", "dev");
    let (mut planned, mut mistakes) = (Vec::new(), Vec::new());
    for (key, placed) in &resources.connections {
        let found = found(resources, &key.0);
        let checked =
            connection::validate(&placed.object, &found, is_used(key, resources), &settings).map(|validated| Checked {
                is_stopped: placed.object.spec.state != DesiredState::Running,
                config: connection::build_worker_config(&validated),
                files: validated.workload.files,
            });
        collect("RocketMQConnection", key, &placed.place, checked, &mut planned, &mut mistakes);
    }
    for (key, placed) in &resources.bindings {
        let named = placed.object.spec.connection_ref.as_ref().map(|reference| (key.0.clone(), reference.name.clone()));
        let connection =
            named.and_then(|named| resources.connections.get(&named)).map(|placed| placed.object.spec.clone());
        let dereferenced = binding::Dereferenced { connection, found: found(resources, &key.0), deployed: None };
        let checked = binding::validate(&placed.object, &dereferenced, &settings).map(|validated| Checked {
            is_stopped: placed.object.spec.state != DesiredState::Running,
            config: binding::build_worker_config(&validated),
            files: validated.workload.files,
        });
        collect("RocketMQBinding", key, &placed.place, checked, &mut planned, &mut mistakes);
    }
    for (key, placed) in &resources.syncs {
        let connection = |reference: &Option<ConnectionRef>| {
            let named = (key.0.clone(), reference.as_ref()?.name.clone());
            resources.connections.get(&named).map(|placed| placed.object.spec.clone())
        };
        let spec = &placed.object.spec;
        let (source, target) = (connection(&spec.source.connection_ref), connection(&spec.target.connection_ref));
        let dereferenced = sync::Dereferenced { source, target, found: found(resources, &key.0) };
        let checked = sync::validate(&placed.object, &dereferenced, &settings).map(|validated| Checked {
            is_stopped: spec.state != DesiredState::Running,
            config: sync::build_worker_config(&validated),
            files: validated.workload.files,
        });
        collect("RocketMQSync", key, &placed.place, checked, &mut planned, &mut mistakes);
    }
    if !mistakes.is_empty() {
        return Err(Error::Invalid(mistakes));
    }
    let localized: Result<Vec<Planned>> =
        planned.into_iter().map(|(planned, files)| localize(planned, &files, resources, overrides, folder)).collect();
    Ok(with_distinct_ports(localized?))
}

/// What the operator's functions made of a resource.
struct Checked {
    is_stopped: bool,
    config: WorkerConfig,
    files: Vec<MountedFile>,
}

/// Whether a binding that runs names the connection.
fn is_used(connection: &Key, resources: &Resources) -> bool {
    resources.bindings.iter().any(|(key, placed)| {
        let spec = &placed.object.spec;
        let named = spec.connection_ref.as_ref().is_some_and(|reference| reference.name == connection.1);
        key.0 == connection.0 && named && spec.state == DesiredState::Running
    })
}

fn collect(
    kind: &str,
    key: &Key,
    place: &str,
    checked: std::result::Result<Checked, ControllerError>,
    planned: &mut Vec<(Planned, Vec<MountedFile>)>,
    mistakes: &mut Vec<Mistake>,
) {
    let new = |config| Planned { kind: kind.to_owned(), key: key.clone(), config };
    match checked {
        Ok(Checked { is_stopped: true, .. }) => {
            planned.push((new(Err("spec.state is not Running".to_owned())), Vec::new()))
        }
        Ok(Checked { config, files, .. }) => planned.push((new(Ok(config)), files)),
        Err(error) => {
            let subject = format!("{kind} {}/{}", key.0, key.1);
            mistakes.extend(messages(error).into_iter().map(|message| {
                let (field, message) = message.split_once(": ").unwrap_or(("", message.as_str()));
                Mistake {
                    place: place.to_owned(),
                    subject: subject.clone(),
                    field: field.to_owned(),
                    message: message.to_owned(),
                }
            }));
        }
    }
}

fn messages(error: ControllerError) -> Vec<String> {
    match error {
        ControllerError::Invalid(problems) | ControllerError::Unresolved(problems) => {
            problems.into_iter().map(|problem| problem.message).collect()
        }
        other => vec![other.to_string()],
    }
}

/// Which keys of a namespace's Secrets and ConfigMaps have a value, as the operator would look them up.
fn found(resources: &Resources, namespace: &str) -> Found {
    let mut found = Found::default();
    let kinds = [(ReferenceKind::Secret, &resources.secrets), (ReferenceKind::ConfigMap, &resources.config_maps)];
    for (kind, objects) in kinds {
        for ((_, name), data) in objects.iter().filter(|((of, _), _)| of == namespace) {
            let filled = data.iter().filter(|(_, value)| !value.is_empty()).map(|(key, _)| key.clone());
            found.insert(kind, name, filled);
        }
    }
    found
}

fn localize(
    mut planned: Planned,
    files: &[MountedFile],
    resources: &Resources,
    overrides: &Overrides,
    folder: &PrivateFolder,
) -> Result<Planned> {
    let Ok(config) = &planned.config else { return Ok(planned) };
    let own = format!("{}-{}-{}", planned.kind, planned.key.0, planned.key.1);
    for file in files {
        folder.write(&own, file.name, &content(&file.source, &planned.key.0, resources))?;
    }
    let local = folder.path().join(&own);
    let mut config = relocate(config, &local.to_string_lossy());
    (config.admin.host, config.admin.port) = (HOST.to_owned(), 0);
    match &mut config.role {
        Role::Binding(binding) => {
            if let Some(output) = &mut binding.output {
                output.host = HOST.to_owned();
            }
            if let Some(input) = &mut binding.input {
                input.app_url = local_app(&input.app_url);
            }
            override_cluster(&mut binding.cluster, overrides);
        }
        Role::Connection(connection) => override_cluster(&mut connection.cluster, overrides),
        Role::Sync(sync) => sync.clusters_mut().into_iter().for_each(|cluster| override_cluster(cluster, overrides)),
    }
    planned.config = Ok(config);
    Ok(planned)
}

/// Pods have an address each; here the second API of a port gets a free one.
fn with_distinct_ports(mut planned: Vec<Planned>) -> Vec<Planned> {
    let mut taken = BTreeSet::new();
    for config in planned.iter_mut().filter_map(|planned| planned.config.as_mut().ok()) {
        let Role::Binding(BindingConfig { output: Some(output), .. }) = &mut config.role else { continue };
        for port in [&mut output.http_port, &mut output.grpc_port] {
            if !taken.insert(*port) {
                *port = 0;
            }
        }
    }
    planned
}

fn content(source: &Source, namespace: &str, resources: &Resources) -> Vec<u8> {
    let look_up = |objects: &BTreeMap<Key, BTreeMap<String, Vec<u8>>>, name: &str, key: &str| {
        let data = objects.get(&(namespace.to_owned(), name.to_owned()));
        data.and_then(|data| data.get(key)).cloned().unwrap_or_default()
    };
    match source {
        Source::Secret(SecretKeyRef { name, key }) => look_up(&resources.secrets, name, key),
        Source::ConfigMap(ConfigMapKeyRef { name, key }) => look_up(&resources.config_maps, name, key),
        Source::Plain(value) => value.clone().into_bytes(),
    }
}

/// The configuration with the pod's folder of mounted files replaced by `folder`.
fn relocate(config: &WorkerConfig, folder: &str) -> WorkerConfig {
    let mut config = config.clone();
    let paths = match &mut config.role {
        Role::Connection(connection) => cluster_paths(&mut connection.cluster),
        Role::Binding(BindingConfig { cluster, input, output, .. }) => {
            let mut paths = cluster_paths(cluster);
            paths.extend(input.as_mut().and_then(|input| input.api_token_file.as_mut()));
            paths.extend(output.as_mut().and_then(|output| output.token_file.as_mut()));
            paths
        }
        Role::Sync(sync) => {
            sync.clusters_mut().into_iter().flat_map(cluster_paths).for_each(|path| move_to(path, folder));
            sync.files_mut()
        }
    };
    paths.into_iter().for_each(|path| move_to(path, folder));
    config
}

fn move_to(path: &mut String, folder: &str) {
    if let Some(name) = path.strip_prefix(FOLDER) {
        *path = format!("{folder}{name}");
    }
}

fn cluster_paths(cluster: &mut ClusterConfig) -> Vec<&mut String> {
    let mut paths: Vec<&mut String> = Vec::new();
    if let Some(credentials) = &mut cluster.credentials {
        paths.extend([&mut credentials.access_key, &mut credentials.secret_key]);
        paths.extend(credentials.security_token.as_mut());
    }
    if let Some(tls) = &mut cluster.tls {
        paths.extend([&mut tls.ca, &mut tls.client_certificate, &mut tls.client_key].into_iter().flatten());
    }
    paths
}

/// `http://name.namespace.svc:port` is reachable in a cluster only: here the app listens on loopback.
fn local_app(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.split_once(".svc:") {
        Some((_, port)) => format!("{scheme}://{HOST}:{port}"),
        None => url.to_owned(),
    }
}

fn override_cluster(cluster: &mut ClusterConfig, overrides: &Overrides) {
    if !overrides.name_servers.is_empty() {
        cluster.name_servers.clone_from(&overrides.name_servers);
        cluster.name_server_domain = None;
        cluster.broker_addresses.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_looked_for_on_this_machine() {
        assert_eq!(local_app("http://orders.shop.svc:8080"), "http://127.0.0.1:8080");
        assert_eq!(local_app("http://localhost:8080/base"), "http://localhost:8080/base");
    }
}
