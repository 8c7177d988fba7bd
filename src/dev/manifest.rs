//! Reads manifests: files with one or more YAML documents, folders of such files, `-` for standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{Error, Result};

/// A document of a manifest file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it is, for instance `bindings.yaml, document 2`.
    pub place: String,
    /// Its content.
    pub value: Value,
}

impl Document {
    /// The text at a path of field names, if there is one.
    #[must_use]
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(&self.value, |value, name| value.get(name))?.as_str()
    }

    /// Kind and name for messages.
    #[must_use]
    pub fn subject(&self) -> String {
        let kind = self.text(&["kind"]).unwrap_or("no kind");
        let name = self.text(&["metadata", "name"]).unwrap_or("without a name");
        match self.text(&["metadata", "namespace"]) {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        }
    }
}

/// Reads every document of `paths`, in order; the files of a folder in the order of their names, without its subfolders.
///
/// # Errors
/// A path cannot be read, is a folder without manifests, or is not YAML.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|source| Error::Read { path: path.clone(), source })?;
            documents.extend(parse(path, &text)?);
        } else if path.is_dir() {
            for file in files_of(path)? {
                documents.extend(read_file(&file)?);
            }
        } else {
            documents.extend(read_file(path)?);
        }
    }
    Ok(documents)
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let entries: io::Result<Vec<_>> = fs::read_dir(folder).map_err(failed)?.collect();
    let is_manifest = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        path.is_file() && matches!(extension, Some("yaml" | "yml" | "json"))
    };
    let mut files: Vec<_> =
        entries.map_err(failed)?.into_iter().map(|entry| entry.path()).filter(is_manifest).collect();
    files.sort();
    if files.is_empty() { Err(Error::EmptyFolder(folder.to_owned())) } else { Ok(files) }
}

fn read_file(path: &Path) -> Result<Vec<Document>> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// The documents of a text; empty ones are left out, and a `List` is taken apart.
///
/// # Errors
/// The text is not YAML.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Document>> {
    let parsed = serde_saphyr::from_multiple::<Value>(text);
    let values = parsed.map_err(|source| Error::Parse { path: path.to_owned(), source: Box::new(source) })?;
    let numbered = values.into_iter().enumerate().filter(|(_, value)| !value.is_null());
    Ok(numbered
        .flat_map(|(index, value)| expand(format!("{}, document {}", path.display(), index + 1), value))
        .collect())
}

fn expand(place: String, value: Value) -> Vec<Document> {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
    match (is_list, value.get("items").and_then(Value::as_array)) {
        (true, Some(items)) => {
            let item = |(index, value): (usize, &Value)| Document {
                place: format!("{place}, item {}", index + 1),
                value: value.clone(),
            };
            items.iter().enumerate().map(item).collect()
        }
        _ => vec![Document { place, value }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_numbered_and_lists_taken_apart() {
        let text = "# comment\n---\nkind: A\nmetadata: {name: one, namespace: shop}\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n";
        let documents = parse(Path::new("m.yaml"), text).unwrap();
        let kinds: Vec<_> = documents.iter().filter_map(|document| document.text(&["kind"])).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(documents[0].subject(), "A shop/one");
        assert!(
            documents[2].place.starts_with("m.yaml, document ") && documents[2].place.ends_with("item 2"),
            "{}",
            documents[2].place
        );
    }

    #[test]
    fn a_folder_is_read_in_order_and_an_empty_one_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(&[folder.path().to_owned()]), Err(Error::EmptyFolder(_))));
        for (name, text) in
            [("b.yml", "kind: B"), ("a.yaml", "kind: A"), ("c.json", "{\"kind\": \"C\"}"), ("d.txt", "kind: [")]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let documents = read(&[folder.path().to_owned()]).unwrap();
        assert_eq!(
            documents.iter().map(|document| document.subject()).collect::<Vec<_>>().join(","),
            "A without a name,B without a name,C without a name"
        );
    }

    #[test]
    fn broken_yaml_names_the_file() {
        let error = parse(Path::new("broken.yaml"), "a: [1").unwrap_err().to_string();
        assert!(error.starts_with("broken.yaml: not YAML: "), "{error}");
    }
}
