//! The generated copies of the custom resource definitions, and the field reference, equal what the code says.
//!
//! `UPDATE=1 cargo test --test crds` writes them anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

#[path = "crds/field_reference.rs"]
mod field_reference;

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use rocketmq_connector::api;

/// `kubectl apply` without `--server-side` keeps a copy of the object in an annotation of at most this many bytes.
const LAST_APPLIED_LIMIT: usize = 262_144;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn name(crd: &CustomResourceDefinition) -> &str {
    crd.metadata.name.as_deref().unwrap()
}

fn yaml(crd: &CustomResourceDefinition) -> String {
    api::crd_yaml(Some(&crd.spec.names.kind)).unwrap()
}

/// Compares a file with its wanted content, or writes it when `UPDATE=1`.
fn check(path: &Path, wanted: &str) -> Result<(), String> {
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, wanted).unwrap();
        return Ok(());
    }
    match std::fs::read_to_string(path) {
        Ok(content) if content == wanted => Ok(()),
        Ok(_) => Err(format!("{} is out of date", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn check_all(files: impl IntoIterator<Item = (String, String)>) {
    let errors: Vec<_> =
        files.into_iter().filter_map(|(path, wanted)| check(&root().join(path), &wanted).err()).collect();
    assert!(errors.is_empty(), "{}\nrun UPDATE=1 cargo test --test crds", errors.join("\n"));
}

/// The definition as a template of a chart: kept on uninstall, with labels, and guarded where `guard` names a value.
fn template(crd: &CustomResourceDefinition, guard: Option<&str>, keep: &str) -> String {
    let yaml = yaml(crd);
    assert!(!yaml.contains("{{"), "{}: Helm would take {{{{ for its own", name(crd));
    let name_line = format!("  name: {}\n", name(crd));
    let (head, tail) = yaml.split_once(&name_line).unwrap();
    let metadata = format!(
        "{name_line}  labels:\n    app.kubernetes.io/part-of: rocketmq-connector\n    \
         app.kubernetes.io/managed-by: {{{{ .Release.Service }}}}\n  \
         {{{{- if .Values.{keep} }}}}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{{{- end }}}}\n"
    );
    let document = format!("{head}{metadata}{tail}");
    match guard {
        Some(value) => format!("{{{{- if .Values.{value} }}}}\n{document}{{{{- end }}}}\n"),
        None => document,
    }
}

#[test]
fn plain_copies_are_current() {
    let crds = api::all_crds();
    check_all(
        crds.iter()
            .flat_map(|crd| ["crds", "config/crd"].map(|folder| (format!("{folder}/{}.yaml", name(crd)), yaml(crd)))),
    );
}

#[test]
fn chart_copies_are_current() {
    let crds = api::all_crds();
    check_all(crds.iter().flat_map(|crd| {
        let (operator, own) = (template(crd, Some("crds.install"), "crds.keep"), template(crd, None, "keep"));
        [
            (format!("charts/rocketmq-connector-operator/templates/crds/{}.yaml", name(crd)), operator),
            (format!("charts/rocketmq-connector-crds/templates/{}.yaml", name(crd)), own),
        ]
    }));
}

#[test]
fn field_reference_is_current() {
    check_all(api::all_crds().iter().map(|crd| {
        (format!("docs/reference/{}.md", crd.spec.names.kind.to_lowercase()), field_reference::render(crd))
    }));
}

#[test]
fn every_field_is_described() {
    for crd in api::all_crds() {
        let missing = field_reference::undescribed(&crd);
        assert!(missing.is_empty(), "{}: fields without a description: {missing:?}", name(&crd));
    }
}

#[test]
fn definitions_fit_into_a_client_side_apply() {
    for crd in api::all_crds() {
        let size = serde_json::to_string(&crd).unwrap().len();
        assert!(size < LAST_APPLIED_LIMIT, "{}: {size} bytes", name(&crd));
    }
}

#[test]
fn kinds_share_group_version_category_and_columns() {
    for crd in api::all_crds() {
        assert_eq!(crd.spec.group, api::GROUP);
        assert_eq!(crd.spec.names.categories.as_deref(), Some(&[api::CATEGORY.to_owned()][..]));
        let version = &crd.spec.versions[0];
        assert_eq!(version.name, api::VERSION);
        let columns: Vec<_> =
            version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
        assert_eq!(columns[..2], ["Ready", "Reason"], "{}", name(&crd));
        assert_eq!(columns.last(), Some(&"Age"), "{}", name(&crd));
        assert!(version.subresources.as_ref().unwrap().status.is_some());
    }
}

#[test]
fn bindings_and_syncs_scale() {
    for (kind, scales) in [("RocketMQConnection", false), ("RocketMQBinding", true), ("RocketMQSync", true)] {
        let crd = api::all_crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let scale = crd.spec.versions[0].subresources.as_ref().unwrap().scale.as_ref();
        assert_eq!(scale.is_some(), scales, "{kind}");
        if let Some(scale) = scale {
            assert_eq!(scale.label_selector_path.as_deref(), Some(".status.selector"));
        }
    }
}
