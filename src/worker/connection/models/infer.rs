//! The schema of a topic from a sample: fields by path, their types, whether they are null, and how often they are there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::classify::classify;
use crate::worker_config::models::{Field, FieldType, Format, FormatCount};

/// Longest text that is a `STRING`; longer ones are `TEXT`.
const STRING_CHARS: usize = 200;
/// Deepest level of nested fields.
const DEPTH: usize = 16;
/// Fields of one model; more are left out.
const FIELDS: usize = 2_000;

/// What was seen of the messages of a topic.
#[derive(Debug, Default)]
pub struct Sample {
    formats: BTreeMap<Format, u32>,
    objects: u32,
    fields: BTreeMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    types: BTreeSet<FieldType>,
    is_nullable: bool,
    /// Objects around the field that have it, and objects of this path themselves.
    present: u32,
    objects: u32,
    /// Path of the objects around it; none for the message itself.
    parent: Option<String>,
}

impl Sample {
    /// Looks at a message body.
    pub fn add(&mut self, body: &[u8]) {
        let object = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => serde_json::from_slice::<Value>(body).ok(),
            _ => None,
        };
        let format = match &object {
            Some(Value::Object(object)) => {
                self.objects += 1;
                self.add_object(object, None, 0);
                Format::Json
            }
            _ => classify(body),
        };
        *self.formats.entry(format).or_default() += 1;
    }

    fn add_object(&mut self, object: &serde_json::Map<String, Value>, parent: Option<&str>, depth: usize) {
        for (name, value) in object {
            let path = match parent {
                Some(parent) => format!("{parent}.{name}"),
                None => name.clone(),
            };
            if self.fields.len() >= FIELDS && !self.fields.contains_key(&path) {
                continue;
            }
            let seen = self.fields.entry(path.clone()).or_default();
            seen.present += 1;
            seen.parent = parent.map(str::to_owned);
            self.add_value(&path, value, depth);
        }
    }

    fn add_value(&mut self, path: &str, value: &Value, depth: usize) {
        let Some(seen) = self.fields.get_mut(path) else { return };
        match type_of(value) {
            Some(of_value) => drop(seen.types.insert(of_value)),
            None => seen.is_nullable = true,
        }
        match value {
            Value::Object(object) if depth < DEPTH => {
                seen.objects += 1;
                self.add_object(object, Some(path), depth + 1);
            }
            Value::Array(items) if depth < DEPTH => self.add_items(path, items, depth),
            _ => {}
        }
    }

    /// Items share one path: what one of them has is a field of the items.
    fn add_items(&mut self, path: &str, items: &[Value], depth: usize) {
        let path = format!("{path}[]");
        for item in items {
            let Value::Object(object) = item else { continue };
            let seen = self.fields.entry(path.clone()).or_default();
            seen.objects += 1;
            self.add_object(object, Some(&path), depth + 1);
        }
    }

    /// Messages looked at.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.formats.values().sum()
    }

    /// What most messages are; `Empty` without any.
    #[must_use]
    pub fn format(&self) -> Format {
        let most = self.formats.iter().max_by_key(|(format, count)| (**count, std::cmp::Reverse(**format)));
        most.map_or(Format::Empty, |(format, _)| *format)
    }

    /// Messages by format, when there are several.
    #[must_use]
    pub fn mixed(&self) -> Vec<FormatCount> {
        let counts = self.formats.iter().map(|(format, count)| FormatCount { format: *format, count: *count });
        if self.formats.len() > 1 { counts.collect() } else { Vec::new() }
    }

    /// The fields by path.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        // Items of arrays are places for fields, not fields.
        let named = self.fields.iter().filter(|(_, seen)| seen.present > 0);
        named
            .map(|(path, seen)| Field {
                path: path.clone(),
                types: merged(&seen.types),
                nullable: seen.is_nullable,
                presence: self.presence(seen),
            })
            .collect()
    }

    /// To three places.
    fn presence(&self, seen: &Seen) -> f64 {
        let around = match &seen.parent {
            Some(parent) => self.fields.get(parent).map_or(0, |parent| parent.objects),
            None => self.objects,
        };
        let share = f64::from(seen.present) / f64::from(around.max(1));
        (share * 1000.0).round() / 1000.0
    }
}

