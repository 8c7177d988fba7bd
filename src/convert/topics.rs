//! `topics`: Dapr's comma-separated text becomes a list.

use super::Conversion;

impl Conversion<'_> {
    /// The topics of the component, each `topic` or `topic||expression`.
    pub(super) fn topics(&mut self) -> Vec<String> {
        let Some(text) = self.text("topics") else { return Vec::new() };
        let mut topics: Vec<String> = Vec::new();
        let mut dropped = Vec::new();
        for topic in text.split(',').map(str::trim) {
            if topic.is_empty() || topics.iter().any(|known| known == topic) {
                dropped.push(format!("{topic:?}"));
            } else {
                topics.push(topic.to_owned());
            }
        }
        if topics.len() > 1 {
            self.changed(
                "topics",
                "the list is taken for the name of one topic, so nothing is sent or received",
                format!("{} topics, as the page says", topics.len()),
            );
        }
        if !dropped.is_empty() {
            self.note("topics", "empty and repeated entries", format!("left out: {}", dropped.join(", ")));
        }
        for topic in topics.iter().filter(|topic| topic.matches("||").count() > 1) {
            self.rows.push(super::Row {
                level: super::report::Level::Changed,
                binding: self.component.title(),
                field: "topics".to_owned(),
                dapr: format!("{topic:?} is refused: one tag at most"),
                here: "an input reads all these tags; an output needs rocketmq-tag in each request".to_owned(),
            });
        }
        topics
    }
}
