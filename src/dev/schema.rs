//! Checks objects against the schemas of the custom resource definitions as the API server does at admission: defaults,
//! then structure, then CEL rules. Unlike the API server, which drops unknown fields, an unknown field is a mistake.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_cel::cel::{Context, Program};
use kube_cel::{KubeCelExt, Validator, apply_defaults};
use serde_json::Value;

use super::error::{Error, Result};
use crate::api;

/// The schemas of all kinds.
pub struct Schemas {
    schemas: BTreeMap<String, Value>,
    validator: Validator,
}

/// Something wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, for instance `spec.topics[0]`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Schemas {
    /// The schemas of the kinds that this program knows.
    ///
    /// # Errors
    /// A definition has no schema, which is a defect of the program.
    pub fn load() -> Result<Self> {
        let schemas: Result<_> = api::all_crds().iter().map(schema_of).collect();
        Ok(Self { schemas: schemas?, validator: Validator::new() })
    }

    /// The kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.schemas.keys().map(String::as_str)
    }

    /// Gives `object` the schema's defaults.
    ///
    /// # Errors
    /// Every violation; CEL rules are looked at when the structure is right, as the API server does.
    pub fn admit(&self, kind: &str, object: &Value) -> std::result::Result<Value, Vec<Violation>> {
        let Some(schema) = self.schemas.get(kind) else {
            let known: Vec<_> = self.kinds().collect();
            let message = format!("{kind:?} is not known, use one of {}", known.join(", "));
            return Err(vec![Violation { field: "kind".to_owned(), message }]);
        };
        let mut object = object.clone();
        drop_nulls(schema, &mut object);
        let object = apply_defaults(schema, &object);
        let mut violations = Vec::new();
        check(schema, &object, "", &mut violations);
        check_name(&object, &mut violations);
        if violations.is_empty()
            && let Err(errors) = self.validator.validate(schema, &object, None)
        {
            violations.extend(
                errors
                    .into_vec()
                    .into_iter()
                    .map(|error| Violation { field: error.field_path, message: error.message }),
            );
        }
        if violations.is_empty() { Ok(object) } else { Err(violations) }
    }
}

fn schema_of(crd: &CustomResourceDefinition) -> Result<(String, Value)> {
    let kind = crd.spec.names.kind.clone();
    let failed = |why: String| Error::Schema { kind: kind.clone(), why };
    let version = crd.spec.versions.iter().find(|version| version.served);
    let validation = version.and_then(|version| version.schema.as_ref());
    let schema = validation.and_then(|validation| validation.open_api_v3_schema.as_ref());
    let schema = schema.ok_or_else(|| failed("the definition has no schema".to_owned()))?;
    let schema = serde_json::to_value(schema).map_err(|error| failed(error.to_string()))?;
    Ok((kind.clone(), schema))
}

/// Removes `null` where the schema does not allow it: for the API server such a field is not set.
fn drop_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_dropped = |schema: Option<&Value>, field: &Value| {
                field.is_null() && !schema.is_some_and(|schema| is_set(schema, "nullable"))
            };
            fields.retain(|name, field| !is_dropped(field_schema(schema, name), field));
            for (name, field) in fields {
                if let Some(schema) = field_schema(schema, name) {
                    drop_nulls(schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| drop_nulls(schema, item));
            }
        }
        _ => {}
    }
}

fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema
        .get("properties")
        .and_then(|properties| properties.get(name))
        .or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
}

fn is_set(schema: &Value, flag: &str) -> bool {
    schema.get(flag) == Some(&Value::Bool(true))
}

fn check(schema: &Value, value: &Value, path: &str, violations: &mut Vec<Violation>) {
    if value.is_null() && is_set(schema, "nullable") {
        return;
    }
    let before = violations.len();
    check_type(schema, value, path, violations);
    if violations.len() > before {
        return;
    }
    check_enum(schema, value, path, violations);
    match value {
        Value::Object(fields) => check_object(schema, fields, path, violations),
        Value::Array(items) => check_array(schema, items, path, violations),
        Value::String(text) => check_text(schema, text, path, violations),
        Value::Number(number) => check_number(schema, number.as_f64().unwrap_or_default(), path, violations),
        Value::Bool(_) | Value::Null => {}
    }
}

fn violate(violations: &mut Vec<Violation>, field: &str, message: impl Into<String>) {
    violations.push(Violation { field: field.to_owned(), message: message.into() });
}

fn check_type(schema: &Value, value: &Value, path: &str, violations: &mut Vec<Violation>) {
    if is_set(schema, "x-kubernetes-int-or-string") {
        if !value.is_string() && !value.is_i64() {
            violate(violations, path, format!("{value} must be an integer or a text"));
        }
        return;
    }
    let Some(wanted) = schema.get("type").and_then(Value::as_str) else { return };
    let (is_right, words) = match wanted {
        "object" => (value.is_object(), "an object (name: value)"),
        "array" => (value.is_array(), "a list"),
        "string" => (value.is_string(), "a text; put it in quotes if it looks like a number or a boolean"),
        "integer" => (value.is_i64() || value.is_u64(), "an integer"),
        "number" => (value.is_number(), "a number"),
        "boolean" => (value.is_boolean(), "true or false"),
        _ => (true, ""),
    };
    if !is_right {
        violate(violations, path, format!("{} must be {words}", shorten(value)));
    }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text,
    }
}

