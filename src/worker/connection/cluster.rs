//! Items of the connection test: from the addresses in the spec to every broker that the cluster advertises.

use std::net::SocketAddr;

use futures::FutureExt;
use futures::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::test::{Outcome, REACH};
use crate::rocketmq::admin::ClusterInfo;
use crate::rocketmq::{Admin, BrokerInfo, ErrorKind};
use crate::worker_config::connection::ClusterConfig;
use crate::worker_config::report::TestResult;

/// Topics or addresses named in one message; the rest is counted.
const NAMED: usize = 5;

/// Addresses to dial first: the name servers, or the host that serves their list.
#[must_use]
pub fn addresses(cluster: &ClusterConfig) -> Vec<String> {
    if !cluster.name_servers.is_empty() {
        return cluster.name_servers.clone();
    }
    let domain = cluster.name_server_domain.as_deref().unwrap_or_default();
    let (default_port, rest) = match domain.split_once("://") {
        Some(("https", rest)) => (443, rest),
        Some((_, rest)) => (80, rest),
        None => (80, domain),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let address =
        if split_port(authority).is_some() { authority.to_owned() } else { format!("{authority}:{default_port}") };
    vec![address]
}

fn split_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

/// Whether each name server is `host:port`.
#[must_use]
pub fn check_addresses(cluster: &ClusterConfig) -> Outcome {
    if cluster.name_servers.is_empty() && cluster.name_server_domain.is_none() {
        return Outcome::failed("no name server is configured", "set spec.nameServers or spec.nameServerDomain");
    }
    let is_valid = |address: &str| {
        split_port(address)
            .is_some_and(|(host, port)| port != 0 && !host.is_empty() && !host.contains(['/', ' ', ',', ';']))
    };
    let wrong: Vec<_> = addresses(cluster).into_iter().filter(|address| !is_valid(address)).collect();
    match wrong.as_slice() {
        [] => Outcome::passed(addresses(cluster).join(", ")),
        wrong => {
            let remedy = "write host:port, one entry each, without http:// (the usual port is 9876)";
            Outcome::failed(format!("{wrong:?} is no host and port"), remedy)
        }
    }
}

/// Whether each host has an address.
pub async fn resolve(addresses: &[String]) -> Outcome {
    let lookups = addresses.iter().map(|address| async move {
        match timeout(REACH, lookup_host(address.as_str())).await {
            Ok(Ok(found)) => Ok(format!("{address} is {}", list(found.map(|found| found.ip().to_string())))),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: no answer within {} s", REACH.as_secs())),
        }
    });
    let remedy = "check the spelling and, in a cluster, that the Service and its namespace exist (name.namespace.svc)";
    some_or_all(join_all(lookups).await, remedy)
}

/// Whether each name server accepts a connection; one is enough to work with.
pub async fn reach_name_servers(addresses: &[String]) -> Outcome {
    let remedy = "check that it runs, its port (9876), and that no NetworkPolicy or firewall is between";
    some_or_all(join_all(addresses.iter().map(|address| reach(address))).await, remedy)
}

async fn reach(address: &str) -> Result<String, String> {
    match timeout(REACH, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(format!("{address} accepts connections{}", peer(&stream, address))),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer within {} s", REACH.as_secs())),
    }
}

fn peer(stream: &TcpStream, address: &str) -> String {
    match stream.peer_addr() {
        Ok(peer) if address.parse::<SocketAddr>() != Ok(peer) => format!(" ({peer})"),
        _ => String::new(),
    }
}

fn some_or_all(outcomes: Vec<Result<String, String>>, remedy: &str) -> Outcome {
    let (good, bad): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let (good, bad): (Vec<_>, Vec<_>) =
        (good.into_iter().flatten().collect(), bad.into_iter().filter_map(Result::err).collect());
    match (good.is_empty(), bad.is_empty()) {
        (_, true) => Outcome::passed(list(good)),
        (true, false) => Outcome::failed(list(bad), remedy),
        (false, false) => Outcome::warning(format!("{}; but {}", list(good), list(bad)), remedy),
    }
}

/// Whether TLS comes about with each name server; one is enough to work with.
pub async fn shake_hands_with_name_servers(admin: &Admin, cluster: &ClusterConfig) -> Outcome {
    match (&cluster.tls, cluster.name_servers.as_slice()) {
        (None, _) => Outcome::skipped("no TLS is configured"),
        (Some(_), []) => Outcome::skipped("the list comes from nameServerDomain; the route query tries its servers"),
        (Some(tls), servers) => {
            let addresses: Vec<_> = servers.iter().map(String::as_str).collect();
            shake_hands(admin, &addresses, tls.insecure_skip_verify).await
        }
    }
}

/// Whether TLS comes about with the master of every broker.
pub async fn shake_hands_with_brokers(admin: &Admin, info: &ClusterInfo, is_wanted: bool) -> Outcome {
    if !is_wanted {
        return Outcome::skipped("no TLS is configured");
    }
    let addresses: Vec<_> = masters(info).map(|(_, address)| address).collect();
    let outcome = shake_hands(admin, &addresses, false).await;
    // A producer and a consumer need every broker.
    if outcome.result == TestResult::Warning { Outcome { result: TestResult::Failed, ..outcome } } else { outcome }
}

async fn shake_hands(admin: &Admin, addresses: &[&str], is_unchecked: bool) -> Outcome {
    let attempts: Vec<_> = addresses.iter().map(|address| admin.connect(address).boxed()).collect();
    let outcomes = join_all(attempts).await;
    let remedy = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).map(crate::rocketmq::Error::remedy);
    let words = outcomes.into_iter().zip(addresses).map(|(outcome, address)| match outcome {
        Ok(()) => Ok(format!("{address}: handshake, chain and name are good")),
        Err(error) => Err(error.to_string()),
    });
    let outcome = some_or_all(words.collect(), &remedy.unwrap_or_default());
    if is_unchecked && outcome.result == TestResult::Passed {
        let remedy = "set tls.ca, and remove tls.insecureSkipVerify, so that nobody can stand in for the server";
        return Outcome::warning("the handshakes came about, but no certificate is verified", remedy);
    }
    outcome
}

