//! Status: the conditions that all kinds share, and writing a status when, and only when, it has changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::json;

use crate::api::condition::{reasons, types};
use crate::api::workload::DesiredState;
use crate::api::{RocketMQBindingStatus, RocketMQConnectionStatus, RocketMQSyncStatus};

use super::children::MANAGER;
use super::conditions::{Draft, fingerprint, merge, notices};
use super::context::{Context, Key};
use super::error::{Class, Error};
use super::events::Notice;
use super::reconciler::Kind;
use super::settle::Outcome;
use super::workload::state::{Complaint, Rollout};

/// A status with conditions.
pub trait HasConditions {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
}

impl HasConditions for RocketMQBindingStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl HasConditions for RocketMQConnectionStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl HasConditions for RocketMQSyncStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

/// The conditions of `object`'s status as it was last seen.
pub fn conditions_of<K>(object: &K) -> &[Condition]
where
    K: HasStatus,
    K::Status: HasConditions,
{
    object.status().map(HasConditions::conditions).unwrap_or_default()
}

/// Tells at once that a new object was seen: its `Ready` is unknown until it was looked at.
///
/// # Errors
/// The status could not be written.
pub async fn announce_first_sight<K>(context: &Context, object: &K) -> Result<(), Error>
where
    K: Kind + HasStatus,
    K::Status: HasConditions,
{
    if !conditions_of(object).is_empty() || !context.memory.announce(&Key::of(object)) {
        return Ok(());
    }
    let message = "the operator has seen the resource and looks at it";
    let drafts = vec![
        Draft::unknown(types::READY, reasons::PROGRESSING, message),
        Draft::new(types::RECONCILING, true, reasons::PROGRESSING, message),
    ];
    let conditions = merge(&[], drafts, object.meta().generation.unwrap_or_default(), Timestamp::now());
    patch(context, object, &json!({"conditions": conditions})).await
}

/// Tells `notice` as an Event about `object`.
pub async fn announce<K: Kind>(context: &Context, object: &K, notice: Option<Notice>) {
    if let Some(notice) = notice {
        context.publisher.publish(&object.object_ref(&()), &[notice]).await;
    }
}

/// Writes `next` as the status of `object` when it differs in more than times, and tells news as Events.
///
/// # Errors
/// The status could not be written.
pub async fn write<K>(context: &Context, object: &K, next: &K::Status) -> Result<(), Error>
where
    K: Kind + HasStatus,
    K::Status: HasConditions + Serialize,
{
    let (key, print) = (Key::of(object), fingerprint(next));
    // The stored copy may be older than our own last write.
    let written = context.memory.written(&key).or_else(|| object.status().map(fingerprint));
    if written == Some(print) {
        return Ok(());
    }
    patch(context, object, next).await?;
    context.memory.note_written(&key, print);
    let news = notices(conditions_of(object), next.conditions());
    context.publisher.publish(&object.object_ref(&()), &news).await;
    Ok(())
}

async fn patch<K: Kind>(context: &Context, object: &K, status: &impl Serialize) -> Result<(), Error> {
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.uid()},
        "status": status,
    });
    let api = Api::<K>::namespaced(context.client.clone(), &namespace);
    match api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body)).await {
        // Deleted meanwhile, or deleted and created again: there is nobody left to tell.
        Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => Ok(()),
        Err(error) => Err(Error::WriteStatus(error)),
        Ok(_) => Ok(()),
    }
}

/// What the shared conditions are computed from.
pub struct Situation<'a> {
    /// The state that the spec asks for.
    pub state: DesiredState,
    /// What the reconciliation came to.
    pub outcome: &'a Outcome,
    /// How far the workers have got.
    pub rollout: Rollout,
    /// What is wrong with the workers by their own reports.
    pub complaint: Option<Complaint>,
    /// A pod for which the scheduler finds no node, and why.
    pub homeless: Option<(String, String)>,
    /// Conditions as they were.
    pub previous: &'a [Condition],
}

