//! A model as JSON Schema (draft 2020-12).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::worker_config::models::{Field, FieldType, Format, Model};

/// The JSON Schema of a model's messages; one that allows anything when they are not JSON objects.
#[must_use]
pub fn json_schema(model: &Model) -> Value {
    let mut schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": model.topic});
    if model.format == Format::Json {
        let mut root = Node::default();
        for field in &model.fields {
            root.insert(&steps(&field.path), field);
        }
        schema["type"] = json!("object");
        root.write_properties(&mut schema);
    }
    schema
}

/// The path's names; an item of an array is `[]`.
fn steps(path: &str) -> Vec<&str> {
    path.split('.')
        .flat_map(|name| {
            let bare = name.trim_end_matches("[]");
            let items = (name.len() - bare.len()) / 2;
            std::iter::once(bare).chain(std::iter::repeat_n("[]", items))
        })
        .collect()
}

/// A field with those below it.
#[derive(Default)]
struct Node<'a> {
    field: Option<&'a Field>,
    below: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    fn insert(&mut self, steps: &[&'a str], field: &'a Field) {
        match steps.split_first() {
            Some((name, rest)) => self.below.entry(name).or_default().insert(rest, field),
            None => self.field = Some(field),
        }
    }

    fn write_properties(&self, schema: &mut Value) {
        let fields = self.below.iter().filter(|(name, _)| **name != "[]");
        let properties: Map<String, Value> =
            fields.clone().map(|(name, node)| ((*name).to_owned(), node.schema())).collect();
        let always = |node: &Node<'_>| node.field.is_some_and(|field| field.presence >= 1.0);
        let required: Vec<_> = fields.filter(|(_, node)| always(node)).map(|(name, _)| *name).collect();
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
    }

    fn schema(&self) -> Value {
        let types = self.field.map(types).unwrap_or_default();
        let mut schema = match types.as_slice() {
            [] => json!({}),
            [one] => json!({ "type": one }),
            many => json!({ "type": many }),
        };
        self.write_properties(&mut schema);
        if let Some(items) = self.below.get("[]") {
            let mut of_items = json!({"type": "object"});
            items.write_properties(&mut of_items);
            schema["items"] = of_items;
        }
        schema
    }
}

fn types(field: &Field) -> Vec<&'static str> {
    let name = |of_field: &FieldType| match of_field {
        FieldType::Object => "object",
        FieldType::Array => "array",
        FieldType::Number => "number",
        FieldType::Integer => "integer",
        FieldType::Boolean => "boolean",
        FieldType::String | FieldType::Text => "string",
    };
    let mut names: Vec<_> = field.types.iter().map(name).chain(field.nullable.then_some("null")).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::super::Sample;
    use super::*;

    #[test]
    fn nested_fields_become_nested_schemas() {
        let mut sample = Sample::default();
        sample.add(br#"{"id": 1, "user": {"name": "a"}, "items": [{"sku": "x"}]}"#);
        sample.add(br#"{"id": null, "user": {"name": "b", "age": 3}}"#);
        let model = Model {
            topic: "orders".to_owned(),
            queues: 1,
            messages: 2,
            sampled: sample.count(),
            format: sample.format(),
            mixed: sample.mixed(),
            fields: sample.fields(),
            error: None,
        };
        assert_eq!(
            json_schema(&model),
            json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "orders",
                "type": "object",
                "required": ["id", "user"],
                "properties": {
                    "id": {"type": ["integer", "null"]},
                    "items": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
                    },
                    "user": {
                        "type": "object",
                        "properties": {"age": {"type": "integer"}, "name": {"type": "string"}},
                        "required": ["name"],
                    },
                },
            })
        );
    }
}
