//! Files that a worker pod mounts: credentials, tokens, certificates. All live in one volume, projected out of the objects
//! that hold them, so that the kubelet updates them when the objects change and the worker reads them again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeProjection,
};

use crate::api::reference::{ConfigMapKeyRef, Credential, PemSource, SecretKeyRef};

/// Folder of the files in a worker pod.
pub const FOLDER: &str = "/etc/rocketmq-connector/credentials";

/// Name of the volume.
pub const VOLUME: &str = "credentials";

/// Access rights of the files: read by the pod's group only.
const MODE: i32 = 0o440;

/// A file of a worker pod.
#[derive(Clone, PartialEq, Eq)]
pub struct MountedFile {
    /// Name in [`FOLDER`]; unique in a pod.
    pub name: &'static str,
    /// Field of the resource that asks for it, for messages.
    pub field: String,
    /// Where its content comes from.
    pub source: Source,
}

/// Where the content of a file comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Key of a Secret.
    Secret(SecretKeyRef),
    /// Key of a ConfigMap.
    ConfigMap(ConfigMapKeyRef),
    /// The manifest itself; the operator puts it into a Secret of its own.
    Plain(String),
}

impl MountedFile {
    /// The file of a credential; none when the credential is empty, which admission refuses.
    #[must_use]
    pub fn credential(name: &'static str, field: impl Into<String>, credential: &Credential) -> Option<Self> {
        let source = match (&credential.secret_key_ref, &credential.value) {
            (Some(reference), _) => Source::Secret(reference.clone()),
            (None, Some(value)) => Source::Plain(value.clone()),
            (None, None) => return None,
        };
        Some(Self { name, field: field.into(), source })
    }

    /// The file of a certificate; none when the source is empty, which admission refuses.
    #[must_use]
    pub fn pem(name: &'static str, field: impl Into<String>, pem: &PemSource) -> Option<Self> {
        let source = match (&pem.secret_key_ref, &pem.config_map_key_ref) {
            (Some(reference), _) => Source::Secret(reference.clone()),
            (None, Some(reference)) => Source::ConfigMap(reference.clone()),
            (None, None) => return None,
        };
        Some(Self { name, field: field.into(), source })
    }

    /// Path in the pod.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{FOLDER}/{}", self.name)
    }
}

/// Path of the file called `name`, when there is one.
#[must_use]
pub fn path_of(files: &[MountedFile], name: &str) -> Option<String> {
    files.iter().find(|file| file.name == name).map(MountedFile::path)
}

/// Fields whose credential stands in the manifest.
#[must_use]
pub fn plain_fields(files: &[MountedFile]) -> Vec<String> {
    let plain = files.iter().filter(|file| matches!(file.source, Source::Plain(_)));
    plain.map(|file| file.field.clone()).collect()
}

/// Content of the Secret that holds the plain values; empty when there are none.
#[must_use]
pub fn plain_values(files: &[MountedFile]) -> BTreeMap<String, String> {
    files
        .iter()
        .filter_map(|file| match &file.source {
            Source::Plain(value) => Some((file.name.to_owned(), value.clone())),
            _ => None,
        })
        .collect()
}

/// The volume with all `files`; those given as plain values come out of the Secret `own_secret`. None without files.
#[must_use]
pub fn volume(files: &[MountedFile], own_secret: &str) -> Option<Volume> {
    if files.is_empty() {
        return None;
    }
    let (mut secrets, mut config_maps) =
        (BTreeMap::<&str, Vec<KeyToPath>>::new(), BTreeMap::<&str, Vec<KeyToPath>>::new());
    for file in files {
        match &file.source {
            Source::Secret(reference) => {
                secrets.entry(&reference.name).or_default().push(item(&reference.key, file.name))
            }
            Source::ConfigMap(reference) => {
                config_maps.entry(&reference.name).or_default().push(item(&reference.key, file.name))
            }
            Source::Plain(_) => secrets.entry(own_secret).or_default().push(item(file.name, file.name)),
        }
    }
    let secrets = secrets.into_iter().map(|(name, items)| VolumeProjection {
        secret: Some(SecretProjection { name: name.to_owned(), items: Some(items), optional: None }),
        ..VolumeProjection::default()
    });
    let config_maps = config_maps.into_iter().map(|(name, items)| VolumeProjection {
        config_map: Some(ConfigMapProjection { name: name.to_owned(), items: Some(items), optional: None }),
        ..VolumeProjection::default()
    });
    let projected =
        ProjectedVolumeSource { default_mode: Some(MODE), sources: Some(secrets.chain(config_maps).collect()) };
    Some(Volume { name: VOLUME.to_owned(), projected: Some(projected), ..Volume::default() })
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &'static str, secret: &str, key: &str) -> MountedFile {
        let reference = SecretKeyRef { name: secret.to_owned(), key: key.to_owned() };
        MountedFile { name, field: format!("spec.{name}"), source: Source::Secret(reference) }
    }

    fn plain(name: &'static str) -> MountedFile {
        MountedFile { name, field: format!("spec.{name}"), source: Source::Plain("s3cr3t".to_owned()) }
    }

    #[test]
    fn files_of_one_secret_share_a_projection() {
        let files = [secret("accessKey", "acl", "user"), secret("secretKey", "acl", "password"), plain("token")];
        let sources = volume(&files, "orders-binding").unwrap().projected.unwrap().sources.unwrap();
        let rendered = serde_json::to_value(sources).unwrap();
        let expected = serde_json::json!([
            {"secret": {"name": "acl", "items": [{"key": "user", "path": "accessKey"}, {"key": "password", "path": "secretKey"}]}},
            {"secret": {"name": "orders-binding", "items": [{"key": "token", "path": "token"}]}},
        ]);
        assert_eq!(rendered, expected);
    }

    #[test]
    fn plain_values_go_to_the_own_secret_and_nowhere_else() {
        let files = [plain("token")];
        assert_eq!(plain_values(&files), BTreeMap::from([("token".to_owned(), "s3cr3t".to_owned())]));
        assert_eq!(plain_fields(&files), ["spec.token"]);
        let mounted = serde_json::to_string(&volume(&files, "own").unwrap()).unwrap();
        assert!(!mounted.contains("s3cr3t"), "{mounted}");
    }

    #[test]
    fn no_files_no_volume() {
        assert_eq!(volume(&[], "own"), None);
    }
}
