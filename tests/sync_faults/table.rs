//! The table in the documentation: what was run now takes the place of what was run before, the rest stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::faults::FAULTS;
use super::world::PIPELINES;

const BEGIN: &str = "<!-- faults begin -->";
const END: &str = "<!-- faults end -->";
const HEAD: &str =
    "| pipeline | fault | records | lost | repeated | longest pause at the target | |\n|---|---|---|---|---|---|---|\n";

/// What a run has shown.
pub struct Outcome {
    pub pipeline: &'static str,
    pub fault: &'static str,
    pub records: usize,
    pub lost: usize,
    pub repeated: usize,
    /// Seconds in which nothing came to the target while records were published.
    pub pause: f64,
    pub note: String,
    /// Whether something else than a loss is wrong.
    pub is_broken: bool,
}

impl Outcome {
    fn row(&self) -> String {
        let Self { pipeline, fault, records, lost, repeated, pause, note, is_broken } = self;
        let mark = if *is_broken { "WRONG: " } else { "" };
        format!("| {pipeline} | {fault} | {records} | {lost} | {repeated} | {pause:.1} s | {mark}{note} |")
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md")
}

/// Pipeline and fault of a row.
fn key(row: &str) -> Option<(String, String)> {
    let mut cells = row.strip_prefix("| ")?.split(" | ");
    Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
}

/// Takes a row up into the document.
pub fn note(outcome: &Outcome) {
    let text = std::fs::read_to_string(path()).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (known, tail) = rest.split_once(END).unwrap();
    let mut rows: BTreeMap<(String, String), String> =
        known.lines().filter_map(|row| Some((key(row)?, row.to_owned()))).collect();
    let row = outcome.row();
    println!("{row}");
    rows.insert(key(&row).unwrap(), row);
    let in_order = PIPELINES
        .iter()
        .flat_map(|pipeline| FAULTS.iter().map(|fault| (pipeline.name.to_owned(), fault.name.to_owned())));
    let table: String = in_order.filter_map(|key| rows.get(&key)).map(|row| format!("{row}\n")).collect();
    let done: String = FAULTS.iter().map(|fault| format!("| {} | {} |\n", fault.name, fault.done)).collect();
    let done = format!("| fault | what is done |\n|---|---|\n{done}");
    std::fs::write(path(), format!("{head}{BEGIN}\n{HEAD}{table}\n{done}{END}{tail}")).unwrap();
}
