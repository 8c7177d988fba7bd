//! Placement of workers: what `agent` of a connection means for pods, and what two connections of one resource come to.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Toleration,
};

use crate::api::condition::reasons;
use crate::api::connection::{Agent, AgentMode};
use crate::controller::error::Problem;

/// Field by which a node affinity names a node.
const NODE_NAME_FIELD: &str = "metadata.name";

/// Taints of a node that is lost: its kubelet does not answer, or says that it cannot run pods.
const LOST_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// Seconds that a worker stays bound to a lost node. Kubernetes' own default is 300; a worker keeps nothing on its node, and
/// what two of them do twice is what a redelivery does.
const LOST_NODE_SECONDS: i64 = 30;

/// The placement for a resource that uses several connections, each by its name: the manual one, if any.
///
/// # Errors
/// Two manual ones that differ, with the names of both connections.
pub fn agree<'a>(agents: &[(&str, Option<&'a Agent>)]) -> Result<Option<&'a Agent>, Problem> {
    let mut manual = agents.iter().filter_map(|(name, agent)| {
        let agent = agent.filter(|agent| agent.mode == AgentMode::Manual)?;
        Some((*name, agent))
    });
    let Some((first, agent)) = manual.next() else { return Ok(None) };
    match manual.find(|(_, other)| *other != agent) {
        None => Ok(Some(agent)),
        Some((second, _)) => Err(Problem::new(
            reasons::AGENT_CONFLICT,
            format!(
                "spec.agent of RocketMQConnection {first:?} and of RocketMQConnection {second:?} pin the workers to different nodes; \
                 make them the same, or set agent.mode: Automatic in one of them"
            ),
        )),
    }
}

/// Pins a pod as a manual agent says. A node is named by affinity and not by `nodeName`, so that the scheduler looks at its
/// room and its taints, and says why it does not fit.
pub fn place(spec: &mut PodSpec, agent: Option<&Agent>) {
    let Some(agent) = agent.filter(|agent| agent.mode == AgentMode::Manual) else { return };
    spec.affinity = match &agent.node_name {
        Some(node) => Some(on_node(node, agent.affinity.clone().unwrap_or_default())),
        None => agent.affinity.clone(),
    };
    spec.node_selector = (!agent.node_selector.is_empty()).then(|| agent.node_selector.clone());
    spec.tolerations = (!agent.tolerations.is_empty()).then(|| agent.tolerations.clone());
}

/// Lets another node take over soon when a pod's node is lost. Tolerations that the user chose for that stay alone.
pub fn leave_lost_nodes(spec: &mut PodSpec) {
    for taint in LOST_NODE_TAINTS {
        let tolerations = spec.tolerations.get_or_insert_default();
        let covers = |toleration: &Toleration| {
            toleration.key.as_deref().is_none_or(|key| key.is_empty() || key == taint)
                && toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "NoExecute")
        };
        if tolerations.iter().any(covers) {
            continue;
        }
        tolerations.push(Toleration {
            key: Some(taint.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some("NoExecute".to_owned()),
            toleration_seconds: Some(LOST_NODE_SECONDS),
            ..Toleration::default()
        });
    }
}

/// Terms are alternatives: the node's name is added to each of them.
fn on_node(node: &str, mut affinity: Affinity) -> Affinity {
    let requirement = NodeSelectorRequirement {
        key: NODE_NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let of_node: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector =
        of_node.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields.get_or_insert_default().push(requirement.clone());
    }
    affinity
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn agent(fields: Value) -> Agent {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn a_manual_agent_wins_over_automatic_ones() {
        let manual = agent(json!({"mode": "Manual", "nodeName": "n1"}));
        let automatic = agent(json!({}));
        assert_eq!(agree(&[("a", None), ("b", Some(&automatic))]), Ok(None));
        assert_eq!(agree(&[("a", Some(&automatic)), ("b", Some(&manual))]), Ok(Some(&manual)));
        assert_eq!(agree(&[("a", Some(&manual)), ("b", Some(&manual.clone()))]), Ok(Some(&manual)));
    }

    #[test]
    fn manual_agents_that_differ_are_refused_with_both_names() {
        let (one, two) =
            (agent(json!({"mode": "Manual", "nodeName": "n1"})), agent(json!({"mode": "Manual", "nodeName": "n2"})));
        let problem = agree(&[("orders", Some(&one)), ("bills", Some(&two))]).unwrap_err();
        assert_eq!(problem.reason, "AgentConflict");
        assert!(problem.message.contains("\"orders\"") && problem.message.contains("\"bills\""), "{}", problem.message);
    }

    #[test]
    fn a_lost_node_is_left_unless_the_user_tolerates_it() {
        let seconds = |tolerations: Value| -> Vec<(String, Option<i64>)> {
            let mut spec = PodSpec { tolerations: serde_json::from_value(tolerations).unwrap(), ..PodSpec::default() };
            leave_lost_nodes(&mut spec);
            let tolerations = spec.tolerations.unwrap().into_iter();
            tolerations.map(|found| (found.key.unwrap_or_default(), found.toleration_seconds)).collect()
        };
        let (not_ready, unreachable) = (LOST_NODE_TAINTS[0].to_owned(), LOST_NODE_TAINTS[1].to_owned());
        let ours = vec![(not_ready.clone(), Some(30)), (unreachable.clone(), Some(30))];
        assert_eq!(seconds(json!(null)), ours);
        assert_eq!(seconds(json!([{"key": "mq", "operator": "Exists"}]))[1..], ours);
        let own = json!({"key": unreachable, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        assert_eq!(seconds(json!([own])), [(unreachable, Some(5)), (not_ready, Some(30))]);
        assert_eq!(seconds(json!([{"operator": "Exists"}])), [(String::new(), None)]);
    }

    #[test]
    fn a_node_is_named_in_every_term() {
        let term = |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
        let terms = json!({"nodeSelectorTerms": [term("a"), term("b")]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
        let manual = agent(json!({
            "mode": "Manual", "nodeName": "n1", "affinity": affinity, "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "mq", "operator": "Exists"}],
        }));
        let mut spec = PodSpec::default();
        place(&mut spec, Some(&manual));
        let spec = serde_json::to_value(spec).unwrap();
        let placed =
            &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        for term in placed.as_array().unwrap() {
            assert_eq!(term["matchFields"], json!([{"key": "metadata.name", "operator": "In", "values": ["n1"]}]));
            assert_eq!(term["matchExpressions"].as_array().unwrap().len(), 1);
        }
        assert_eq!((&spec["nodeSelector"]["disk"], spec.get("nodeName")), (&json!("ssd"), None));
        assert_eq!(spec["tolerations"][0]["key"], "mq");
    }

    #[test]
    fn an_automatic_agent_leaves_the_pod_to_the_scheduler() {
        let mut spec = PodSpec::default();
        place(&mut spec, Some(&agent(json!({}))));
        assert_eq!(spec, PodSpec::default());
    }
}
