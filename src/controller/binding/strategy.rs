//! How a change is rolled out: workers with another subscription must not be in the group together with those before.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy};

use crate::controller::workload::state::Rollout;

use super::subscriptions::Subscription;
use super::validate::ValidatedBinding;

/// Annotation of the Deployment with a digest of what its workers subscribe to.
const SUBSCRIPTION_ANNOTATION: &str = "connector.rocketmq.dev/subscription";

const RECREATE: &str = "Recreate";

/// Notes the subscription in `deployment`, and has the workers that run stop before others start when theirs is another. That
/// holds until the rollout is over.
pub fn choose(deployment: &mut Deployment, deployed: Option<&Deployment>, binding: &ValidatedBinding) {
    let Some(subscription) = Subscription::of(binding) else { return };
    let digest = subscription.digest();
    let is_recreated = deployed.is_some_and(|deployed| match noted(deployed) {
        Some(before) if *before == digest => strategy(deployed) == Some(RECREATE) && !Rollout::of(deployed).complete,
        Some(_) => true,
        // Workers of an operator that did not note it, or of an output.
        None => false,
    });
    let annotations = deployment.metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations.insert(SUBSCRIPTION_ANNOTATION.to_owned(), digest);
    if is_recreated && let Some(spec) = &mut deployment.spec {
        spec.strategy = Some(DeploymentStrategy { type_: Some(RECREATE.to_owned()), rolling_update: None });
    }
}

fn noted(deployment: &Deployment) -> Option<&String> {
    deployment.metadata.annotations.as_ref()?.get(SUBSCRIPTION_ANNOTATION)
}

fn strategy(deployment: &Deployment) -> Option<&str> {
    deployment.spec.as_ref()?.strategy.as_ref()?.type_.as_deref()
}
