//! How a worker reaches a RocketMQ cluster, out of a RocketMQConnection or out of a binding's own fields.

use std::collections::BTreeMap;

use crate::api::RocketMQConnectionSpec;
use crate::api::connection::Agent;
use crate::api::reference::{Credential, Tls};
use crate::controller::error::Problem;
use crate::worker_config::ClusterConfig;
use crate::worker_config::connection::{CredentialFiles, TlsFiles};

use super::files::{MountedFile, path_of};

/// Port of a name server when an address has none.
const NAME_SERVER_PORT: u16 = 9876;

/// Names of the files that a cluster needs: a pod may work with two clusters.
#[derive(Debug, PartialEq, Eq)]
pub struct FileNames {
    access_key: &'static str,
    secret_key: &'static str,
    security_token: &'static str,
    /// Certificates.
    pub tls: TlsNames,
}

/// Names of certificate files.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsNames {
    /// Certificate authorities.
    pub ca: &'static str,
    /// Client certificate.
    pub certificate: &'static str,
    /// Its key.
    pub key: &'static str,
}

/// Names where there is one cluster.
pub static ONLY: FileNames = FileNames {
    access_key: "accessKey",
    secret_key: "secretKey",
    security_token: "securityToken",
    tls: TlsNames { ca: "ca.crt", certificate: "client.crt", key: "client.key" },
};

/// Names for the cluster that a sync reads.
pub static SOURCE: FileNames = FileNames {
    access_key: "source-accessKey",
    secret_key: "source-secretKey",
    security_token: "source-securityToken",
    tls: TlsNames { ca: "source-ca.crt", certificate: "source-client.crt", key: "source-client.key" },
};

/// Names for the cluster that a sync writes to.
pub static TARGET: FileNames = FileNames {
    access_key: "target-accessKey",
    secret_key: "target-secretKey",
    security_token: "target-securityToken",
    tls: TlsNames { ca: "target-ca.crt", certificate: "target-client.crt", key: "target-client.key" },
};

/// Credentials of a spec's own fields.
#[derive(Clone, Copy, Default)]
pub struct Keys<'a> {
    /// `spec.accessKey`.
    pub access_key: Option<&'a Credential>,
    /// `spec.secretKey`.
    pub secret_key: Option<&'a Credential>,
    /// `spec.securityToken`.
    pub security_token: Option<&'a Credential>,
}

impl Keys<'_> {
    fn files(self) -> Vec<MountedFile> {
        let file = |name, field: &str, key: Option<&Credential>| {
            key.and_then(|key| MountedFile::credential(name, field.to_owned(), key))
        };
        let files = [
            file(ONLY.access_key, "spec.accessKey", self.access_key),
            file(ONLY.secret_key, "spec.secretKey", self.secret_key),
            file(ONLY.security_token, "spec.securityToken", self.security_token),
        ];
        files.into_iter().flatten().collect()
    }
}

impl Default for &'static FileNames {
    fn default() -> Self {
        &ONLY
    }
}

/// A RocketMQ cluster as specs describe it.
#[derive(Clone, Default, PartialEq)]
pub struct Cluster {
    /// Name servers as written in the spec.
    pub name_servers: Vec<String>,
    /// Field that holds the name servers, for messages.
    pub name_servers_field: &'static str,
    /// URL that serves the list of name servers.
    pub name_server_domain: Option<String>,
    /// URL of an Aliyun MQ HTTP endpoint, which takes the place of name servers.
    pub http_endpoint: Option<String>,
    /// RocketMQ namespace.
    pub instance_id: Option<String>,
    /// Advertised to reachable broker addresses.
    pub broker_addresses: BTreeMap<String, String>,
    /// TLS without the files.
    pub tls: Option<Tls>,
    /// Credentials and certificates.
    pub files: Vec<MountedFile>,
    /// Nodes to run on.
    pub agent: Option<Agent>,
    /// Names of its files.
    pub names: &'static FileNames,
}

