//! Sorts admitted documents into the objects that they describe.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Mistake;
use super::manifest::Document;
use super::schema::Schemas;
use crate::api::{GROUP, RocketMQBinding, RocketMQConnection, RocketMQSync, VERSION};

/// Namespace of documents that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Namespace and name.
pub type Key = (String, String);

/// Keys of a Secret or ConfigMap with their values.
pub type Data = BTreeMap<String, Vec<u8>>;

/// The objects of all manifests.
#[derive(Default)]
pub struct Resources {
    /// Connections.
    pub connections: BTreeMap<Key, Placed<RocketMQConnection>>,
    /// Bindings.
    pub bindings: BTreeMap<Key, Placed<RocketMQBinding>>,
    /// Syncs.
    pub syncs: BTreeMap<Key, Placed<RocketMQSync>>,
    /// Secrets.
    pub secrets: BTreeMap<Key, Data>,
    /// ConfigMaps.
    pub config_maps: BTreeMap<Key, Data>,
    /// Documents of kinds that only a cluster can use.
    pub ignored: Vec<String>,
}

/// An object and the place of its manifest.
pub struct Placed<Object> {
    /// Where its manifest is.
    pub place: String,
    /// The object.
    pub object: Object,
}

impl Resources {
    /// Admits `documents` and sorts them.
    ///
    /// # Errors
    /// Every mistake of every document.
    pub fn collect(documents: &[Document], schemas: &Schemas) -> Result<Self, Vec<Mistake>> {
        let (mut resources, mut mistakes) = (Self::default(), Vec::new());
        for document in documents {
            if let Err(found) = resources.add(document, schemas) {
                mistakes.extend(found);
            }
        }
        if mistakes.is_empty() { Ok(resources) } else { Err(mistakes) }
    }

    fn add(&mut self, document: &Document, schemas: &Schemas) -> Result<(), Vec<Mistake>> {
        let (Some(kind), Some(version)) = (document.text(&["kind"]), document.text(&["apiVersion"])) else {
            return Err(vec![mistake(document, "", "has no apiVersion and kind; is it a Kubernetes manifest?")]);
        };
        let name = document.text(&["metadata", "name"]).unwrap_or_default().to_owned();
        let namespace = document.text(&["metadata", "namespace"]).unwrap_or(DEFAULT_NAMESPACE).to_owned();
        let key = (namespace, name);
        match (version, kind) {
            ("v1", "Secret") => insert(&mut self.secrets, key, secret_data(document)?, document),
            ("v1", "ConfigMap") => insert(&mut self.config_maps, key, config_map_data(document)?, document),
            _ if version.split('/').next() == Some(GROUP) => self.add_custom(document, schemas, version, kind, key),
            _ => {
                self.ignored.push(document.subject());
                Ok(())
            }
        }
    }

    fn add_custom(
        &mut self,
        document: &Document,
        schemas: &Schemas,
        version: &str,
        kind: &str,
        key: Key,
    ) -> Result<(), Vec<Mistake>> {
        let expected = format!("{GROUP}/{VERSION}");
        if version != expected {
            return Err(vec![mistake(document, "apiVersion", format!("{version:?} is not served; write {expected}"))]);
        }
        let admitted = schemas.admit(kind, &document.value).map_err(|violations| {
            let mistakes =
                violations.into_iter().map(|violation| mistake(document, &violation.field, violation.message));
            mistakes.collect::<Vec<_>>()
        })?;
        match kind {
            "RocketMQConnection" => {
                insert(&mut self.connections, key.clone(), typed(document, admitted, &key)?, document)
            }
            "RocketMQBinding" => insert(&mut self.bindings, key.clone(), typed(document, admitted, &key)?, document),
            _ => insert(&mut self.syncs, key.clone(), typed(document, admitted, &key)?, document),
        }
    }
}

/// A mistake of a document.
pub fn mistake(document: &Document, field: &str, message: impl Into<String>) -> Mistake {
    Mistake {
        place: document.place.clone(),
        subject: document.subject(),
        field: field.to_owned(),
        message: message.into(),
    }
}

fn insert<Object>(
    objects: &mut BTreeMap<Key, Object>,
    key: Key,
    object: Object,
    document: &Document,
) -> Result<(), Vec<Mistake>> {
    if objects.insert(key, object).is_some() {
        return Err(vec![mistake(
            document,
            "metadata.name",
            "is used by an earlier document of the same kind; rename one",
        )]);
    }
    Ok(())
}

/// The typed object, with the identity that the API server would have given it.
fn typed<Object: DeserializeOwned>(
    document: &Document,
    mut value: Value,
    (namespace, name): &Key,
) -> Result<Placed<Object>, Vec<Mistake>> {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), Value::from(namespace.as_str()));
        metadata.entry("uid").or_insert_with(|| Value::from(format!("{namespace}-{name}")));
        metadata.entry("generation").or_insert_with(|| Value::from(1));
    }
    let object = serde_json::from_value(value).map_err(|error| vec![mistake(document, "", error.to_string())])?;
    Ok(Placed { place: document.place.clone(), object })
}

fn entries<'a>(document: &'a Document, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    document.value.get(field).and_then(Value::as_object).into_iter().flatten()
}

fn text<'a>(document: &Document, field: &str, key: &str, value: &'a Value) -> Result<&'a str, Vec<Mistake>> {
    let wrong = || vec![mistake(document, &format!("{field}.{key}"), "must be a text; put it in quotes")];
    value.as_str().ok_or_else(wrong)
}

fn secret_data(document: &Document) -> Result<Data, Vec<Mistake>> {
    let mut data = encoded(document, "data")?;
    for (key, value) in entries(document, "stringData") {
        data.insert(key.clone(), text(document, "stringData", key, value)?.as_bytes().to_vec());
    }
    Ok(data)
}

fn config_map_data(document: &Document) -> Result<Data, Vec<Mistake>> {
    let mut data = encoded(document, "binaryData")?;
    for (key, value) in entries(document, "data") {
        data.insert(key.clone(), text(document, "data", key, value)?.as_bytes().to_vec());
    }
    Ok(data)
}

fn encoded(document: &Document, field: &str) -> Result<Data, Vec<Mistake>> {
    let mut data = Data::new();
    for (key, value) in entries(document, field) {
        // The value itself is never part of a message: it is a secret, however it is spelt.
        let wrong =
            |_| vec![mistake(document, &format!("{field}.{key}"), "is not base64; put plain text under stringData")];
        let compact: String = text(document, field, key, value)?.split_whitespace().collect();
        data.insert(key.clone(), STANDARD.decode(compact).map_err(wrong)?);
    }
    Ok(data)
}
