//! Configuration of a [`Client`](super::Client) and its checks.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

use super::error::{Error, ErrorKind, Result};

/// Port of a name server when an address names none.
const NAME_SERVER_PORT: u16 = 9876;

/// How to reach a RocketMQ cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Name servers as `host[:port]`; the port is 9876 by default.
    pub name_servers: Vec<String>,
    /// URL that serves the name server list as `host:port;host:port`; asked anew when no listed server answers.
    pub name_server_domain: Option<String>,
    /// Namespace (`instanceId`): topics and groups become `namespace%name` on the broker.
    pub namespace: Option<String>,
    /// Credentials of the ACL; none sends unsigned requests.
    pub credentials: Option<Credentials>,
    /// TLS; none means plain TCP.
    pub tls: Option<TlsConfig>,
    /// Advertised broker address (`host:port`) to the address that is reachable from here.
    pub broker_addresses: BTreeMap<String, String>,
    /// Distinguishes clients of one host; part of the client id that other members of a group see.
    pub instance_name: String,
    /// Limit for one request and its answer.
    pub request_timeout: Duration,
    /// Limit for opening a connection, TLS handshake included.
    pub connect_timeout: Duration,
    /// How long a cached route is used before it is asked for again.
    pub route_refresh: Duration,
    /// Time between two heartbeats to each broker; brokers forget a client after 120 s.
    pub heartbeat_interval: Duration,
}

impl ClientConfig {
    /// A configuration with the defaults: requests 3 s, connections 3 s, routes 30 s, heartbeats 30 s, no TLS, no ACL.
    #[must_use]
    pub fn new(name_servers: Vec<String>) -> Self {
        Self {
            name_servers,
            name_server_domain: None,
            namespace: None,
            credentials: None,
            tls: None,
            broker_addresses: BTreeMap::new(),
            instance_name: super::message_id::unique_message_id(),
            request_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            route_refresh: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
        }
    }

    /// Checks the values and gives the name servers their port.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the field and the value.
    pub(crate) fn validate(mut self) -> Result<Self> {
        if self.name_servers.is_empty() && self.name_server_domain.is_none() {
            return Err(invalid("nameServers: is empty; give at least one host:port, or a nameServerDomain"));
        }
        for address in &mut self.name_servers {
            *address = normalize_address(address, NAME_SERVER_PORT, "nameServers")?;
        }
        if let Some(url) = &self.name_server_domain
            && url.parse::<http::Uri>().ok().and_then(|uri| uri.scheme_str().map(str::to_owned)).as_deref()
                != Some("http")
        {
            return Err(invalid(format!("nameServerDomain: {url:?} is not an http:// URL")));
        }
        for (advertised, reachable) in &mut self.broker_addresses {
            normalize_address(advertised, 10911, "brokerAddresses")?;
            *reachable = normalize_address(reachable, 10911, "brokerAddresses")?;
        }
        if let Some(tls) = &self.tls
            && tls.client_certificate_pem.is_some() != tls.client_key_pem.is_some()
        {
            return Err(invalid(
                "tls: a client certificate needs its key, and a key its certificate; give both or neither",
            ));
        }
        Ok(self)
    }
}

/// Credentials of RocketMQ's ACL (1.0 and 2.0 sign in the same way).
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Access key (ACL 1.0) or user name (ACL 2.0).
    pub access_key: String,
    /// Secret key or password.
    pub secret_key: SecretString,
    /// Security token of temporary credentials.
    pub security_token: Option<SecretString>,
}

/// TLS settings; they hold for name servers and brokers.
#[derive(Clone, Default)]
pub struct TlsConfig {
    /// PEM of the certificate authorities to trust; needed unless `insecure_skip_verify`.
    pub ca_pem: Option<Vec<u8>>,
    /// PEM of the client certificate chain.
    pub client_certificate_pem: Option<Vec<u8>>,
    /// PEM of the client certificate's private key.
    pub client_key_pem: Option<Vec<u8>>,
    /// Name to verify instead of the host that is dialled.
    pub server_name: Option<String>,
    /// Accept any certificate: for tests only.
    pub insecure_skip_verify: bool,
}

impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TlsConfig")
            .field("server_name", &self.server_name)
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .finish_non_exhaustive()
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

/// `host[:port]`, `[v6]:port` or `http://host:port` as `host:port`.
fn normalize_address(address: &str, default_port: u16, field: &str) -> Result<String> {
    let bare = address.trim();
    let bare = bare.strip_prefix("http://").unwrap_or(bare).trim_end_matches('/');
    let wrong = |why: &str| Err(invalid(format!("{field}: {address:?} {why}; write host:port")));
    let (host, port) = match bare.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') => (host, port.to_owned()),
        _ => (bare, default_port.to_string()),
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ',' | ';' | '@')) {
        return wrong("has no valid host");
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => wrong("has no port between 1 and 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_default_port_and_bad_ones_are_named() {
        let check = |address: &str| normalize_address(address, 9876, "nameServers");
        assert_eq!(check("mq").unwrap(), "mq:9876");
        assert_eq!(check(" http://10.0.0.1:9877/ ").unwrap(), "10.0.0.1:9877");
        assert_eq!(check("[::1]:9876").unwrap(), "[::1]:9876");
        for bad in ["", ":9876", "a b:1", "mq:0", "mq:99999", "mq:x", "a,b:1", "a;b"] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains("nameServers") && error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn a_configuration_without_any_name_server_is_refused() {
        assert!(ClientConfig::new(vec![]).validate().unwrap_err().to_string().contains("nameServers"));
        let mut config = ClientConfig::new(vec![]);
        config.name_server_domain = Some("ftp://x".into());
        assert!(config.validate().unwrap_err().to_string().contains("nameServerDomain"));
    }
}
