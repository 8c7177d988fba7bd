//! The operator's requests, as the API server's audit log tells them, against the role that the chart gives it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cluster::{expect, run};
use crate::world::{NAMESPACE, OPERATOR_NAMESPACE, RELEASE, World};
use crate::{Failure, Outcome};

/// Group, resource with subresource, verb.
type Permission = (String, String, String);

/// What nobody asks for by a request: the API server looks at it when it admits an object with `blockOwnerDeletion`, in
/// clusters with the admission plugin OwnerReferencesPermissionEnforcement.
fn checked_at_admission((_, resource, verb): &Permission) -> bool {
    resource.ends_with("/finalizers") && verb == "update"
}

pub async fn role_is_exact(world: &World) -> Outcome {
    let Ok(log) = std::env::var("E2E_AUDIT_LOG") else {
        world.show("not looked at: E2E_AUDIT_LOG does not name the API server's audit log");
        return Ok(());
    };
    let text = std::fs::read_to_string(&log).map_err(|error| format!("{log}: {error}"))?;
    let mut asked: BTreeMap<Permission, u32> = BTreeMap::new();
    let mut forbidden = BTreeSet::new();
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{RELEASE}");
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)?;
        let is_ours =
            event["user"]["username"] == user.as_str() && event["stageTimestamp"].as_str() >= Some(&world.began_at);
        if !is_ours || event["objectRef"].is_null() {
            continue;
        }
        for permission in permissions_of(&event) {
            if event["responseStatus"]["code"] == 403 {
                forbidden.insert(permission);
            } else {
                *asked.entry(permission).or_default() += 1;
            }
        }
    }
    for ((group, resource, verb), count) in &asked {
        world.show(&format!("{count:6} {verb:7} {resource} {group}"));
    }
    expect(!asked.is_empty(), || format!("{log} holds no request of {user}"))?;
    expect(forbidden.is_empty(), || format!("these were refused: {forbidden:?}"))?;
    let granted = granted().await?;
    let unused: Vec<_> = granted
        .iter()
        .filter(|permission| !asked.contains_key(*permission) && !checked_at_admission(permission))
        .collect();
    expect(unused.is_empty(), || format!("the role grants what was never asked for: {unused:?}"))?;
    world.show(&format!("{} permissions are granted and used, none was missing", granted.len()));
    Ok(())
}

/// What a request needs. Applying an object that does not exist yet is a patch that needs `create` as well.
fn permissions_of(event: &Value) -> Vec<Permission> {
    let reference = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, verb) = (text(&reference["apiGroup"]), text(&event["verb"]));
    let resource = match reference["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&reference["resource"])),
        None => text(&reference["resource"]),
    };
    let mut verbs = vec![verb.clone()];
    if verb == "patch" && event["responseStatus"]["code"] == 201 {
        verbs.push("create".to_owned());
    }
    verbs.into_iter().map(|verb| (group.clone(), resource.clone(), verb)).collect()
}

/// Every permission that the release's roles grant to the operator.
async fn granted() -> Result<BTreeSet<Permission>, Failure> {
    let mut roles = Vec::new();
    let namespaced = std::env::var("E2E_SCOPE").as_deref() == Ok("namespace");
    let main: [&str; 4] = match namespaced {
        true => ["-n", NAMESPACE, "role", RELEASE],
        false => ["-n", NAMESPACE, "clusterrole", &format!("{OPERATOR_NAMESPACE}-{RELEASE}")],
    };
    let lease = format!("{RELEASE}-lease");
    for [flag, namespace, kind, name] in [main, ["-n", OPERATOR_NAMESPACE, "role", &lease]] {
        let text = run("kubectl", &[flag, namespace, "get", kind, name, "-o", "json"], "").await?;
        roles.push(serde_json::from_str::<Value>(&text)?);
    }
    let mut granted = BTreeSet::new();
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                granted.extend(strings(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    Ok(granted)
}