impl Cluster {
    /// The cluster of a connection. `prefix` starts the field names in messages, for instance `spec`.
    #[must_use]
    pub fn of_connection(spec: &RocketMQConnectionSpec, prefix: &str) -> Self {
        Self::of_side(spec, prefix, &ONLY)
    }

    /// The cluster of a connection that is one of several in a pod, with file names of its own.
    #[must_use]
    pub fn of_side(spec: &RocketMQConnectionSpec, prefix: &str, names: &'static FileNames) -> Self {
        let tls = spec.tls.clone().filter(|tls| tls.enabled);
        let mut files = Vec::new();
        if let Some(credentials) = &spec.credentials {
            let field = |name: &str| format!("{prefix}.credentials.{name}");
            files.extend(MountedFile::credential(names.access_key, field("accessKey"), &credentials.access_key));
            files.extend(MountedFile::credential(names.secret_key, field("secretKey"), &credentials.secret_key));
            let token = credentials.security_token.as_ref();
            files.extend(
                token.and_then(|token| MountedFile::credential(names.security_token, field("securityToken"), token)),
            );
        }
        files.extend(tls.iter().flat_map(|tls| tls_files(tls, prefix, &names.tls)));
        Self {
            name_servers: spec.name_servers.clone(),
            name_servers_field: "spec.nameServers",
            name_server_domain: spec.name_server_domain.clone(),
            http_endpoint: None,
            instance_id: spec.instance_id.clone(),
            broker_addresses: spec.broker_addresses.clone(),
            tls,
            files,
            agent: spec.agent.clone(),
            names,
        }
    }

    /// The cluster of Dapr's inline fields.
    #[must_use]
    pub fn inline(
        name_server: Option<&str>,
        name_server_domain: Option<&str>,
        instance_id: Option<&str>,
        keys: Keys<'_>,
    ) -> Self {
        let name_servers = name_server.unwrap_or_default().split([',', ';']).map(str::trim);
        Self {
            // As with Dapr, the domain wins over the list.
            name_servers: match name_server_domain {
                Some(_) => Vec::new(),
                None => name_servers.filter(|server| !server.is_empty()).map(str::to_owned).collect(),
            },
            name_servers_field: "spec.nameServer",
            name_server_domain: name_server_domain.map(str::to_owned),
            instance_id: instance_id.map(str::to_owned),
            files: keys.files(),
            ..Self::default()
        }
    }

    /// The endpoint of the Aliyun MQ HTTP protocol.
    #[must_use]
    pub fn http(endpoint: Option<&str>, instance_id: Option<&str>, keys: Keys<'_>, tls: Option<&Tls>) -> Self {
        let tls = tls.cloned().filter(|tls| tls.enabled);
        let mut files = keys.files();
        files.extend(tls.iter().flat_map(|tls| tls_files(tls, "spec", &ONLY.tls)));
        Self {
            name_servers_field: "spec.nameServer",
            http_endpoint: Some(endpoint.unwrap_or_default().trim_end_matches('/').to_owned()),
            instance_id: instance_id.map(str::to_owned),
            tls,
            files,
            ..Self::default()
        }
    }

    /// What is wrong with the addresses beyond what admission checks.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let field = self.name_servers_field;
        let mut problems: Vec<_> = self.name_servers.iter().filter_map(|server| port_problem(field, server)).collect();
        if self.name_servers.is_empty() && self.name_server_domain.is_none() {
            problems.push(Problem::invalid_spec(format!(
                "{field}: no name server is given; write host:port, such as rocketmq-namesrv:9876"
            )));
        }
        for address in self.broker_addresses.iter().flat_map(|(from, to)| [from, to]) {
            problems.extend(port_problem("spec.brokerAddresses", address));
        }
        problems
    }

    /// The worker's view: paths instead of values, and a port for every name server.
    #[must_use]
    pub fn config(&self) -> ClusterConfig {
        let (path, names) = (|name: &str| path_of(&self.files, name), self.names);
        let keys = path(names.access_key).zip(path(names.secret_key));
        let credentials = keys.map(|(access_key, secret_key)| CredentialFiles {
            access_key,
            secret_key,
            security_token: path(names.security_token),
        });
        let tls = self.tls.as_ref().map(|tls| tls_config(tls, &self.files, &names.tls));
        ClusterConfig {
            name_servers: self.name_servers.iter().map(|server| with_port(server)).collect(),
            name_server_domain: self.name_server_domain.clone(),
            instance_id: self.instance_id.clone(),
            credentials,
            tls,
            broker_addresses: self.broker_addresses.clone(),
        }
    }
}

