//! What both sides of a sync need in their pods: clusters, credentials and certificates.

use crate::api::reference::{Credential, Tls};
use crate::api::sync_database::DatabaseServer;
use crate::api::{RocketMQConnectionSpec, RocketMQSyncSpec};
use crate::controller::workload::cluster::{Cluster, FileNames, SOURCE, TARGET, TlsNames, tls_config, tls_files};
use crate::controller::workload::files::{MountedFile, path_of};
use crate::worker_config::sync::DatabaseConfig;

/// Names of the files that a database server needs.
pub struct DatabaseNames {
    username: &'static str,
    password: &'static str,
    /// Certificates.
    pub tls: TlsNames,
}

/// Files of a database that is read.
pub static SOURCE_DATABASE: DatabaseNames = DatabaseNames {
    username: "source-username",
    password: "source-password",
    tls: TlsNames { ca: "source-ca.crt", certificate: "source-client.crt", key: "source-client.key" },
};

/// Files of a database that is written to.
pub static TARGET_DATABASE: DatabaseNames = DatabaseNames {
    username: "target-username",
    password: "target-password",
    tls: TlsNames { ca: "target-ca.crt", certificate: "target-client.crt", key: "target-client.key" },
};

/// Files of an HTTP endpoint.
pub const HTTP_TOKEN: &str = "target-token";
pub const HTTP_SIGNING_KEY: &str = "target-signingKey";
/// Files of an object store.
pub const STORE_ACCESS_KEY: &str = "target-accessKey";
pub const STORE_SECRET_KEY: &str = "target-secretKey";

/// The cluster of the source.
pub fn source_cluster(spec: &RocketMQSyncSpec, connection: Option<&RocketMQConnectionSpec>) -> Option<Cluster> {
    side(spec.source.connection_ref.as_ref().map(|reference| reference.name.as_str()), connection, &SOURCE)
}

/// The cluster of the target.
pub fn target_cluster(spec: &RocketMQSyncSpec, connection: Option<&RocketMQConnectionSpec>) -> Option<Cluster> {
    side(spec.target.connection_ref.as_ref().map(|reference| reference.name.as_str()), connection, &TARGET)
}

fn side(name: Option<&str>, connection: Option<&RocketMQConnectionSpec>, names: &'static FileNames) -> Option<Cluster> {
    let (name, connection) = name.zip(connection)?;
    Some(Cluster::of_side(connection, &format!("spec of RocketMQConnection {name:?}"), names))
}

/// All files of a sync's pods.
pub fn files(
    spec: &RocketMQSyncSpec,
    source: Option<&RocketMQConnectionSpec>,
    target: Option<&RocketMQConnectionSpec>,
) -> Vec<MountedFile> {
    let clusters = source_cluster(spec, source).into_iter().chain(target_cluster(spec, target));
    clusters.flat_map(|cluster| cluster.files).chain(own_files(spec)).collect()
}

/// Files that the sync itself names, not its connections.
pub fn own_files(spec: &RocketMQSyncSpec) -> Vec<MountedFile> {
    let (source, target) = (&spec.source, &spec.target);
    let mut files = Vec::new();
    if let Some(postgres) = &source.postgres {
        files.extend(database_files(&postgres.server, "spec.source.postgres.server", &SOURCE_DATABASE));
    }
    if let Some(mysql) = &source.mysql {
        files.extend(database_files(&mysql.server, "spec.source.mysql.server", &SOURCE_DATABASE));
    }
    if let Some(postgres) = &target.postgres {
        files.extend(database_files(&postgres.server, "spec.target.postgres.server", &TARGET_DATABASE));
    }
    if let Some(mysql) = &target.mysql {
        files.extend(database_files(&mysql.server, "spec.target.mysql.server", &TARGET_DATABASE));
    }
    if let Some(http) = &target.http {
        files.extend(optional(HTTP_TOKEN, "spec.target.http.token", http.token.as_ref()));
        files.extend(optional(HTTP_SIGNING_KEY, "spec.target.http.signingKey", http.signing_key.as_ref()));
        files.extend(
            enabled(http.tls.as_ref())
                .into_iter()
                .flat_map(|tls| tls_files(tls, "spec.target.http", &TARGET_DATABASE.tls)),
        );
    }
    if let Some(store) = &target.object_storage {
        files.extend(optional(STORE_ACCESS_KEY, "spec.target.objectStorage.accessKey", store.access_key.as_ref()));
        files.extend(optional(STORE_SECRET_KEY, "spec.target.objectStorage.secretKey", store.secret_key.as_ref()));
        files.extend(
            enabled(store.tls.as_ref())
                .into_iter()
                .flat_map(|tls| tls_files(tls, "spec.target.objectStorage", &TARGET_DATABASE.tls)),
        );
    }
    files
}

fn optional(name: &'static str, field: &str, credential: Option<&Credential>) -> Option<MountedFile> {
    MountedFile::credential(name, field, credential?)
}

/// TLS settings that are not switched off.
pub fn enabled(tls: Option<&Tls>) -> Option<&Tls> {
    tls.filter(|tls| tls.enabled)
}

fn database_files(server: &DatabaseServer, prefix: &str, names: &DatabaseNames) -> Vec<MountedFile> {
    let field = |name: &str| format!("{prefix}.{name}");
    let username = MountedFile::credential(names.username, field("username"), &server.username);
    let password = MountedFile::credential(names.password, field("password"), &server.password);
    let tls = enabled(server.tls.as_ref()).into_iter().flat_map(|tls| tls_files(tls, prefix, &names.tls));
    username.into_iter().chain(password).chain(tls).collect()
}

/// A database server as the worker sees it.
pub fn database_config(
    server: &DatabaseServer,
    default_port: u16,
    files: &[MountedFile],
    names: &DatabaseNames,
) -> DatabaseConfig {
    DatabaseConfig {
        host: server.host.clone(),
        port: server.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(default_port),
        database: server.database.clone(),
        username_file: path_of(files, names.username).unwrap_or_default(),
        password_file: path_of(files, names.password).unwrap_or_default(),
        tls: enabled(server.tls.as_ref()).map(|tls| tls_config(tls, files, &names.tls)),
    }
}