/// Asks a name server for the cluster's brokers.
pub async fn query(admin: &Admin, has_tls: bool) -> (Outcome, ClusterInfo) {
    match admin.cluster().await {
        Ok(info) if info.brokers.is_empty() => {
            let remedy = "start a broker, and check the name servers that it registers at (namesrvAddr)";
            (Outcome::failed("the name server knows no broker", remedy), info)
        }
        Ok(info) => {
            let names = list(info.brokers.iter().map(|broker| format!("{}/{}", broker.cluster, broker.name)));
            (Outcome::passed(format!("brokers: {names}")), info)
        }
        Err(error) => {
            let mut outcome = Outcome::of_error(&error);
            if !has_tls && error.kind() == ErrorKind::NameServerUnreachable {
                // It accepted a TCP connection a moment ago.
                outcome.remedy =
                    "it accepts connections and does not answer: check that it is a name server (9876) and not a \
                    broker or the gRPC proxy; if it asks for TLS, set spec.tls"
                        .to_owned();
            }
            (outcome, ClusterInfo::default())
        }
    }
}

/// Masters of all brokers with their advertised addresses.
pub fn masters(info: &ClusterInfo) -> impl Iterator<Item = (&BrokerInfo, &str)> {
    info.brokers.iter().filter_map(|broker| Some((broker, broker.addresses.get(&0)?.as_str())))
}

