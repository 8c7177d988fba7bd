//! Publishes Events about custom resources. Callers publish on a change of reason only; the one shared [`Recorder`] joins
//! what still repeats into a series.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubernetesEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};

use super::names;

/// Who reports the Events.
pub const CONTROLLER: &str = "rocketmq-connector-operator";

/// Longest note that the API server takes, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Longest name for which the recorder's `<name>.<time>` is still a valid name of an Event.
const RECORDER_NAME_LIMIT: usize = 230;

/// One thing worth telling about a custom resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should act on it.
    pub warning: bool,
    /// CamelCase reason, the same as the condition's.
    pub reason: String,
    /// What happened, in a sentence.
    pub message: String,
}

/// Publishes notices as Events.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    recorder: Recorder,
    instance: String,
}

impl Publisher {
    /// A publisher that reports as `pod_name`.
    #[must_use]
    pub fn new(client: Client, pod_name: &str) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(pod_name.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, recorder, instance: pod_name.to_owned() }
    }

    /// Publishes `notices`. A failure is logged and not returned: an Event is never worth failing a reconciliation.
    pub async fn publish(&self, about: &ObjectReference, notices: &[Notice]) {
        for notice in notices {
            if let Err(error) = self.publish_one(about, notice).await {
                tracing::warn!(%error, reason = notice.reason, "failed to publish an event");
            }
        }
    }

    async fn publish_one(&self, about: &ObjectReference, notice: &Notice) -> Result<(), kube::Error> {
        if about.name.as_ref().is_some_and(|name| name.len() > RECORDER_NAME_LIMIT) {
            return self.publish_for_long_name(about, notice).await;
        }
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.clone(),
            note: Some(note(&notice.message)),
            action: "Reconciling".to_owned(),
            secondary: None,
        };
        self.recorder.publish(&event, about).await
    }

    /// The recorder names an Event after its subject, which does not fit for the longest names.
    async fn publish_for_long_name(&self, about: &ObjectReference, notice: &Notice) -> Result<(), kube::Error> {
        let namespace = about.namespace.clone().unwrap_or_default();
        let now = Timestamp::now();
        let name =
            format!("{}.{:x}", names::label_value(about.name.as_deref().unwrap_or_default()), now.as_nanosecond());
        let event = KubernetesEvent {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.clone()), ..ObjectMeta::default() },
            action: Some("Reconciling".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(note(&notice.message)),
            reason: Some(notice.reason.clone()),
            regarding: Some(about.clone()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
            ..KubernetesEvent::default()
        };
        Api::namespaced(self.client.clone(), &namespace).create(&PostParams::default(), &event).await.map(|_| ())
    }
}

/// `message` cut at a character boundary to what an Event takes.
fn note(message: &str) -> String {
    message
        .chars()
        .scan(0, |bytes, character| {
            *bytes += character.len_utf8();
            (*bytes <= NOTE_LIMIT).then_some(character)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_at_a_character() {
        assert_eq!(note("short"), "short");
        let long = "é".repeat(600);
        assert_eq!(note(&long).len(), 1024);
    }
}