fn type_of(value: &Value) -> Option<FieldType> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => FieldType::Boolean,
        Value::Number(number) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {
            FieldType::Integer
        }
        Value::Number(_) => FieldType::Number,
        Value::String(text) if text.chars().count() > STRING_CHARS => FieldType::Text,
        Value::String(_) => FieldType::String,
        Value::Array(_) => FieldType::Array,
        Value::Object(_) => FieldType::Object,
    })
}

/// A wider type of the same sort makes the narrower one needless.
fn merged(types: &BTreeSet<FieldType>) -> Vec<FieldType> {
    let wider = |narrow, wide| types.contains(&narrow) && types.contains(&wide);
    let is_needless = |one: &FieldType| match one {
        FieldType::Integer => wider(FieldType::Integer, FieldType::Number),
        FieldType::String => wider(FieldType::String, FieldType::Text),
        _ => false,
    };
    types.iter().filter(|one| !is_needless(one)).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sample(bodies: &[Value]) -> Sample {
        let mut sample = Sample::default();
        bodies.iter().for_each(|body| sample.add(body.to_string().as_bytes()));
        sample
    }

    fn shown(sample: &Sample) -> Vec<String> {
        let show = |field: Field| {
            let null = if field.nullable { "?" } else { "" };
            format!("{} {:?}{null} {}", field.path, field.types, field.presence)
        };
        sample.fields().into_iter().map(show).collect()
    }

    #[test]
    fn fields_are_merged_over_messages() {
        let sample = sample(&[
            json!({"id": 1, "name": "a", "price": 2.5, "ok": true}),
            json!({"id": 9_000_000_000_i64, "name": null, "note": "x".repeat(201)}),
        ]);
        assert_eq!(
            shown(&sample),
            ["id [Number] 1", "name [String]? 1", "note [Text] 0.5", "ok [Boolean] 0.5", "price [Number] 0.5"]
        );
        assert_eq!((sample.count(), sample.format(), sample.mixed()), (2, Format::Json, vec![]));
    }

    #[test]
    fn nested_fields_have_paths_and_count_among_their_parents() {
        let sample = sample(&[
            json!({"user": {"id": 1}, "items": [{"sku": "a", "n": 1}, {"sku": "b"}]}),
            json!({"user": {"id": 2, "mail": "m"}, "items": []}),
            json!({}),
        ]);
        assert_eq!(
            shown(&sample),
            [
                "items [Array] 0.667",
                "items[].n [Integer] 0.5",
                "items[].sku [String] 1",
                "user [Object] 0.667",
                "user.id [Integer] 1",
                "user.mail [String] 0.5",
            ]
        );
    }

    #[test]
    fn a_message_that_is_no_json_breaks_nothing() {
        let mut sample = sample(&[json!({"a": 1}), json!({"a": "x"})]);
        sample.add(b"plain");
        assert_eq!(shown(&sample), ["a [Integer, String] 1"]);
        assert_eq!(sample.format(), Format::Json);
        assert_eq!(sample.mixed().iter().map(|part| part.count).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_message_of_endless_fields_or_depth_is_bounded() {
        let wide: serde_json::Map<_, _> = (0..5_000).map(|number| (format!("f{number}"), json!(1))).collect();
        assert_eq!(sample(&[Value::Object(wide)]).fields().len(), FIELDS);
        let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert_eq!(sample(&[deep]).fields().len(), DEPTH + 1);
    }

    proptest! {
        #[test]
        fn any_body_is_taken(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
            let mut sample = Sample::default();
            bodies.iter().for_each(|body| sample.add(body));
            prop_assert_eq!(sample.count() as usize, bodies.len());
        }
    }
}