/// Whether the address of every broker accepts a connection; a replica that does not is a warning.
pub async fn reach_brokers(info: &ClusterInfo, cluster: &ClusterConfig) -> Outcome {
    let advertised =
        info.brokers.iter().flat_map(|broker| broker.addresses.iter().map(move |(id, address)| (broker, *id, address)));
    let attempts = advertised.map(|(broker, id, address)| async move {
        let target = cluster.broker_addresses.get(address).unwrap_or(address);
        match reach(target).await {
            Ok(words) => Ok(words),
            Err(why) => Err((id == 0, format!("{} advertises {address}; {why}", broker.name), address.as_str())),
        }
    });
    let outcomes = join_all(attempts).await;
    let bad: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    if bad.is_empty() {
        return Outcome::passed(list(outcomes.into_iter().flatten()));
    }
    let remedy = suggest(&bad.iter().map(|(_, _, address)| *address).collect::<Vec<_>>(), cluster).await;
    let has_master = bad.iter().any(|(is_master, _, _)| *is_master);
    let words =
        list(bad.iter().filter(|(is_master, _, _)| *is_master == has_master).map(|(_, words, _)| words.clone()));
    if has_master { Outcome::failed(words, remedy) } else { Outcome::warning(words, remedy) }
}

/// An address map that works, found by trying the broker's port on the hosts of the name servers.
async fn suggest(advertised: &[&str], cluster: &ClusterConfig) -> String {
    let hosts: Vec<_> =
        cluster.name_servers.iter().filter_map(|server| split_port(server)).map(|(host, _)| host).collect();
    let mut pairs = Vec::new();
    for address in advertised.iter().take(NAMED) {
        let Some((_, port)) = split_port(address) else { continue };
        for host in &hosts {
            let candidate = format!("{host}:{port}");
            if candidate != **address && reach(&candidate).await.is_ok() {
                pairs.push(format!("{address:?}: {candidate:?}"));
                break;
            }
        }
    }
    let set = "set the broker's brokerIP1 to an address that is reachable from here";
    match pairs.as_slice() {
        [] => format!(
            "{set}, or map it: spec.brokerAddresses: {{{:?}: \"HOST:PORT\"}}",
            advertised.first().unwrap_or(&"")
        ),
        pairs => format!("{set}, or map it; this answers: spec.brokerAddresses: {{{}}}", pairs.join(", ")),
    }
}

/// The first few of `items`; the rest is counted.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.len().checked_sub(NAMED) {
        Some(rest @ 1..) => format!("{}; and {rest} more", items[..NAMED].join("; ")),
        _ => items.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_one_by_one() {
        let check = |servers: &[&str]| {
            let name_servers = servers.iter().map(|server| (*server).to_owned()).collect();
            check_addresses(&ClusterConfig { name_servers, ..ClusterConfig::default() })
        };
        assert_eq!(check(&["a:9876", "10.0.0.1:1"]).result, TestResult::Passed);
        for wrong in ["a", "http://a:9876", "a:0", "a:b", ":9876", "a:1;b:2", "a:65536"] {
            let outcome = check(&["good:9876", wrong]);
            assert!(outcome.result == TestResult::Failed && outcome.message.contains(wrong), "{outcome:?}");
        }
        assert_eq!(check(&[]).result, TestResult::Failed);
    }

    #[test]
    fn the_domain_stands_in_for_the_servers() {
        let of = |domain: &str| {
            addresses(&ClusterConfig { name_server_domain: Some(domain.to_owned()), ..ClusterConfig::default() })
                .remove(0)
        };
        assert_eq!(of("http://ns.example.com/rocketmq/nsaddr"), "ns.example.com:80");
        assert_eq!(of("https://ns.example.com"), "ns.example.com:443");
        assert_eq!(of("http://ns.example.com:8080/x"), "ns.example.com:8080");
    }

    #[tokio::test]
    async fn one_dead_name_server_of_two_is_a_warning() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap().to_string();
        let outcome = reach_name_servers(&[alive.clone(), "127.0.0.1:1".to_owned()]).await;
        assert_eq!(outcome.result, TestResult::Warning);
        assert!(outcome.message.contains("127.0.0.1:1: "), "{}", outcome.message);
        assert_eq!(reach_name_servers(&["127.0.0.1:1".to_owned()]).await.result, TestResult::Failed);
        assert_eq!(reach_name_servers(&[alive]).await.result, TestResult::Passed);
    }
}
