//! What `convert` tells: each behaviour that changes, by binding and field.

use std::fmt::Write as _;

/// How much a row matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is to be checked or done.
    Attention,
    /// Something behaves differently.
    Changed,
    /// Something has no counterpart and no effect.
    Note,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Attention => "to do",
            Self::Changed => "changes",
            Self::Note => "note",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// How much it matters.
    pub level: Level,
    /// Namespace and name of the binding.
    pub binding: String,
    /// Field, by Dapr's name where it has one.
    pub field: String,
    /// What Dapr does.
    pub dapr: String,
    /// What happens here, and what to do.
    pub here: String,
}

/// All differences, and what was not converted.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Differences in the order in which they were found.
    pub rows: Vec<Row>,
    /// Documents that were left out, each with the reason.
    pub left_out: Vec<String>,
}

impl Report {
    fn bindings(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.binding.as_str()) {
                names.push(&row.binding);
            }
        }
        names
    }

    fn rows_of(&self, binding: &str) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.iter().filter(|row| row.binding == binding).collect();
        rows.sort_by_key(|row| row.level);
        rows
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for binding in self.bindings() {
            let _ = writeln!(text, "RocketMQBinding {binding}");
            for Row { level, field, dapr, here, .. } in self.rows_of(binding) {
                let _ = writeln!(
                    text,
                    "  {:<7}  {field}\n             Dapr: {dapr}\n             here: {here}",
                    level.word()
                );
            }
        }
        self.left_out.iter().for_each(|line| {
            let _ = writeln!(text, "left out: {line}");
        });
        text
    }

    /// As a page with a table for each binding.
    #[must_use]
    pub fn markdown(&self) -> String {
        let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ");
        let mut text = "# From Dapr components to RocketMQBindings\n".to_owned();
        for binding in self.bindings() {
            let _ = writeln!(text, "\n## {binding}\n\n| | field | Dapr | here |\n|---|---|---|---|");
            for Row { level, field, dapr, here, .. } in self.rows_of(binding) {
                let _ = writeln!(text, "| {} | `{field}` | {} | {} |", level.word(), cell(dapr), cell(here));
            }
        }
        if !self.left_out.is_empty() {
            text.push_str("\n## Left out\n\n");
            self.left_out.iter().for_each(|line| {
                let _ = writeln!(text, "- {line}");
            });
        }
        text
    }
}
