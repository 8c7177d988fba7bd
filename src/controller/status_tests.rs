use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::super::error::Problem;
use super::*;

fn deployment(desired: i32, status: Value) -> Deployment {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"generation": 2},
        "spec": {"replicas": desired, "selector": {}, "template": {}},
        "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn ready_deployment() -> Deployment {
    deployment(
        2,
        json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}),
    )
}

fn outcome(failure: Option<Error>, deployment: Option<Deployment>) -> Outcome {
    Outcome { failure, deployment, plain_credentials: Some(Vec::new()) }
}

/// Ready and the shared conditions as `Type=Status Reason`, each with its message.
fn conditions(
    state: DesiredState,
    outcome: &Outcome,
    complaint: Option<Complaint>,
    previous: &[Condition],
) -> Vec<(String, String)> {
    let rollout = outcome.deployment.as_ref().map(Rollout::of).unwrap_or_default();
    let situation = Situation { state, outcome, rollout, complaint, homeless: None, previous };
    let mut drafts = vec![situation.ready()];
    drafts.extend(situation.shared());
    let merged = merge(&[], drafts, 1, Timestamp::UNIX_EPOCH);
    merged
        .into_iter()
        .map(|found| (format!("{}={} {}", found.type_, found.status, found.reason), found.message))
        .collect()
}

fn headlines(state: DesiredState, outcome: &Outcome) -> Vec<String> {
    conditions(state, outcome, None, &[]).into_iter().map(|(headline, _)| headline).collect()
}

#[test]
fn all_is_well() {
    let expected = [
        "Ready=True Running",
        "Accepted=True Accepted",
        "ResolvedRefs=True Resolved",
        "Paused=False NotPaused",
        "Reconciling=False Settled",
        "Stalled=False Settled",
    ];
    assert_eq!(headlines(DesiredState::Running, &outcome(None, Some(ready_deployment()))), expected);
}

#[test]
fn an_invalid_spec_stalls_and_says_what_keeps_running() {
    let failure = Error::Invalid(vec![Problem::invalid_spec("spec.x: wrong")]);
    let found = conditions(DesiredState::Running, &outcome(Some(failure), Some(ready_deployment())), None, &[]);
    let expected = [
        "Ready=False InvalidSpec",
        "Accepted=False InvalidSpec",
        "ResolvedRefs=Unknown InvalidSpec",
        "Paused=False NotPaused",
        "Reconciling=False Settled",
        "Stalled=True InvalidSpec",
    ];
    assert_eq!(found.iter().map(|(headline, _)| headline.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(found[0].1, "spec.x: wrong; the last good configuration keeps running with 2 workers");
}

#[test]
fn a_missing_reference_leaves_the_spec_accepted() {
    let failure = Error::Unresolved(vec![Problem::new(reasons::SECRET_NOT_FOUND, "spec.y: missing")]);
    let found = headlines(DesiredState::Running, &outcome(Some(failure), None));
    let expected = ["Ready=False SecretNotFound", "Accepted=True Accepted", "ResolvedRefs=False SecretNotFound"];
    assert_eq!(found[..3], expected);
    assert_eq!(found[4..], ["Reconciling=True SecretNotFound", "Stalled=False Settled"]);
}

#[test]
fn a_failed_request_repeats_what_was_known() {
    let failure = || Error::WriteStatus(kube::Error::TlsRequired);
    let found = headlines(DesiredState::Running, &outcome(Some(failure()), None));
    assert_eq!(found[1], "Accepted=Unknown ApplyFailed");
    let known = merge(&[], vec![Draft::new(types::ACCEPTED, true, reasons::ACCEPTED, "m")], 1, Timestamp::UNIX_EPOCH);
    let found = conditions(DesiredState::Running, &outcome(Some(failure()), None), None, &known);
    assert_eq!(found[1].0, "Accepted=True Accepted");
}

#[test]
fn workers_decide_on_ready() {
    let table = [
        (
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1}),
            "Ready=False WorkersNotReady",
            "1 of 2 workers are ready",
            "Reconciling=True Progressing",
        ),
        // Rolling: the old ones still serve.
        (
            json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2}),
            "Ready=True Running",
            "2 of 2 workers are ready",
            "Reconciling=True Progressing",
        ),
        (
            json!({"observedGeneration": 2, "replicas": 0, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}),
            "Ready=False WorkersUnavailable",
            "0 of 2 workers are ready: exceeded quota",
            "Reconciling=False Settled",
        ),
    ];
    for (status, ready, message, reconciling) in table {
        let found = conditions(DesiredState::Running, &outcome(None, Some(deployment(2, status))), None, &[]);
        assert_eq!((found[0].0.as_str(), found[0].1.as_str(), found[4].0.as_str()), (ready, message, reconciling));
    }
}

#[test]
fn a_failing_worker_is_not_ready_even_if_its_pod_is() {
    let complaint = Complaint { reason: reasons::WORKER_FAILING, message: "pod: no route".to_owned() };
    let found = conditions(DesiredState::Running, &outcome(None, Some(ready_deployment())), Some(complaint), &[]);
    assert_eq!(found[0], ("Ready=False WorkerFailing".to_owned(), "pod: no route".to_owned()));
}

#[test]
fn held_back_is_ready_once_nothing_runs() {
    let paused = headlines(DesiredState::Paused, &outcome(None, Some(deployment(0, json!({"observedGeneration": 2})))));
    assert_eq!((paused[0].as_str(), paused[3].as_str()), ("Ready=True Paused", "Paused=True Paused"));
    let finishing = deployment(0, json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}));
    let finishing = headlines(DesiredState::Paused, &outcome(None, Some(finishing)));
    assert_eq!(finishing[0], "Ready=False WorkersNotReady");
    let stopped = headlines(DesiredState::Stopped, &outcome(None, None));
    assert_eq!((stopped[0].as_str(), stopped[3].as_str()), ("Ready=True Stopped", "Paused=True Stopped"));
}

#[test]
fn plain_credentials_are_warned_of_and_remembered() {
    let plain = Outcome { plain_credentials: Some(vec!["spec.accessKey".to_owned()]), ..outcome(None, None) };
    let found = conditions(DesiredState::Running, &plain, None, &[]);
    assert_eq!(found[6].0, "PlainTextCredential=True PlainTextValue");
    let known = merge(
        &[],
        vec![Draft::new(types::PLAIN_TEXT_CREDENTIAL, true, reasons::PLAIN_TEXT_VALUE, "m")],
        1,
        Timestamp::UNIX_EPOCH,
    );
    let unknown = Outcome { plain_credentials: None, ..outcome(None, None) };
    assert_eq!(conditions(DesiredState::Running, &unknown, None, &known)[6].1, "m");
    assert_eq!(conditions(DesiredState::Running, &outcome(None, None), None, &known).len(), 6);
}