impl Situation<'_> {
    /// `Ready` for a kind that is ready when its workers are.
    #[must_use]
    pub fn ready(&self) -> Draft {
        if let Some(failure) = &self.outcome.failure {
            let message = match self.rollout.ready {
                0 => failure.to_string(),
                ready => format!("{failure}; the last good configuration keeps running with {ready} workers"),
            };
            return Draft::new(types::READY, false, failure.reason(), message);
        }
        let (rollout, sentence) = (&self.rollout, self.rollout.sentence());
        match self.state {
            DesiredState::Stopped => {
                return Draft::new(types::READY, true, reasons::STOPPED, "spec.state is Stopped, nothing runs");
            }
            DesiredState::Paused if rollout.replicas == 0 => {
                return Draft::new(types::READY, true, reasons::PAUSED, "spec.state is Paused, no messages flow");
            }
            DesiredState::Paused | DesiredState::Running => {}
        }
        if let Some((pod, why)) = self.homeless.as_ref().filter(|_| !rollout.complete) {
            let message = format!(
                "{sentence}: no node is eligible for {pod}: {why}; make room, or change agent of the connection, or template"
            );
            return Draft::new(types::READY, false, reasons::AGENT_UNAVAILABLE, message);
        }
        if let Some(stuck) = &rollout.stuck {
            return Draft::new(types::READY, false, reasons::WORKERS_UNAVAILABLE, format!("{sentence}: {stuck}"));
        }
        let failing = self.complaint.as_ref().filter(|complaint| complaint.reason == reasons::WORKER_FAILING);
        if let Some(complaint) = failing {
            return Draft::new(types::READY, false, complaint.reason, complaint.message.clone());
        }
        match rollout.available >= rollout.desired && (rollout.desired > 0 || rollout.replicas == 0) {
            true => Draft::new(types::READY, true, reasons::RUNNING, sentence),
            false => Draft::new(types::READY, false, reasons::WORKERS_NOT_READY, sentence),
        }
    }

    /// `Accepted`, `ResolvedRefs`, `Paused`, `Reconciling`, `Stalled` and, while it applies, `PlainTextCredential`.
    #[must_use]
    pub fn shared(&self) -> Vec<Draft> {
        let mut drafts = vec![
            self.verdict(types::ACCEPTED, reasons::ACCEPTED, "the spec is valid"),
            self.verdict(types::RESOLVED_REFS, reasons::RESOLVED, "everything that the spec names was found"),
            self.paused(),
            self.reconciling(),
            self.stalled(),
        ];
        drafts.extend(self.plain_text_credential());
        drafts
    }

    fn verdict(&self, type_: &'static str, good_reason: &'static str, good: &str) -> Draft {
        let Some(failure) = &self.outcome.failure else { return Draft::new(type_, true, good_reason, good) };
        match failure {
            _ if failure.condition() == Some(type_) => Draft::new(type_, false, failure.reason(), failure.to_string()),
            // The spec was valid and everything was found before this failed; or the spec is valid and the rest is not known.
            Error::Apply(_) | Error::Unresolved(_) => Draft::new(type_, true, good_reason, good),
            _ => self.as_before(type_, failure),
        }
    }

    fn as_before(&self, type_: &'static str, failure: &Error) -> Draft {
        let before = self.previous.iter().find(|condition| condition.type_ == type_);
        match before {
            Some(before) => Draft::repeat(type_, before),
            None => Draft::unknown(type_, failure.reason(), "not looked at yet"),
        }
    }

    fn paused(&self) -> Draft {
        match self.state {
            DesiredState::Running => Draft::new(types::PAUSED, false, reasons::NOT_PAUSED, "spec.state is Running"),
            DesiredState::Paused => {
                Draft::new(types::PAUSED, true, reasons::PAUSED, "spec.state is Paused; set it to Running to go on")
            }
            DesiredState::Stopped => {
                Draft::new(types::PAUSED, true, reasons::STOPPED, "spec.state is Stopped; set it to Running to start")
            }
        }
    }

    fn reconciling(&self) -> Draft {
        let settled = Draft::new(types::RECONCILING, false, reasons::SETTLED, "nothing is being changed");
        match &self.outcome.failure {
            Some(failure) if failure.class() == Class::Terminal => settled,
            Some(failure) => Draft::new(types::RECONCILING, true, failure.reason(), failure.to_string()),
            None if self.outcome.deployment.is_none() || self.rollout.complete || self.rollout.stuck.is_some() => {
                settled
            }
            None => Draft::new(types::RECONCILING, true, reasons::PROGRESSING, self.rollout.sentence()),
        }
    }

    fn stalled(&self) -> Draft {
        let terminal = self.outcome.failure.as_ref().filter(|failure| failure.class() == Class::Terminal);
        match (terminal, &self.rollout.stuck) {
            (Some(failure), _) => Draft::new(types::STALLED, true, failure.reason(), failure.to_string()),
            (None, Some(stuck)) => Draft::new(types::STALLED, true, reasons::WORKERS_UNAVAILABLE, stuck),
            (None, None) => {
                Draft::new(types::STALLED, false, reasons::SETTLED, "nothing waits for a change of the resource")
            }
        }
    }

    fn plain_text_credential(&self) -> Option<Draft> {
        let type_ = types::PLAIN_TEXT_CREDENTIAL;
        match &self.outcome.plain_credentials {
            None => self
                .previous
                .iter()
                .find(|condition| condition.type_ == type_)
                .map(|before| Draft::repeat(type_, before)),
            Some(fields) if fields.is_empty() => None,
            Some(fields) => {
                let fields = fields.join(", ");
                let message = format!(
                    "{fields}: everybody who may read the resource can read the credential; put it into a Secret and use secretKeyRef"
                );
                Some(Draft::new(type_, true, reasons::PLAIN_TEXT_VALUE, message))
            }
        }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
