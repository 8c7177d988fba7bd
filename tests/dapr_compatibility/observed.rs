//! What is seen of a side, and whether two sides are the same.

use std::collections::BTreeMap;

/// What was seen, by name: `status`, `message`, a header.
pub type Observed = BTreeMap<String, String>;

/// Something that both sides are asked for.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is, as the page shows it.
    pub what: String,
    /// What was seen.
    pub observed: Observed,
    /// Why the worker is to differ, where it is to.
    pub difference: Option<&'static str>,
}

/// What two sides have in common.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that daprd shows, and what the worker shows besides.
    Same(Vec<String>),
    /// Something else.
    Different,
}

/// Compares. A message of the worker may go on after daprd's, with the remedy.
pub fn compare(daprd: &Observed, worker: &Observed) -> Verdict {
    let is_same = daprd.iter().all(|(name, value)| {
        worker
            .get(name)
            .is_some_and(|own| own == value || name == "message" && !value.is_empty() && own.starts_with(value))
    });
    if !is_same {
        return Verdict::Different;
    }
    Verdict::Same(worker.keys().filter(|name| !daprd.contains_key(*name)).cloned().collect())
}

/// Puts values that are other ones in each run under the names that the page shows.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<(String, &'static str)>);

impl Names {
    /// `actual` is shown as `shown`.
    pub fn add(&mut self, shown: &'static str, actual: impl Into<String>) {
        self.0.push((actual.into(), shown));
    }

    /// The text as it is sent.
    pub fn actual(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (actual, shown)| text.replace(&format!("<{shown}>"), actual))
    }

    /// The text as it is shown.
    pub fn shown(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (actual, shown)| text.replace(actual, &format!("<{shown}>")))
    }
}

/// The words of a decoder are its own; those that tell a kind of failure stay.
pub fn without_decoders_words(message: &str) -> String {
    const DECODING: &str = "failed deserializing HTTP body: ";
    match message.split_once(DECODING) {
        Some((_, words)) if !words.starts_with("EOF") && !words.starts_with("stream too large") => DECODING.to_owned(),
        _ => message.to_owned(),
    }
}
