//! `rocketmq-connector convert`: Dapr components of type `bindings.rocketmq` become manifests of this operator, and every
//! behaviour that changes is told.
//!
//! ```text
//! files ─▸ dev::manifest ─▸ component (what Dapr reads) ─▸ binding, app, delivery ─▸ manifest (YAML)
//!                                                             └─▸ report        └─▸ dev::schema (the check of `dev`)
//! ```

pub mod app;
mod binding;
pub mod component;
mod credentials;
mod delivery;
mod known;
pub mod manifest;
mod properties;
pub mod report;
mod surroundings;
mod topics;

use std::path::PathBuf;

use serde_json::Value;

use crate::dev::error::{Error, Mistake, Result};
use crate::dev::manifest::{self as documents, Document};
use crate::dev::resources::{Resources, mistake};
use crate::dev::schema::Schemas;
use app::Address;
use component::Component;
use manifest::render;
use report::{Report, Row};
use surroundings::Surroundings;

/// What `convert` is told by its flags.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Files and folders with components; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Where the app listens, instead of what the files say.
    pub app: Option<Address>,
    /// Whether the app speaks gRPC, instead of what the files say.
    pub is_grpc_app: Option<bool>,
}

/// What became of the components.
#[derive(Debug, Clone)]
pub struct Converted {
    /// Manifests as YAML documents.
    pub manifests: String,
    /// What changes.
    pub report: Report,
}

/// Reads the files and converts what is in them.
///
/// # Errors
/// A file cannot be read; a component has something that cannot be converted; there is none.
pub fn run(options: &Options) -> Result<Converted> {
    convert(&documents::read(&options.files)?, options)
}

/// Converts the components among `documents`; Secrets go through as they are.
///
/// # Errors
/// Every mistake of every component, with the field, the value and the remedy; or there is no component to convert.
pub fn convert(documents: &[Document], options: &Options) -> Result<Converted> {
    let surroundings = Surroundings::of(documents);
    let (mut report, mut mistakes) = (Report::default(), Vec::new());
    let mut made = Vec::new();
    for document in documents {
        match classify(document) {
            Class::Secret => made.push(Document { place: document.place.clone(), value: document.value.clone() }),
            Class::LeftOut(why) => report.left_out.push(format!("{}: {}: {why}", document.place, document.subject())),
            Class::Component => match convert_component(document, &surroundings, options) {
                Ok((documents, rows)) => {
                    made.extend(documents);
                    report.rows.extend(rows);
                }
                Err(found) => mistakes.extend(found),
            },
        }
    }
    if !mistakes.is_empty() {
        return Err(Error::Invalid(mistakes));
    }
    if report.rows.is_empty() {
        return Err(Error::NothingToConvert { left_out: report.left_out });
    }
    // The very check of `dev --check`: nothing is printed that the API server would refuse.
    Resources::collect(&made, &Schemas::load()?).map_err(Error::Invalid)?;
    Ok(Converted { manifests: render(&made)?, report })
}

enum Class {
    Component,
    Secret,
    LeftOut(String),
}

fn classify(document: &Document) -> Class {
    let (version, kind) = (document.text(&["apiVersion"]).unwrap_or_default(), document.text(&["kind"]));
    match (version.split_once('/').map_or("", |(group, _)| group), kind.unwrap_or_default()) {
        ("", "Secret") => Class::Secret,
        ("dapr.io", "Component") => component_class(document),
        ("dapr.io", "Resiliency") => Class::LeftOut(
            "its targets do not apply to a RocketMQBinding; put time limits into spec.app.timeout and retries into \
             spec.delivery"
                .to_owned(),
        ),
        ("dapr.io", _) => Class::LeftOut("belongs to Dapr's runtime, which a RocketMQBinding does not need".to_owned()),
        ("apps", _) | ("", "Pod" | "Service") => {
            Class::LeftOut("looked at for the app's port and address; goes on as it is".to_owned())
        }
        _ => Class::LeftOut("is no Dapr component".to_owned()),
    }
}

fn component_class(document: &Document) -> Class {
    let given = document.text(&["spec", "type"]).unwrap_or_default();
    match given.to_ascii_lowercase().as_str() {
        component::TYPE => Class::Component,
        "pubsub.rocketmq" => Class::LeftOut(
            "spec.type: \"pubsub.rocketmq\" is Dapr's publish and subscribe, with topics chosen by Subscriptions; write a \
             RocketMQBinding with its nameServer, consumerGroup and the topics, and deliver to the subscriptions' paths"
                .to_owned(),
        ),
        other if other.contains("rocketmq") => {
            Class::LeftOut(format!("spec.type: {given:?} is not known; write {}", component::TYPE))
        }
        _ => Class::LeftOut(format!("spec.type: {given:?} is no RocketMQ binding and stays with Dapr")),
    }
}

type Made = (Vec<Document>, Vec<Row>);

fn convert_component(
    document: &Document,
    surroundings: &Surroundings,
    options: &Options,
) -> std::result::Result<Made, Vec<Mistake>> {
    let component = Component::read(document)?;
    let mut conversion = Conversion::new(&component, surroundings, options);
    let (binding, secret) = binding::convert(&mut conversion);
    let Conversion { rows, mut mistakes, .. } = conversion;
    let place = &document.place;
    let made: Vec<_> = [secret.map(|secret| value(&secret)), binding.map(|binding| value(&binding))]
        .into_iter()
        .flatten()
        .filter_map(|value| value.map_err(|error| mistakes.push(mistake(document, "", error.to_string()))).ok())
        .map(|value| Document { place: place.clone(), value })
        .collect();
    if mistakes.is_empty() { Ok((made, rows)) } else { Err(mistakes) }
}

fn value(manifest: &impl serde::Serialize) -> serde_json::Result<Value> {
    serde_json::to_value(manifest)
}

/// One component on its way: what is known, and what was found.
struct Conversion<'a> {
    component: &'a Component<'a>,
    surroundings: &'a Surroundings,
    options: &'a Options,
    rows: Vec<Row>,
    mistakes: Vec<Mistake>,
}

impl<'a> Conversion<'a> {
    fn new(component: &'a Component<'a>, surroundings: &'a Surroundings, options: &'a Options) -> Self {
        Self { component, surroundings, options, rows: Vec::new(), mistakes: Vec::new() }
    }

    /// A mistake of `field` of the component's metadata.
    fn wrong(&mut self, field: &str, message: impl Into<String>) {
        self.mistakes.push(mistake(self.component.document, &format!("spec.metadata[{field}]"), message));
    }

    fn row(&mut self, level: report::Level, field: &str, dapr: impl Into<String>, here: impl Into<String>) {
        let (binding, field) = (self.component.title(), field.to_owned());
        self.rows.push(Row { level, binding, field, dapr: dapr.into(), here: here.into() });
    }

    /// Something that the user has to look at, or to do.
    fn attention(&mut self, field: &str, dapr: impl Into<String>, here: impl Into<String>) {
        self.row(report::Level::Attention, field, dapr, here);
    }

    /// Something that behaves differently.
    fn changed(&mut self, field: &str, dapr: impl Into<String>, here: impl Into<String>) {
        self.row(report::Level::Changed, field, dapr, here);
    }

    /// Something that has no effect on messages.
    fn note(&mut self, field: &str, dapr: impl Into<String>, here: impl Into<String>) {
        self.row(report::Level::Note, field, dapr, here);
    }
}

#[cfg(test)]
mod tests;
