//! `accessKey` and `secretKey`: references stay references, plain values go into a Secret.

use std::collections::BTreeMap;

use super::Conversion;
use super::component::object_name;
use super::manifest::{Credential, Reference, Secret};
use super::properties::Given;

/// Dapr's names for the store of Kubernetes' own Secrets.
const KUBERNETES_STORE: &str = "kubernetes";

/// What the two properties became.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) access_key: Option<Credential>,
    pub(super) secret_key: Option<Credential>,
    /// Plain values, to be kept in a Secret of this name.
    pub(super) secret: Option<Secret>,
}

impl Conversion<'_> {
    /// Reads both; one without the other is a mistake.
    pub(super) fn credentials(&mut self) -> Credentials {
        let mut plain = BTreeMap::new();
        let access_key = self.credential("accessKey", &mut plain);
        let secret_key = self.credential("secretKey", &mut plain);
        let missing = match (&access_key, &secret_key) {
            (Some(_), None) => Some(("secretKey", "accessKey")),
            (None, Some(_)) => Some(("accessKey", "secretKey")),
            _ => None,
        };
        if let Some((missing, given)) = missing {
            self.wrong(missing, format!("is missing while {given} is set; set both, or neither"));
        }
        let secret = (!plain.is_empty()).then(|| self.keep(plain));
        Credentials { access_key, secret_key, secret }
    }

    fn credential(&mut self, name: &str, plain: &mut BTreeMap<String, String>) -> Option<Credential> {
        let Given::Secret { name: secret, key } = self.component.properties.find(name)?.given.clone() else {
            plain.insert(name.to_owned(), self.text(name)?);
            return Some(reference(self.secret_name(), name.to_owned()));
        };
        let object = object_name(&secret);
        match self.component.secret_store.clone() {
            Some(store) if store != KUBERNETES_STORE => self.attention(
                name,
                format!("read from the secret store {store:?}, which a worker does not ask"),
                format!(
                    "reads the key {key:?} of the Secret {object:?}: create it in the binding's namespace, for instance with \
                     the External Secrets Operator"
                ),
            ),
            _ => self.changed(
                name,
                format!("read from the Secret {secret:?} at each start"),
                format!("the same key of the Secret {object:?}, mounted as a file; a change is taken up while it runs"),
            ),
        }
        Some(reference(object, key))
    }

    fn keep(&mut self, plain: BTreeMap<String, String>) -> Secret {
        let (name, fields) = (self.secret_name(), plain.keys().cloned().collect::<Vec<_>>().join(" and "));
        self.attention(
            "accessKey, secretKey",
            format!("{fields} stand in the component, for everybody who may read it"),
            format!("they are in the Secret {name:?}, printed with the binding: keep it out of version control"),
        );
        Secret::new(name, self.component.namespace.clone(), plain)
    }

    fn secret_name(&self) -> String {
        let name: String = self.component.object_name().chars().take(240).collect();
        format!("{name}-credentials")
    }
}

fn reference(name: String, key: String) -> Credential {
    Credential { secret_key_ref: Reference { name, key } }
}
