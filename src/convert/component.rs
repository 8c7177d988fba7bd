//! A Dapr Component as Dapr's runtime reads it.

use serde_json::Value;

use super::properties::{Given, Properties, Property};
use crate::dev::error::Mistake;
use crate::dev::manifest::Document;
use crate::dev::resources::mistake;

/// The type of component that is converted, in lower case: Dapr does not look at the case.
pub const TYPE: &str = "bindings.rocketmq";

/// A component of type [`TYPE`].
#[derive(Debug, Clone)]
pub struct Component<'a> {
    /// Where it comes from.
    pub document: &'a Document,
    /// Its name, as an API caller writes it.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// `spec.metadata`.
    pub properties: Properties,
    /// App ids that load it; every app of the namespace when empty.
    pub scopes: Vec<String>,
    /// Where `secretKeyRef` looks; none for the default.
    pub secret_store: Option<String>,
}

/// Fields of `spec` that Dapr knows.
const SPEC_FIELDS: [&str; 5] = ["type", "version", "metadata", "ignoreErrors", "initTimeout"];

impl<'a> Component<'a> {
    /// Reads the component of a document.
    ///
    /// # Errors
    /// Everything that Dapr would refuse, or drop without a word.
    pub fn read(document: &'a Document) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut wrong = |field: &str, message: String| mistakes.push(mistake(document, field, message));
        let version = document.text(&["apiVersion"]).unwrap_or_default();
        if version != "dapr.io/v1alpha1" {
            wrong("apiVersion", format!("{version:?} is no version of a Component; write dapr.io/v1alpha1"));
        }
        let name = document.text(&["metadata", "name"]).unwrap_or_default();
        if name.is_empty() {
            wrong("metadata.name", "is required; add it".to_owned());
        }
        match document.value.pointer("/spec/version").and_then(Value::as_str).unwrap_or("v1") {
            "v1" | "" => {}
            other => wrong("spec.version", format!("{other:?} is not known; the binding has v1 only")),
        }
        let spec = document.value.get("spec").and_then(Value::as_object);
        for field in spec.into_iter().flat_map(serde_json::Map::keys) {
            if !SPEC_FIELDS.contains(&field.as_str()) {
                wrong(
                    &format!("spec.{field}"),
                    format!("is no field of a Component; known are {}", SPEC_FIELDS.join(", ")),
                );
            }
        }
        let properties = read_properties(document, &mut wrong);
        let scopes = read_scopes(document, &mut wrong);
        let component = Self {
            document,
            name: name.to_owned(),
            namespace: document.text(&["metadata", "namespace"]).map(ToOwned::to_owned),
            properties,
            scopes,
            secret_store: document.text(&["auth", "secretStore"]).filter(|store| !store.is_empty()).map(Into::into),
        };
        if mistakes.is_empty() { Ok(component) } else { Err(mistakes) }
    }

    /// The name of the Kubernetes object: that of the component where it is one.
    #[must_use]
    pub fn object_name(&self) -> String {
        object_name(&self.name)
    }

    /// Namespace and name of what it becomes, for the report.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.object_name()),
            None => self.object_name(),
        }
    }

    /// A text of `spec` beside type and metadata.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<String> {
        let value = self.document.value.get("spec")?.get(name)?;
        (!value.is_null()).then(|| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
    }

    /// Labels or annotations that are the user's own.
    #[must_use]
    pub fn own_metadata(&self, field: &str) -> Option<Value> {
        let mut values = self.document.value.get("metadata")?.get(field)?.as_object()?.clone();
        values.retain(|name, _| name != "kubectl.kubernetes.io/last-applied-configuration");
        (!values.is_empty()).then_some(Value::Object(values))
    }
}

/// `name` as the name of a Kubernetes object: lower-case letters, digits, `-` and `.`.
pub(super) fn object_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let replaced: String = name.chars().map(allowed).take(253).collect();
    let labels: Vec<_> =
        replaced.split('.').map(|label| label.trim_matches('-')).filter(|label| !label.is_empty()).collect();
    if labels.is_empty() { "binding".to_owned() } else { labels.join(".") }
}

fn read_properties(document: &Document, wrong: &mut impl FnMut(&str, String)) -> Properties {
    let mut properties = Properties::default();
    let Some(given) = document.value.pointer("/spec/metadata") else { return properties };
    let Some(items) = given.as_array() else {
        wrong("spec.metadata", "must be a list of {name, value} or {name, secretKeyRef}".to_owned());
        return properties;
    };
    for (index, item) in items.iter().enumerate() {
        let place = format!("spec.metadata[{index}]");
        match read_property(item) {
            Ok(property) => properties.push(property),
            Err(why) => wrong(&place, why),
        }
    }
    properties
}

fn read_property(item: &Value) -> Result<Property, String> {
    let name = item.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).ok_or("has no name; add it")?;
    let unknown = item
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .find(|field| !matches!(field.as_str(), "name" | "value" | "secretKeyRef" | "envRef"));
    if let Some(field) = unknown {
        return Err(format!("({name}) has the field {field:?}; known are name, value, secretKeyRef and envRef"));
    }
    let given = match (item.get("secretKeyRef"), item.get("envRef")) {
        (Some(reference), _) if !reference.is_null() => read_reference(name, reference)?,
        (_, Some(Value::String(variable))) if !variable.is_empty() => Given::Environment(variable.clone()),
        _ => Given::Value(match item.get("value") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
            Some(_) => return Err(format!("({name}) has a list or an object as its value; write a text")),
        }),
    };
    Ok(Property { name: name.to_owned(), given })
}

fn read_reference(name: &str, reference: &Value) -> Result<Given, String> {
    let text = |field: &str| reference.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let secret =
        text("name").ok_or_else(|| format!("({name}) has a secretKeyRef without a name; add the Secret's name"))?;
    // Dapr takes the name for the key when there is none.
    Ok(Given::Secret { name: secret.to_owned(), key: text("key").unwrap_or(secret).to_owned() })
}

fn read_scopes(document: &Document, wrong: &mut impl FnMut(&str, String)) -> Vec<String> {
    let Some(given) = document.value.get("scopes").filter(|given| !given.is_null()) else { return Vec::new() };
    let items: Option<Vec<_>> =
        given.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(ToOwned::to_owned)).collect());
    items.unwrap_or_else(|| {
        wrong("scopes", "must be a list of app ids".to_owned());
        Vec::new()
    })
}
