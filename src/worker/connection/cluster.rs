//! The items of the connection test.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::is_authorization;
use super::test::{Outcome, REACH};
use crate::rocketmq::admin::ClusterInfo;
use crate::rocketmq::{Admin, Error, TopicRoute};
use crate::worker_config::connection::{ClusterConfig, Usage};

/// Oldest server version that is supported, as major and minor.
const OLDEST: (u32, u32) = (4, 9);
/// Routes asked for at the same time.
const PARALLEL_ROUTES: usize = 8;
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

/// Asks a name server for the cluster's brokers.
pub async fn query(admin: &Admin) -> (Outcome, ClusterInfo) {
    match admin.cluster().await {
        Ok(info) if info.brokers.is_empty() => {
            let remedy = "start a broker, and check the name servers that it registers at (namesrvAddr)";
            (Outcome::failed("the name server knows no broker", remedy), info)
        }
        Ok(info) => {
            let names = list(info.brokers.iter().map(|broker| format!("{}/{}", broker.cluster, broker.name)));
            (Outcome::passed(format!("brokers: {names}")), info)
        }
        Err(error) => (failed(&error), ClusterInfo::default()),
    }
}

fn failed(error: &Error) -> Outcome {
    Outcome::failed(error.to_string(), error.remedy())
}

/// Whether the address of every broker accepts a connection; a replica that does not is a warning.
pub async fn reach_brokers(info: &ClusterInfo, mapped: &BTreeMap<String, String>) -> Outcome {
    let advertised =
        info.brokers.iter().flat_map(|broker| broker.addresses.iter().map(move |(id, address)| (broker, *id, address)));
    let attempts = advertised.map(|(broker, id, address)| async move {
        let target = mapped.get(address).unwrap_or(address);
        let outcome = reach(target).await;
        (id == 0, outcome.map_err(|why| format!("{} advertises {address}; {why}", broker.name)))
    });
    let outcomes = join_all(attempts).await;
    let remedy =
        "set the broker's brokerIP1 to an address that is reachable from here, or map it in spec.brokerAddresses";
    let bad = |is_master: bool| -> Vec<String> {
        let bad = outcomes.iter().filter(|(master, _)| *master == is_master);
        bad.filter_map(|(_, outcome)| outcome.as_ref().err().cloned()).collect()
    };
    match (bad(true), bad(false)) {
        (masters, _) if !masters.is_empty() => Outcome::failed(list(masters), remedy),
        (_, replicas) if !replicas.is_empty() => Outcome::warning(list(replicas), remedy),
        _ => Outcome::passed(list(outcomes.into_iter().filter_map(|(_, outcome)| outcome.ok()))),
    }
}

/// Asks every master a question that needs a valid signature; the answer is its version.
pub async fn authenticate(admin: &Admin, info: &ClusterInfo, has_credentials: bool) -> (Outcome, Option<String>) {
    let mut version = None;
    for address in info.brokers.iter().filter_map(|broker| broker.addresses.get(&0)) {
        match admin.broker_version(address).await {
            Ok(found) => version = Some(found),
            Err(error) if is_authorization(&error) => {}
            Err(error) => return (failed(&error), version),
        }
    }
    let words = match (&version, has_credentials) {
        (Some(_), true) => "the credentials were accepted",
        (Some(_), false) => "the brokers ask for no credentials",
        (None, _) => "the credentials were accepted; this user may not ask for the version",
    };
    (Outcome::passed(words), version)
}

/// Whether each topic exists and its queues may be used as `usage` needs; gives the number of topics of the cluster.
pub async fn check_topics(admin: &Admin, topics: &[String], usage: Usage) -> (Outcome, u32) {
    let total = admin.user_topics().await.map_or(0, |topics| u32::try_from(topics.len()).unwrap_or(u32::MAX));
    if topics.is_empty() {
        return (Outcome::passed(format!("{total} topics, all are used")), total);
    }
    let checks = stream::iter(topics.to_vec()).map(|topic| check_topic(admin, topic, usage)).buffered(PARALLEL_ROUTES);
    let mut failures: Vec<Outcome> = checks.filter_map(async |check| check.err()).collect().await;
    if failures.is_empty() {
        return (Outcome::passed(format!("{} of {total} topics are used, all exist", topics.len())), total);
    }
    let message = list(failures.iter().map(|failure| failure.message.clone()));
    let remedy = failures.swap_remove(0).remedy;
    (Outcome::failed(message, remedy), total)
}

async fn check_topic(admin: &Admin, topic: String, usage: Usage) -> Result<(), Outcome> {
    let route = admin.topic_route(&topic).await.map_err(|error| failed(&error))?;
    check_permission(&topic, &route, usage)
}

fn check_permission(topic: &str, route: &TopicRoute, usage: Usage) -> Result<(), Outcome> {
    let can_read = route.queues.iter().any(|queue| queue.readable && queue.read_queues > 0);
    let can_write = route.queues.iter().any(|queue| queue.writable && queue.write_queues > 0);
    let remedy = |permission| format!("give it, for instance with: mqadmin updateTopicPerm -t {topic} -p {permission}");
    match usage {
        Usage::Source | Usage::SourceAndTarget if !can_read => {
            Err(Outcome::failed(format!("topic {topic} may not be read from"), remedy(6)))
        }
        Usage::Target | Usage::SourceAndTarget if !can_write => {
            Err(Outcome::failed(format!("topic {topic} may not be written to"), remedy(6)))
        }
        _ => Ok(()),
    }
}

/// Whether the version, for instance `V5_4_0`, is supported.
#[must_use]
pub fn check_version(version: Option<&str>) -> Outcome {
    let Some(version) = version else {
        return Outcome::warning(
            "not known: this user may not ask",
            "give the user the right to read the cluster's settings",
        );
    };
    match parse_version(version) {
        Some(found) if found >= OLDEST => Outcome::passed(version),
        Some(_) => {
            let remedy = format!("use RocketMQ {}.{} or newer", OLDEST.0, OLDEST.1);
            Outcome::failed(format!("version {version} is too old"), remedy)
        }
        None => Outcome::warning(
            format!("version {version:?} cannot be read"),
            "check that it is an Apache RocketMQ broker",
        ),
    }
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let digits = version.trim_start_matches(['V', 'v']);
    let mut parts = digits.split(['_', '.', '-']).map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.len().checked_sub(NAMED) {
        Some(rest @ 1..) => format!("{}; and {rest} more", items[..NAMED].join("; ")),
        _ => items.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config::report::TestResult;

    #[test]
    fn versions_are_compared_by_number() {
        let table = [
            (Some("V4_9_7"), TestResult::Passed),
            (Some("V5_4_0"), TestResult::Passed),
            (Some("V4_10_0"), TestResult::Passed),
            (Some("V4_8_0"), TestResult::Failed),
            (Some("V3_5_8"), TestResult::Failed),
            (Some("HIGHER_VERSION"), TestResult::Warning),
            (None, TestResult::Warning),
        ];
        for (version, expected) in table {
            assert_eq!(check_version(version).result, expected, "{version:?}");
        }
    }

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
