//! The tables of `docs/dapr-compatibility.md`, between two marks.

use std::path::PathBuf;

use crate::observed::{Case, Observed, Verdict, compare};

pub const BEGIN: &str = "<!-- dapr-compatibility: begin -->";
pub const END: &str = "<!-- dapr-compatibility: end -->";

/// Names that are shown first.
const FIRST: &[&str] = &[
    "starts",
    "delivered",
    "returns",
    "raises",
    "throws",
    "status",
    "code",
    "errorCode",
    "reason",
    "message",
    "data",
    "body",
    "stored",
];

/// Text as code in a cell of a table.
pub fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("`{}`", text.replace('|', "\\|").replace('`', "'").replace('\n', " "))
}

fn cell(observed: &Observed) -> String {
    let mut names: Vec<&String> = observed.keys().collect();
    names.sort_by_key(|name| (FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()), *name));
    let parts = names.into_iter().filter(|name| !observed[*name].is_empty());
    let parts: Vec<String> = parts
        .map(|name| match (name.as_str(), observed[name].as_str()) {
            ("status" | "code" | "starts", value) => value.to_owned(),
            (name, value) => format!("{name} {}", code(value)),
        })
        .collect();
    if parts.is_empty() { "–".to_owned() } else { parts.join("; ") }
}

/// The table of a section; with it, every row that should not be as it is.
pub fn table(cases: &[Case], daprd: &dyn Fn(&str) -> Option<Observed>, wrong: &mut Vec<String>) -> String {
    let mut table = "| | daprd | worker | why it differs |\n|---|---|---|---|\n".to_owned();
    for Case { what, observed, difference } in cases {
        let Some(seen) = daprd(what) else {
            wrong.push(format!("{what}: what daprd does is not recorded; run make dapr-compatibility"));
            continue;
        };
        let (own, why) = match (compare(&seen, observed), difference) {
            (Verdict::Same(added), None) if added.is_empty() => ("same".to_owned(), ""),
            (Verdict::Same(added), None) => {
                let added: Vec<String> = added.iter().map(|name| code(name)).collect();
                (format!("same, and {}", added.join(", ")), "")
            }
            (Verdict::Different, Some(why)) => (cell(observed), *why),
            (Verdict::Same(_), Some(why)) => {
                wrong.push(format!("{what}: is the same, although it is to differ: {why}"));
                continue;
            }
            (Verdict::Different, None) => {
                wrong.push(format!("{what}:\n  daprd  {seen:?}\n  worker {observed:?}"));
                continue;
            }
        };
        table.push_str(&format!("| {what} | {} | {own} | {why} |\n", cell(&seen)));
    }
    table
}

/// Compares the page with `tables`; `UPDATE=1` writes them into it.
pub fn compare_page(tables: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/dapr-compatibility.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page should have the mark of the beginning");
    let (found, after) = rest.split_once(END).expect("the page should have the mark of the end");
    let wanted = format!("\n{tables}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, wanted, "the page does not show what was seen; UPDATE=1 makes it anew");
    }
}
