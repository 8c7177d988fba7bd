//! Sharing queues among the members of a group: every member computes the same split (`AllocateMessageQueueAveragely` of
//! Apache RocketMQ), so Java and other members may be in the group as well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::client::lock as guard;
use super::super::error::{Error, ErrorKind, Result};
use super::super::heartbeat;
use super::super::route::{Queue, TopicRoute};
use super::super::wire::Command;
use super::super::wire::codes::request;
use super::super::wire::loose_json::{self, Loose};
use super::assigned::Assigned;
use super::member::{Member, SubscribedTopic};
use super::{lock, offsets, pull};

/// Time between two rebalances when nothing happens.
const INTERVAL: Duration = Duration::from_secs(20);
/// First pause while something is missing; it doubles up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Keeps the member's queues right until it stops.
pub(super) async fn run(member: Arc<Member>) {
    let mut retry = RETRY;
    loop {
        let complete = rebalance(&member).await;
        let pause = if complete { INTERVAL } else { retry };
        retry = if complete { RETRY } else { (retry * 2).min(MAX_RETRY) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = member.rebalance_wanted.notified() => {}
        }
    }
}

/// Brings the queues of every topic up to date; false when something is missing and should be looked for soon.
async fn rebalance(member: &Arc<Member>) -> bool {
    let mut routes = Vec::new();
    let mut complete = true;
    let topics = member.topics();
    let unsubscribed = revoke(member, |queue| topics.iter().any(|topic| queue.topic == topic.topic));
    let_go(member, unsubscribed).await;
    for topic in &topics {
        match member.client().route(&topic.topic).await {
            Ok(route) => {
                member.note(&topic.topic, None);
                routes.push((topic.clone(), route));
            }
            // brokers make the retry topic when they see the group for the first time
            Err(error) if topic.is_retry && error.kind() == ErrorKind::TopicNotFound => complete = false,
            Err(error) => {
                member.note(&topic.topic, Some(error));
                complete = false;
            }
        }
    }
    if guard(&member.queues).is_empty() {
        heartbeat::beat(member.client()).await; // brokers must know the member before they list it
    }
    for (topic, route) in routes {
        match share(member, &topic, &route).await {
            Ok(mine) => assign(member, &topic, &mine, &route).await,
            Err(error) => {
                complete = false;
                member.note(&topic.topic, Some(error));
            }
        }
    }
    member.signal_rebalance_done();
    complete
}

/// The queues of a topic that are this member's.
async fn share(member: &Member, topic: &SubscribedTopic, route: &TopicRoute) -> Result<BTreeSet<Queue>> {
    let queues = route.readable_queues(&topic.topic);
    if member.config.broadcasting {
        return Ok(queues.into_iter().collect());
    }
    let members = members(member, route).await?;
    let id = &member.client().client_id;
    let Some(at) = members.iter().position(|known| known == id) else {
        return Err(Error::new(
            ErrorKind::BrokerBusy,
            format!("the broker does not list this client in group {} yet", member.group()),
        ));
    };
    Ok(allocate(&queues, members.len(), at).iter().cloned().collect())
}

/// Ids of the group's members in their common order, from the first broker that answers.
async fn members(member: &Member, route: &TopicRoute) -> Result<Vec<String>> {
    let client = member.client();
    let mut failure = Error::new(ErrorKind::Connect, "the route lists no broker");
    for address in route.brokers.iter().filter_map(|broker| broker.addresses.values().next()) {
        let request = Command::request(request::GET_CONSUMER_LIST_BY_GROUP).with("consumerGroup", member.group());
        match client.call(address, request, &format!("group {}", member.group())).await {
            Ok(answer) => {
                let body = loose_json::parse(&answer.body).map_err(|error| {
                    Error::new(ErrorKind::Protocol, format!("{address}: members of group {}: {error}", member.group()))
                })?;
                let listed = body.get("consumerIdList").map(Loose::items).unwrap_or_default();
                let mut ids: Vec<String> = listed.iter().filter_map(Loose::as_str).map(str::to_owned).collect();
                ids.sort();
                // Brokers list a client once for each of its connections, and keep one that has died for two minutes. Nobody
                // would read the share of such a shadow.
                ids.dedup();
                return Ok(ids);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The share of member `at` of `members` in `queues`, both in their common order.
fn allocate(queues: &[Queue], members: usize, at: usize) -> &[Queue] {
    let (average, rest) = (queues.len() / members, queues.len() % members);
    let size = average + usize::from(at < rest);
    let start = at * average + at.min(rest);
    &queues[start..start + size]
}

/// Starts the queues that are new and ends those that went to another member.
async fn assign(member: &Arc<Member>, topic: &SubscribedTopic, mine: &BTreeSet<Queue>, route: &TopicRoute) {
    member.note(&topic.topic, None);
    let lost = revoke(member, |queue| queue.topic != topic.topic || mine.contains(queue));
    let readable = route.readable_queues(&topic.topic);
    for assigned in lost.iter().filter(|assigned| readable.contains(&assigned.queue)) {
        assigned.moved.store(true, Ordering::Relaxed);
    }
    {
        let mut queues = guard(&member.queues);
        for queue in mine {
            if member.is_leaving() || queues.contains_key(queue) {
                continue;
            }
            let assigned = Arc::new(Assigned::new(queue.clone(), member.leaving().child_token()));
            queues.insert(queue.clone(), assigned.clone());
            tracing::debug!(group = member.group(), ?queue, "a queue was assigned");
            member.spawn(pull::run(member.clone(), assigned, topic.clone()));
        }
    }
    let_go(member, lost).await;
}

/// Ends the queues for which `keeps` is false, and returns them.
fn revoke(member: &Arc<Member>, keeps: impl Fn(&Queue) -> bool) -> Vec<Arc<Assigned>> {
    let mut lost = Vec::new();
    guard(&member.queues).retain(|queue, assigned| {
        let keep = keeps(queue);
        if !keep {
            assigned.revoked.cancel(); // at once: the next member may read it already
            lost.push(assigned.clone());
        }
        keep
    });
    lost
}

/// Commits queues that have ended, and gives their locks back.
async fn let_go(member: &Arc<Member>, lost: Vec<Arc<Assigned>>) {
    futures::future::join_all(lost.iter().map(|assigned| offsets::commit(member, assigned))).await;
    for assigned in lost {
        tracing::debug!(group = member.group(), queue = ?assigned.queue, "a queue was let go");
        if member.is_ordered() {
            member.spawn(lock::release_revoked(member.clone(), assigned));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queues(count: usize) -> Vec<Queue> {
        (0..count)
            .map(|queue_id| Queue { topic: "t".into(), broker_name: "b".into(), queue_id: queue_id as i32 })
            .collect()
    }

    proptest! {
        #[test]
        fn every_queue_goes_to_exactly_one_member_and_shares_differ_by_one(count in 0usize..40, members in 1usize..12) {
            let queues = queues(count);
            let shares: Vec<&[Queue]> = (0..members).map(|at| allocate(&queues, members, at)).collect();
            prop_assert_eq!(&shares.concat(), &queues);
            let sizes: Vec<usize> = shares.iter().map(|share| share.len()).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn shares_are_javas() {
        // AllocateMessageQueueAveragely with 8 queues and 3 members: 0-2, 3-5, 6-7
        let queues = queues(8);
        let ids = |at| allocate(&queues, 3, at).iter().map(|queue| queue.queue_id).collect::<Vec<_>>();
        assert_eq!((ids(0), ids(1), ids(2)), (vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]));
    }
}
