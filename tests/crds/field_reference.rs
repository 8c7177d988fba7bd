//! Writes the fields of a definition as Markdown.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// One field, with its path from the root, `[]` for the items of a list.
struct Field<'a> {
    path: String,
    schema: &'a JSONSchemaProps,
    required: bool,
}

/// The reference page of a definition.
pub fn render(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let version = &crd.spec.versions[0];
    let mut page = format!(
        "# {}\n\n{}\n\n`apiVersion: {}/{}`, short name `{}`, namespaced. Generated from the definition.\n",
        names.kind,
        schema(crd).description.as_deref().unwrap_or_default(),
        crd.spec.group,
        version.name,
        names.short_names.iter().flatten().next().map_or("", String::as_str),
    );
    for (title, root) in [("Spec", "spec"), ("Status", "status")] {
        let fields = fields_below(crd, root);
        writeln!(page, "\n## {title}\n\n| field | type | default | what it is |\n|---|---|---|---|").unwrap();
        fields.iter().for_each(|field| page.push_str(&row(field)));
        let rules: Vec<_> = rules_below(crd, root);
        if !rules.is_empty() {
            page.push_str("\n### Rules\n\nThe API server refuses what breaks one of these.\n\n");
            rules.iter().for_each(|rule| page.push_str(rule));
        }
    }
    page
}

/// Paths of the fields that have no description, apart from those of Kubernetes' own types.
pub fn undescribed(crd: &CustomResourceDefinition) -> Vec<String> {
    let fields = ["spec", "status"].into_iter().flat_map(|root| fields_below(crd, root));
    fields.filter(|field| field.schema.description.is_none()).map(|field| field.path).collect()
}

fn schema(crd: &CustomResourceDefinition) -> &JSONSchemaProps {
    crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()
}

fn fields_below<'a>(crd: &'a CustomResourceDefinition, root: &str) -> Vec<Field<'a>> {
    let mut fields = Vec::new();
    collect(&schema(crd).properties.as_ref().unwrap()[root], root, &mut fields);
    fields
}

fn collect<'a>(schema: &'a JSONSchemaProps, path: &str, fields: &mut Vec<Field<'a>>) {
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let required = schema.required.iter().flatten().any(|required| required == name);
        fields.push(Field { path: path.clone(), schema: property, required });
        if is_of_kubernetes(property) {
            continue;
        }
        collect(property, &path, fields);
        if let Some(items) = items(property) {
            collect(items, &format!("{path}[]"), fields);
        }
    }
}

/// Kubernetes' own types are described in its documentation: here they have no descriptions below the field itself.
fn is_of_kubernetes(schema: &JSONSchemaProps) -> bool {
    let inner = items(schema).unwrap_or(schema);
    inner.properties.iter().flatten().next().is_some_and(|(_, property)| property.description.is_none())
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(items) => Some(items),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn row(field: &Field<'_>) -> String {
    let default = match &field.schema.default {
        Some(value) => format!("`{}`", serde_json::to_string(&value.0).unwrap().trim_matches('"')),
        None if field.required => "required".to_owned(),
        None => String::new(),
    };
    let description = field.schema.description.as_deref().unwrap_or_default();
    format!("| `{}` | {} | {} | {} |\n", field.path, type_of(field.schema), cell(&default), cell(description))
}

fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(values) = &schema.enum_ {
        let names: Vec<_> = values.iter().map(|value| format!("`{}`", value.0.as_str().unwrap_or_default())).collect();
        return names.join(", ");
    }
    let name = schema.type_.as_deref().unwrap_or("any");
    match (name, items(schema), &schema.additional_properties) {
        ("array", Some(items), _) => format!("list of {}{}", type_of(items), bounds(schema)),
        ("object", _, Some(JSONSchemaPropsOrBool::Schema(values))) => {
            format!("map to {}{}", type_of(values), bounds(schema))
        }
        _ => format!("{name}{}", bounds(schema)),
    }
}

fn bounds(schema: &JSONSchemaProps) -> String {
    let number = |value: f64| format!("{value}");
    let pair = [
        (schema.minimum.map(number), schema.maximum.map(number), ""),
        (schema.min_items.map(|n| n.to_string()), schema.max_items.map(|n| n.to_string()), " items"),
        (None, schema.max_length.map(|n| n.to_string()), " characters"),
        (None, schema.max_properties.map(|n| n.to_string()), " entries"),
    ];
    let texts = pair.into_iter().filter_map(|(least, most, unit)| match (least, most) {
        (Some(least), Some(most)) => Some(format!(", {least} to {most}{unit}")),
        (Some(least), None) => Some(format!(", at least {least}{unit}")),
        (None, Some(most)) => Some(format!(", at most {most}{unit}")),
        (None, None) => None,
    });
    texts.collect()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn rules_below(crd: &CustomResourceDefinition, root: &str) -> Vec<String> {
    let start = &schema(crd).properties.as_ref().unwrap()[root];
    let mut rules = Vec::new();
    push_rules(start, root, &mut rules);
    for field in fields_below(crd, root) {
        push_rules(field.schema, &field.path, &mut rules);
        if let Some(items) = items(field.schema) {
            push_rules(items, &format!("{}[]", field.path), &mut rules);
        }
    }
    rules
}

fn push_rules(schema: &JSONSchemaProps, path: &str, rules: &mut Vec<String>) {
    let messages = schema.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.as_deref());
    rules.extend(messages.map(|message| format!("- `{path}`: {message}\n")));
}
