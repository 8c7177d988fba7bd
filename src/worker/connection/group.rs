//! The item of the connection test about the consumer group: named, there or about to be, permitted, of one mind.

use std::collections::BTreeSet;

use super::cluster::{list, masters};
use super::test::Outcome;
use super::topics::grant;
use crate::rocketmq::admin::ClusterInfo;
use crate::rocketmq::{Admin, ErrorKind};

/// Checks the group with which `topics` are read.
pub async fn check(admin: &Admin, group: &str, topics: &[String], info: &ClusterInfo) -> Outcome {
    if group.trim().is_empty() {
        let remedy =
            "set consumerGroup to a name of letters, digits, - and _; each binding and sync needs a group of its own";
        return Outcome::failed("the specified group is blank", remedy);
    }
    let known = match admin.groups().await {
        Ok(groups) => Some(groups.iter().any(|known| known == group)),
        Err(error) if error.kind() == ErrorKind::AccessDenied => None,
        Err(error) => return Outcome::of_error(&error),
    };
    if known == Some(false) {
        return check_creation(admin, group, info).await;
    }
    if let Some(refusal) = check_right(admin, group, topics, info).await {
        return refusal;
    }
    match known {
        Some(_) => check_subscription(admin, group, topics).await,
        None => Outcome::passed(format!("{group} may be used; this user may not see its members")),
    }
}

/// The group does not exist: will brokers create it with its first member?
async fn check_creation(admin: &Admin, group: &str, info: &ClusterInfo) -> Outcome {
    for (broker, address) in masters(info) {
        let settings = admin.broker_settings(address).await.unwrap_or_default();
        if settings.get("autoCreateSubscriptionGroup").map(String::as_str) == Some("false") {
            let words = format!("group {group} does not exist and {} creates none by itself", broker.name);
            return Outcome::failed(words, command(group, info));
        }
    }
    Outcome::passed(format!("{group} does not exist; brokers create it with its first member"))
}

fn command(group: &str, info: &ClusterInfo) -> String {
    let cluster = info.brokers.first().map_or("CLUSTER", |broker| broker.cluster.as_str());
    format!(
        "create it: mqadmin updateSubGroup -n NAME_SERVER -c {cluster} -g {group}; or set autoCreateSubscriptionGroup=true"
    )
}

async fn check_right(admin: &Admin, group: &str, topics: &[String], info: &ClusterInfo) -> Option<Outcome> {
    let (readable, _) = admin.queues(topics.first()?).await.ok()?;
    let queue = readable.first()?;
    let end = admin.max_offset(queue).await.unwrap_or_default();
    match admin.peek(queue, group, end, 1).await {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::GroupNotFound => {
            Some(Outcome::failed(format!("group {group} does not exist"), command(group, info)))
        }
        Err(error) if error.kind() == ErrorKind::AccessDenied => Some(Outcome::failed(
            format!("group {group} may not be used by this user: {error}"),
            grant(&format!("Group:{group}"), group, "SUB", "Sub"),
        )),
        Err(error) => Some(Outcome::of_error(&error)),
    }
}

/// Members of one group that subscribe to different topics lose messages: queues are shared among all, and each reads only
/// what it subscribes to.
async fn check_subscription(admin: &Admin, group: &str, topics: &[String]) -> Outcome {
    let subscribed = match admin.group_subscriptions(group).await {
        Ok(subscribed) => subscribed,
        Err(error) if error.kind() == ErrorKind::AccessDenied => {
            return Outcome::passed(format!("{group} may be used; this user may not see its members"));
        }
        Err(error) => return Outcome::of_error(&error),
    };
    let (theirs, ours): (BTreeSet<_>, BTreeSet<_>) = (subscribed.keys().collect(), topics.iter().collect());
    if theirs.is_empty() {
        return Outcome::passed(format!("{group} exists and has no member now"));
    }
    if ours.is_empty() || theirs == ours {
        return Outcome::passed(format!("{group} exists; its members subscribe to {}", list(subscribed.into_keys())));
    }
    let words = format!(
        "the members of {group} subscribe to {}, this connection names {}",
        list(theirs.into_iter().cloned()),
        list(ours.into_iter().cloned())
    );
    Outcome::warning(
        words,
        "use another consumerGroup: all members of a group must subscribe to the same topics, or messages stay unread",
    )
}