/// The certificate files of TLS settings; `prefix` starts the field names in messages.
#[must_use]
pub fn tls_files(tls: &Tls, prefix: &str, names: &TlsNames) -> Vec<MountedFile> {
    let field = |name: &str| format!("{prefix}.tls.{name}");
    let ca = tls.ca.as_ref().and_then(|pem| MountedFile::pem(names.ca, field("ca"), pem));
    let certificate = tls.client_certificate.as_ref();
    let certificate = certificate.and_then(|pem| MountedFile::pem(names.certificate, field("clientCertificate"), pem));
    let key = tls.client_key.as_ref().map(|key| MountedFile {
        name: names.key,
        field: field("clientKey"),
        source: super::files::Source::Secret(key.secret_key_ref.clone()),
    });
    [ca, certificate, key].into_iter().flatten().collect()
}

/// TLS settings with the paths of their files.
#[must_use]
pub fn tls_config(tls: &Tls, files: &[MountedFile], names: &TlsNames) -> TlsFiles {
    TlsFiles {
        ca: path_of(files, names.ca),
        client_certificate: path_of(files, names.certificate),
        client_key: path_of(files, names.key),
        server_name: tls.server_name.clone(),
        insecure_skip_verify: tls.insecure_skip_verify,
    }
}

/// Port of `host:port` or `[address]:port`; none when there is none.
fn port_of(address: &str) -> Option<&str> {
    let after_address = address.rsplit_once(']').map_or(address, |(_, after)| after);
    after_address.rsplit_once(':').map(|(_, port)| port)
}

fn with_port(server: &str) -> String {
    match port_of(server) {
        Some(_) => server.to_owned(),
        None => format!("{server}:{NAME_SERVER_PORT}"),
    }
}

fn port_problem(field: &str, address: &str) -> Option<Problem> {
    let port = port_of(address)?;
    let valid = port.parse::<u16>().is_ok_and(|port| port > 0);
    (!valid)
        .then(|| Problem::invalid_spec(format!("{field}: {address:?} has the port {port:?}; use one from 1 to 65535")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_get_their_port() {
        let cluster = Cluster::inline(Some("a;b:1, [::1] ;[::1]:2"), None, None, Keys::default());
        assert_eq!(cluster.config().name_servers, ["a:9876", "b:1", "[::1]:9876", "[::1]:2"]);
        assert_eq!(cluster.problems(), []);
    }

    #[test]
    fn ports_out_of_range_are_named() {
        let cluster = Cluster::inline(Some("a:0,b:99999"), None, None, Keys::default());
        let messages: Vec<_> = cluster.problems().into_iter().map(|problem| problem.message).collect();
        assert_eq!(messages[1], "spec.nameServer: \"b:99999\" has the port \"99999\"; use one from 1 to 65535");
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn no_address_is_a_problem() {
        assert_eq!(Cluster::inline(Some(" ; "), None, None, Keys::default()).problems().len(), 1);
        assert_eq!(Cluster::inline(None, Some("http://names"), None, Keys::default()).problems(), []);
    }

    #[test]
    fn the_domain_wins_over_the_list() {
        let cluster = Cluster::inline(Some("a:1"), Some("http://names"), None, Keys::default());
        assert_eq!(cluster.config().name_servers, Vec::<String>::new());
    }
}
