//! CEL expressions over a record.
//!
//! `record` has the fields; `before` the row before an update or deletion, as far as it is known; `operation` is `insert`,
//! `update` or `delete`; `message` has topic, tag, keys, properties, shardingKey, id and bornTime of a message.

use bytestring::ByteString;
use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, ExecutionError, Program, Value as Cel};
use serde_json::{Number, Value};

use super::super::format::operation_name;
use super::super::record::{Fields, Invalid, Record};

const INVALID_EXPRESSION: &str = "ExpressionFailed";

/// A compiled expression.
pub struct Expression {
    program: Program,
}

/// What expressions can name.
pub struct Scope {
    context: Context<'static>,
}

impl Scope {
    /// The variables of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let mut context = Context::default();
        let fields = record.fields().map_or_else(|| Cel::Map(Map { map: Arc::default() }), map_of);
        context.add_variable_from_value("record", fields);
        context.add_variable_from_value("before", record.before.as_ref().map_or(Cel::Null, map_of));
        context.add_variable_from_value("operation", text_of(operation_name(record.operation)));
        context.add_variable_from_value("message", message_of(record));
        Self { context }
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(text: &str) -> Result<Self, String> {
        Program::compile(text).map(|program| Self { program }).map_err(|errors| errors.to_string())
    }

    /// Whether it is true. A field that the record lacks makes it false.
    ///
    /// # Errors
    /// It is neither true nor false, or cannot be evaluated.
    pub fn truth(&self, scope: &Scope, place: &str) -> Result<bool, Invalid> {
        match self.program.execute(&scope.context) {
            Ok(Cel::Bool(truth)) => Ok(truth),
            Err(ExecutionError::NoSuchKey(_)) => Ok(false),
            Ok(other) => Err(invalid(place, &format!("gives {other:?}, not true or false"))),
            Err(error) => Err(invalid(place, &error.to_string())),
        }
    }

    /// Its value as a text that is not empty.
    ///
    /// # Errors
    /// It is something else, or cannot be evaluated.
    pub fn text(&self, scope: &Scope, place: &str) -> Result<String, Invalid> {
        match self.program.execute(&scope.context) {
            Ok(Cel::String(text)) if !text.is_empty() => Ok(text.as_str().to_owned()),
            Ok(other) => Err(invalid(place, &format!("gives {other:?}, not the name of a topic or table"))),
            Err(error) => Err(invalid(place, &error.to_string())),
        }
    }

    /// Its value as JSON.
    ///
    /// # Errors
    /// It cannot be evaluated or is nothing that JSON has.
    pub fn value(&self, scope: &Scope, place: &str) -> Result<Value, Invalid> {
        let value = self.program.execute(&scope.context).map_err(|error| invalid(place, &error.to_string()))?;
        json_of(&value).ok_or_else(|| invalid(place, "gives a value that JSON does not have"))
    }
}

fn invalid(place: &str, why: &str) -> Invalid {
    let remedy = "correct the expression, test for missing fields with has(), or set errors.onInvalid";
    Invalid::new(INVALID_EXPRESSION, format!("{place}: {why}"), remedy)
}

fn text_of(text: &str) -> Cel {
    Cel::String(Arc::new(text.to_owned()))
}

fn map_of(fields: &Fields) -> Cel {
    let entries: HashMap<Key, Cel> =
        fields.iter().map(|(name, value)| (Key::String(Arc::new(name.to_string())), cel_of(value))).collect();
    Cel::Map(Map { map: Arc::new(entries) })
}

/// Whole numbers become `int`, so that they compare with the numbers of an expression.
fn cel_of(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => number.as_u64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or(f64::NAN)), Cel::UInt),
        },
        Value::String(text) => text_of(text),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(cel_of).collect())),
        Value::Object(fields) => map_of(fields),
    }
}

fn message_of(record: &Record) -> Cel {
    let parts = &record.message;
    let optional = |text: &Option<ByteString>| text.as_deref().map_or(Cel::Null, text_of);
    let properties: HashMap<Key, Cel> = parts
        .properties
        .iter()
        .map(|(name, value)| (Key::String(Arc::new(name.to_string())), text_of(value)))
        .collect();
    let entries = [
        ("topic", text_of(&record.entity)),
        ("tag", optional(&parts.tag)),
        ("keys", Cel::List(Arc::new(parts.keys.iter().map(|key| text_of(key)).collect()))),
        ("properties", Cel::Map(Map { map: Arc::new(properties) })),
        ("shardingKey", optional(&parts.sharding_key)),
        ("id", text_of(&parts.id)),
        ("bornTime", Cel::Int(parts.born_millis)),
    ];
    let entries = entries.into_iter().map(|(name, value)| (Key::String(Arc::new(name.to_owned())), value)).collect();
    Cel::Map(Map { map: Arc::new(entries) })
}

fn json_of(value: &Cel) -> Option<Value> {
    Some(match value {
        Cel::Null => Value::Null,
        Cel::Bool(flag) => Value::Bool(*flag),
        Cel::Int(number) => Value::from(*number),
        Cel::UInt(number) => Value::from(*number),
        Cel::Float(number) => Value::Number(Number::from_f64(*number)?),
        Cel::String(text) => Value::String(text.as_str().to_owned()),
        Cel::List(items) => Value::Array(items.iter().map(json_of).collect::<Option<_>>()?),
        Cel::Map(map) => {
            let entries = map.map.iter().map(|(key, value)| Some((key.to_string(), json_of(value)?)));
            Value::Object(entries.collect::<Option<_>>()?)
        }
        Cel::Timestamp(moment) => Value::String(moment.to_rfc3339()),
        Cel::Duration(duration) => Value::from(duration.num_milliseconds()),
        _ => return None,
    })
}
