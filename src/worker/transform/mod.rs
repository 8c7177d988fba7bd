//! The steps that each record goes through between source and target.

mod cast;
mod expression;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::record::{Fields, Invalid, Payload, Record};
use crate::worker_config::sync::{Cast, TransformConfig};
use expression::{Expression, Scope};

const INVALID_FIELD: &str = "InvalidField";

/// Steps that are ready to be applied.
pub struct Steps {
    steps: Vec<Step>,
}

enum Step {
    Filter(Expression),
    Map(Vec<(String, Expression)>),
    Rename(Vec<(String, String)>),
    Add(Vec<(String, String)>),
    Drop(Vec<String>),
    Cast(Vec<(String, Cast)>),
    Mask(Vec<String>),
    Route(Expression),
}

impl Steps {
    /// Compiles the steps.
    ///
    /// # Errors
    /// An expression does not compile; the operator refuses such a spec.
    pub fn compile(configs: &[TransformConfig]) -> Result<Self> {
        Ok(Self { steps: configs.iter().map(Step::compile).collect::<Result<_>>()? })
    }

    /// Applies all steps in their order; false when a filter leaves the record out.
    ///
    /// # Errors
    /// An expression or a conversion cannot be applied to this record.
    pub fn apply(&self, record: &mut Record) -> std::result::Result<bool, Invalid> {
        for (number, step) in self.steps.iter().enumerate() {
            let kept = step.apply(record).map_err(|invalid| Invalid {
                message: format!("transforms[{number}].{}", invalid.message),
                ..invalid
            })?;
            if !kept {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Step {
    fn compile(config: &TransformConfig) -> Result<Self> {
        let expression = |field: &'static str, text: &str| {
            Expression::compile(text).map_err(|why| Error::InvalidConfig { field, value: text.to_owned(), why })
        };
        Ok(match config {
            TransformConfig::Filter(text) => Self::Filter(expression("transforms.filter", text)?),
            TransformConfig::Route(text) => Self::Route(expression("transforms.route", text)?),
            TransformConfig::Map(map) => {
                let entry = |(field, text): (&String, &String)| {
                    expression("transforms.map", text).map(|compiled| (field.clone(), compiled))
                };
                Self::Map(map.iter().map(entry).collect::<Result<_>>()?)
            }
            TransformConfig::Rename(map) => Self::Rename(pairs(map)),
            TransformConfig::Add(map) => Self::Add(pairs(map)),
            TransformConfig::Drop(fields) => Self::Drop(fields.clone()),
            TransformConfig::Cast(map) => Self::Cast(map.iter().map(|(field, cast)| (field.clone(), *cast)).collect()),
            TransformConfig::Mask(fields) => Self::Mask(fields.clone()),
        })
    }

    fn apply(&self, record: &mut Record) -> std::result::Result<bool, Invalid> {
        match self {
            Self::Filter(expression) => return expression.truth(&Scope::of(record), "filter"),
            Self::Route(expression) => record.entity = expression.text(&Scope::of(record), "route")?.into(),
            Self::Map(entries) => map(entries, record)?,
            Self::Rename(names) => change(record, |fields| {
                for (old, new) in names {
                    if let Some(value) = fields.remove(old) {
                        fields.insert(new.clone(), value);
                    }
                }
                Ok(())
            })?,
            Self::Add(values) => change(record, |fields| {
                fields.extend(values.iter().map(|(field, text)| (field.clone(), Value::String(text.clone()))));
                Ok(())
            })?,
            Self::Drop(names) => change(record, |fields| {
                names.iter().for_each(|name| drop(fields.remove(name)));
                Ok(())
            })?,
            Self::Cast(casts) => change(record, |fields| {
                for (field, cast) in casts {
                    if let Some(value) = fields.get_mut(field) {
                        *value = cast::convert(field, value, *cast)?;
                    }
                }
                Ok(())
            })?,
            Self::Mask(names) => change(record, |fields| {
                for name in names {
                    if let Some(value) = fields.get_mut(name) {
                        mask(value);
                    }
                }
                Ok(())
            })?,
        }
        Ok(true)
    }
}

fn pairs(map: &std::collections::BTreeMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(one, other)| (one.clone(), other.clone())).collect()
}

/// Evaluates all expressions on the record as it is before the step.
fn map(entries: &[(String, Expression)], record: &mut Record) -> std::result::Result<(), Invalid> {
    let scope = Scope::of(record);
    let mut values = Vec::with_capacity(entries.len());
    for (field, expression) in entries {
        values.push((field.clone(), expression.value(&scope, &format!("map.{field}"))?));
    }
    drop(scope);
    change(record, |fields| {
        fields.extend(values);
        Ok(())
    })
}

/// Changes the fields.
fn change(
    record: &mut Record,
    edit: impl FnOnce(&mut Fields) -> std::result::Result<(), Invalid>,
) -> std::result::Result<(), Invalid> {
    match &mut record.payload {
        Payload::Fields { fields, .. } => edit(fields)?,
        Payload::Raw(_) => {
            return Err(Invalid::new(
                INVALID_FIELD,
                ": the body is raw and has no fields",
                "set spec.format to Json, Tapdata or Debezium, or remove the step",
            ));
        }
    }
    record.is_changed = true;
    Ok(())
}

/// Replaces a value by a digest that is the same for the same value; null stays null.
fn mask(value: &mut Value) {
    let text = match &mut *value {
        Value::Null => return,
        Value::String(text) => std::mem::take(text),
        other => other.to_string(),
    };
    let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    *value = Value::String(digest);
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
