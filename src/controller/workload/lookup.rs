//! Looks up what a spec names. Values of Secrets do not leave this module: only which keys exist and are not empty.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use crate::api::condition::reasons;
use crate::controller::error::{Error, Problem};
use crate::controller::feed::ReferenceKind;

use super::files::{MountedFile, Source};

/// Keys, of objects that exist, with a value that is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    objects: BTreeMap<(ReferenceKind, String), BTreeSet<String>>,
}

impl Found {
    /// Notes that an object exists, with the keys that are not empty.
    pub fn insert(&mut self, kind: ReferenceKind, name: &str, keys: impl IntoIterator<Item = String>) {
        self.objects.insert((kind, name.to_owned()), keys.into_iter().collect());
    }

    /// What is missing of the sources of `files`.
    #[must_use]
    pub fn problems(&self, files: &[MountedFile], namespace: &str) -> Vec<Problem> {
        files.iter().filter_map(|file| self.problem(file, namespace)).collect()
    }

    fn problem(&self, file: &MountedFile, namespace: &str) -> Option<Problem> {
        let (kind, name, key) = target(&file.source)?;
        let (noun, no_object, no_key) = match kind {
            ReferenceKind::Secret => ("Secret", reasons::SECRET_NOT_FOUND, reasons::SECRET_KEY_NOT_FOUND),
            _ => ("ConfigMap", reasons::CONFIG_MAP_NOT_FOUND, reasons::CONFIG_MAP_KEY_NOT_FOUND),
        };
        let field = &file.field;
        match self.objects.get(&(kind, name.to_owned())) {
            None => Some(Problem::new(
                no_object,
                format!(
                    "{field}: {noun} {name:?} does not exist in namespace {namespace:?}; create it with the key {key:?}, or name another"
                ),
            )),
            Some(keys) if !keys.contains(key) => Some(Problem::new(
                no_key,
                format!("{field}: {noun} {name:?} has no value under the key {key:?}; {}", known_keys(keys)),
            )),
            Some(_) => None,
        }
    }
}

fn known_keys(keys: &BTreeSet<String>) -> String {
    if keys.is_empty() {
        return "it has no keys with a value, add it".to_owned();
    }
    // Key names are no secrets; a long list helps nobody.
    let names: Vec<_> = keys.iter().take(10).map(|key| format!("{key:?}")).collect();
    format!("add it, or use one of its keys: {}", names.join(", "))
}

/// Whether one of `files` comes out of the object.
#[must_use]
pub fn names(files: &[MountedFile], kind: ReferenceKind, name: &str) -> bool {
    files.iter().filter_map(|file| target(&file.source)).any(|(of_kind, named, _)| of_kind == kind && named == name)
}

/// Gets every object that `files` name, each once.
///
/// # Errors
/// A request failed; that an object does not exist is no failure.
pub async fn look_up(client: &Client, namespace: &str, files: &[MountedFile]) -> Result<Found, Error> {
    let objects: BTreeSet<_> =
        files.iter().filter_map(|file| target(&file.source)).map(|(kind, name, _)| (kind, name)).collect();
    let keys = try_join_all(objects.into_iter().map(|(kind, name)| async move {
        Ok::<_, Error>(((kind, name.to_owned()), keys_of(client, namespace, kind, name).await?))
    }));
    let mut found = Found::default();
    for ((kind, name), keys) in keys.await? {
        keys.into_iter().for_each(|keys| found.insert(kind, &name, keys));
    }
    Ok(found)
}

async fn keys_of(
    client: &Client,
    namespace: &str,
    kind: ReferenceKind,
    name: &str,
) -> Result<Option<BTreeSet<String>>, Error> {
    match kind {
        ReferenceKind::Secret => {
            let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await;
            let found = found.map_err(|source| Error::GetReference { what: format!("Secret {name}"), source })?;
            Ok(found.map(|secret| filled(secret.data.unwrap_or_default(), |value| value.0.is_empty())))
        }
        _ => {
            let found = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await;
            let found = found.map_err(|source| Error::GetReference { what: format!("ConfigMap {name}"), source })?;
            Ok(found.map(|map| filled(map.data.unwrap_or_default(), String::is_empty)))
        }
    }
}

fn filled<Value>(data: BTreeMap<String, Value>, is_empty: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    data.into_iter().filter(|(_, value)| !is_empty(value)).map(|(key, _)| key).collect()
}

fn target(source: &Source) -> Option<(ReferenceKind, &str, &str)> {
    match source {
        Source::Secret(reference) => Some((ReferenceKind::Secret, &reference.name, &reference.key)),
        Source::ConfigMap(reference) => Some((ReferenceKind::ConfigMap, &reference.name, &reference.key)),
        Source::Plain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::api::reference::SecretKeyRef;

    use super::*;

    fn file() -> MountedFile {
        let reference = SecretKeyRef { name: "acl".to_owned(), key: "secretKey".to_owned() };
        MountedFile {
            name: "secretKey",
            field: "spec.secretKey.secretKeyRef".to_owned(),
            source: Source::Secret(reference),
        }
    }

    #[test]
    fn a_missing_secret_is_named_with_field_and_remedy() {
        let problems = Found::default().problems(&[file()], "shop");
        assert_eq!(problems[0].reason, reasons::SECRET_NOT_FOUND);
        assert_eq!(
            problems[0].message,
            "spec.secretKey.secretKeyRef: Secret \"acl\" does not exist in namespace \"shop\"; create it with the key \"secretKey\", or name another"
        );
    }

    #[test]
    fn a_missing_key_tells_which_there_are() {
        let mut found = Found::default();
        found.insert(ReferenceKind::Secret, "acl", ["accessKey".to_owned(), "secret-key".to_owned()]);
        let problems = found.problems(&[file()], "shop");
        assert_eq!(problems[0].reason, reasons::SECRET_KEY_NOT_FOUND);
        assert!(
            problems[0].message.ends_with("use one of its keys: \"accessKey\", \"secret-key\""),
            "{}",
            problems[0].message
        );
        found.insert(ReferenceKind::Secret, "acl", ["secretKey".to_owned()]);
        assert_eq!(found.problems(&[file()], "shop"), []);
    }

    #[test]
    fn an_empty_value_counts_as_missing() {
        let data = BTreeMap::from([("a".to_owned(), String::new()), ("b".to_owned(), "x".to_owned())]);
        assert_eq!(filled(data, String::is_empty), BTreeSet::from(["b".to_owned()]));
    }

    #[test]
    fn names_looks_at_kind_and_name() {
        assert!(names(&[file()], ReferenceKind::Secret, "acl"));
        assert!(!names(&[file()], ReferenceKind::ConfigMap, "acl"));
        assert!(!names(&[file()], ReferenceKind::Secret, "other"));
    }
}
