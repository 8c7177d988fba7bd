//! Looks whether all members of the consumer group subscribe alike, whoever they are. RocketMQ keeps one subscription a group
//! and shares queues among all members: where they differ, messages go to members that do not want them and are lost.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::error::reported;
use super::super::report::Reporter;
use crate::rocketmq::{Client, Result};
use crate::worker_config::BindingConfig;
use crate::worker_config::report::{ReportedError, warnings};

/// Time until the first look, and between two looks.
const LOOKS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// Topics without the namespace, with their expressions.
type Topics = BTreeMap<String, String>;

/// Looks from time to time, and reports the first member that differs, until `token` is cancelled.
pub async fn watch(client: &Client, config: &BindingConfig, reporter: &Reporter, token: &CancellationToken) {
    let own: Topics = config
        .topics
        .iter()
        .map(|topic| (topic.topic.clone(), normal(topic.expression.as_deref().unwrap_or_default())))
        .collect();
    let mut wait = LOOKS.0;
    while token.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = LOOKS.1;
        match token.run_until_cancelled(look(client, &config.group, &own)).await {
            Some(Ok(foreign)) => reporter.set_warning(warnings::FOREIGN_SUBSCRIPTION, foreign),
            // Brokers may refuse the question, and members may be too old to answer it: then nothing is known.
            Some(Err(error)) => tracing::debug!(%error, "the members of the group could not be looked at"),
            None => return,
        }
    }
}

async fn look(client: &Client, group: &str, own: &Topics) -> Result<Option<ReportedError>> {
    let admin = client.admin();
    for member in admin.consumer_connections(group).await? {
        if member.client_id == client.client_id() {
            continue;
        }
        let theirs = match admin.member_subscriptions(group, &member.client_id).await {
            Ok(theirs) => theirs.into_iter().map(|(topic, expression)| (topic, normal(&expression))).collect(),
            Err(error) => {
                tracing::debug!(member = member.client_id, %error, "a member does not tell its subscriptions");
                continue;
            }
        };
        if let Some(difference) = difference(own, &theirs) {
            let message = format!(
                "client {} ({}) at {} is in the consumer group {group:?} with other subscriptions: {difference}",
                member.client_id, member.language, member.address
            );
            let remedy = "RocketMQ loses messages of such a group: give one of them another consumer group, or both the same \
                          topics and expressions";
            return Ok(Some(reported(warnings::FOREIGN_SUBSCRIPTION, message, remedy)));
        }
    }
    Ok(None)
}

/// An expression in one spelling: `*` for all, else its tags in order.
fn normal(expression: &str) -> String {
    let mut tags: Vec<_> = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect();
    if tags.is_empty() || tags.contains(&"*") {
        return "*".to_owned();
    }
    tags.sort_unstable();
    tags.dedup();
    tags.join("||")
}

fn difference(own: &Topics, theirs: &Topics) -> Option<String> {
    let mut parts = Vec::new();
    for (topic, expression) in own {
        match theirs.get(topic) {
            None => parts.push(format!("topic {topic} only here")),
            Some(other) if other != expression => {
                parts.push(format!("topic {topic} with {expression:?} here and {other:?} there"));
            }
            Some(_) => {}
        }
    }
    parts.extend(
        theirs.keys().filter(|topic| !own.contains_key(*topic)).map(|topic| format!("topic {topic} only there")),
    );
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(pairs: &[(&str, &str)]) -> Topics {
        pairs.iter().map(|(topic, expression)| ((*topic).to_owned(), normal(expression))).collect()
    }

    #[test]
    fn spelling_is_no_difference() {
        assert_eq!(difference(&topics(&[("a", ""), ("b", "x || y")]), &topics(&[("b", "y||x||x"), ("a", "*")])), None);
    }

    #[test]
    fn each_difference_is_named() {
        let text = difference(&topics(&[("a", "*"), ("b", "x")]), &topics(&[("a", "y"), ("c", "")])).unwrap();
        assert_eq!(text, "topic a with \"*\" here and \"y\" there, topic b only here, topic c only there");
    }
}