fn check_enum(schema: &Value, value: &Value, path: &str, violations: &mut Vec<Violation>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else { return };
    if !allowed.contains(value) {
        let names: Vec<_> =
            allowed.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
        violate(violations, path, format!("{} is not one of {}", shorten(value), names.join(", ")));
    }
}

fn check_object(schema: &Value, fields: &serde_json::Map<String, Value>, path: &str, violations: &mut Vec<Violation>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_open = is_set(schema, "x-kubernetes-preserve-unknown-fields")
        || (properties.is_none() && schema.get("additionalProperties").is_none());
    for (name, value) in fields {
        let field = join(path, name);
        // The root's own fields are the API server's business.
        let is_meta = path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        match field_schema(schema, name) {
            _ if is_meta => {}
            Some(schema) => check(schema, value, &field, violations),
            None if is_open || is_set(schema, "additionalProperties") => {}
            None => violate(violations, &field, unknown_field(name, properties)),
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !fields.contains_key(*name)) {
        violate(violations, &join(path, name), "is required; add it");
    }
    bounds(schema, ["minProperties", "maxProperties"], fields.len(), "entries", path, violations);
}

fn unknown_field(name: &str, properties: Option<&serde_json::Map<String, Value>>) -> String {
    let known: Vec<&str> =
        properties.into_iter().flat_map(|properties| properties.keys()).map(String::as_str).collect();
    match known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        Some(known) => format!("is no field; write {known}"),
        None => format!("is no field; known are {}", known.join(", ")),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn check_array(schema: &Value, items: &[Value], path: &str, violations: &mut Vec<Violation>) {
    bounds(schema, ["minItems", "maxItems"], items.len(), "items", path, violations);
    if let Some(schema) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            check(schema, item, &format!("{path}[{index}]"), violations);
        }
    }
    let keys: Vec<&str> = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let identity = |item: &Value| match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Some(vec![item.clone()]),
        Some("map") => Some(keys.iter().map(|key| item.get(key).cloned().unwrap_or_default()).collect()),
        _ => None,
    };
    let mut seen = Vec::new();
    for (index, identity) in items.iter().map(identity).enumerate() {
        let Some(identity) = identity else { return };
        if seen.contains(&identity) {
            let names: Vec<_> = identity.iter().map(shorten).collect();
            violate(
                violations,
                &format!("{path}[{index}]"),
                format!("{} is there twice; remove one", names.join(", ")),
            );
        }
        seen.push(identity);
    }
}

fn check_text(schema: &Value, text: &str, path: &str, violations: &mut Vec<Violation>) {
    bounds(schema, ["minLength", "maxLength"], text.chars().count(), "characters", path, violations);
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !matches(text, pattern)
    {
        violate(violations, path, format!("{text:?} does not match {pattern}"));
    }
    if schema.get("format").and_then(Value::as_str) == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
        violate(violations, path, format!("{text:?} is no time; write for instance 2030-01-31T12:00:00Z"));
    }
}

/// Whether `text` matches, in the same regular expression language that the API server's rules use.
fn matches(text: &str, pattern: &str) -> bool {
    let mut context = Context::default().with_all();
    let _ = context.add_variable("text", text);
    let _ = context.add_variable("pattern", pattern);
    let outcome = Program::compile("text.matches(pattern)").map(|program| program.execute(&context));
    matches!(outcome, Ok(Ok(kube_cel::cel::Value::Bool(true))))
}

fn check_number(schema: &Value, number: f64, path: &str, violations: &mut Vec<Violation>) {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(minimum) = bound("minimum").filter(|minimum| number < *minimum) {
        violate(violations, path, format!("{number} is too small, the least is {minimum}"));
    }
    if let Some(maximum) = bound("maximum").filter(|maximum| number > *maximum) {
        violate(violations, path, format!("{number} is too large, the most is {maximum}"));
    }
}

fn bounds(schema: &Value, names: [&str; 2], size: usize, unit: &str, path: &str, violations: &mut Vec<Violation>) {
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
    if let Some(least) = bound(names[0]).filter(|least| size < *least) {
        violate(violations, path, format!("has {size} {unit}, the least is {least}"));
    }
    if let Some(most) = bound(names[1]).filter(|most| size > *most) {
        violate(violations, path, format!("has {size} {unit}, the most is {most}"));
    }
}

/// `metadata.name` as the API server wants it: a DNS subdomain of at most 253 characters.
fn check_name(object: &Value, violations: &mut Vec<Violation>) {
    let namespace = object.get("metadata").and_then(|metadata| metadata.get("namespace"));
    if let Some(namespace) = namespace.filter(|namespace| !namespace.is_string() && !namespace.is_null()) {
        // A bare n or yes is a boolean in YAML.
        violate(violations, "metadata.namespace", format!("{namespace} must be a text; put it in quotes"));
    }
    let Some(name) = object.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str) else {
        return violate(violations, "metadata.name", "is required; add it");
    };
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        violate(
            violations,
            "metadata.name",
            format!("{name:?} is no name; use at most 253 lower-case letters, digits, - and ."),
        );
    }
}
