//! The live table of what runs.

use std::fmt::Write;

use crate::worker_config::models::Model;
use crate::worker_config::report::{
    BindingReport, ConnectionReport, SyncReport, TestResult, WorkerReport, WorkerState,
};
use crate::worker_config::verify::{VerifyCounts, VerifyReport};

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Kind of the custom resource.
    pub kind: String,
    /// `namespace/name`.
    pub name: String,
    /// The worker's report; or why there is no worker.
    pub report: Result<Box<WorkerReport>, String>,
}

const HEADERS: [&str; 9] = ["KIND", "NAME", "STATE", "IN", "OUT", "FAILED", "LAG", "DETAIL", ""];

/// Renders rows in aligned columns; troubles follow below, each with its remedy.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        cells.iter().map(|row| row[column].chars().count()).chain([HEADERS[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut text = String::new();
    let headers: Vec<String> = HEADERS.iter().map(|header| (*header).to_owned()).collect();
    for row in std::iter::once(&headers).chain(&cells) {
        let columns: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(columns.join("  ").trim_end());
        text.push('\n');
    }
    for row in rows {
        troubles(row, &mut text);
    }
    text
}

fn cells(row: &Row) -> Vec<String> {
    if let Ok(report) = &row.report
        && let Some(sync) = &report.sync
    {
        return sync_cells(row, report.state, sync);
    }
    let (state, binding, detail) = match &row.report {
        Ok(report) => (state(report.state), report.binding.clone(), report.connection.as_ref().map(connection_detail)),
        Err(why) => ("not run", None, Some(why.clone())),
    };
    let figure = |value: fn(&BindingReport) -> Option<u64>| {
        binding
            .as_ref()
            .map_or_else(String::new, |binding| value(binding).map_or("?".to_owned(), |value| value.to_string()))
    };
    let detail = detail.or_else(|| binding.as_ref().map(binding_detail)).unwrap_or_default();
    vec![
        row.kind.clone(),
        row.name.clone(),
        state.to_owned(),
        figure(|binding| Some(binding.messages_in)),
        figure(|binding| Some(binding.messages_out)),
        figure(|binding| Some(binding.failed)),
        figure(|binding| binding.lag),
        detail,
    ]
}

fn sync_cells(row: &Row, in_state: WorkerState, sync: &SyncReport) -> Vec<String> {
    let SyncReport { skipped, dead_lettered, left_out, resent, .. } = sync;
    let counts =
        [(*left_out, "left out"), (*skipped, "skipped"), (*dead_lettered, "dead-lettered"), (*resent, "sent again")];
    let shown = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let rate = format!("{:.0}/s", sync.write_rate);
    vec![
        row.kind.clone(),
        row.name.clone(),
        state(in_state).to_owned(),
        sync.read.to_string(),
        sync.written.to_string(),
        sync.failed_writes.to_string(),
        sync.lag.map_or("?".to_owned(), |lag| lag.to_string()),
        std::iter::once(rate).chain(shown).collect::<Vec<_>>().join(", "),
    ]
}

fn state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "Starting",
        WorkerState::Running => "Running",
        WorkerState::Failing => "Failing",
        WorkerState::Draining => "Draining",
    }
}

fn binding_detail(binding: &BindingReport) -> String {
    let BindingReport { queues, in_flight, redelivered, dead_lettered, .. } = binding;
    let counts = [
        (u64::from(*queues), "queues"),
        (*in_flight, "in flight"),
        (*redelivered, "redelivered"),
        (*dead_lettered, "dead-lettered"),
    ];
    let shown = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    shown.collect::<Vec<_>>().join(", ")
}

fn connection_detail(connection: &ConnectionReport) -> String {
    let passed = connection.items.iter().filter(|item| item.result == TestResult::Passed).count();
    let version = connection.server_version.as_deref().unwrap_or("version not known");
    let ConnectionReport { brokers, topics, items, .. } = connection;
    format!("{passed} of {} tests passed, {version}, {brokers} brokers, {topics} topics", items.len())
}

fn troubles(row: &Row, text: &mut String) {
    let Ok(report) = &row.report else { return };
    if let Some(error) = &report.last_error {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {}: {}: {}\n    → {}", row.name, error.reason, error.message, error.remedy);
    }
}

/// Models with their fields, indented.
#[must_use]
pub fn render_models(models: &[Model]) -> String {
    let mut text = String::new();
    for model in models {
        let Model { topic, queues, messages, sampled, format, .. } = model;
        let _ = writeln!(text, "{topic}  {format:?}, {queues} queues, {messages} messages, {sampled} sampled");
        if let Some(error) = &model.error {
            let _ = writeln!(text, "  ! {error}");
        }
        let width = model.fields.iter().map(|field| field.path.chars().count()).max().unwrap_or_default();
        for field in &model.fields {
            let types: Vec<_> = field.types.iter().map(|of_field| format!("{of_field:?}").to_uppercase()).collect();
            let null = if field.nullable { ", null" } else { "" };
            let share = field.presence * 100.0;
            let _ = writeln!(text, "  {:<width$}  {}{null}  {share:.0} %", field.path, types.join(" or "));
        }
    }
    let _ = writeln!(text, "{} models", models.len());
    text
}

/// What comparing source and target came to: figures, then each difference that is listed.
#[must_use]
pub fn render_verify(report: &VerifyReport) -> String {
    let mut text = String::new();
    let VerifyCounts { source, target, left_out, missing, extra, different, duplicates, undecided } = report.counts;
    // Writing to a String does not fail.
    let _ = writeln!(text, "{source:>10}  in the window of the source");
    for (count, what) in [
        (target, "at the target as they should be"),
        (left_out, "left out, not expected at the target"),
        (missing, "missing"),
        (different, "different"),
        (extra, "extra"),
        (duplicates, "more than once at the target"),
    ] {
        let _ = writeln!(text, "{count:>10}  {what}");
    }
    if undecided > 0 {
        let _ = writeln!(text, "{undecided:>10}  rows of which the window does not tell what they should be");
    }
    let width = report.findings.iter().map(|finding| finding.key.chars().count()).max().unwrap_or_default();
    for finding in &report.findings {
        let kind = format!("{:?}", finding.kind);
        let columns = match finding.columns.as_slice() {
            [] => String::new(),
            columns => format!(" ({})", columns.join(", ")),
        };
        let _ = writeln!(text, "{kind:<9}  {:<width$}  {} → {}{columns}", finding.key, finding.place, finding.topic);
    }
    let listed = report.findings.len() as u64;
    if missing + different + extra > listed {
        let _ = writeln!(text, "{} more are not listed; see --max", missing + different + extra - listed);
    }
    if report.is_cut {
        let _ =
            writeln!(text, "the window was cut: there is more in it than one run compares; choose a shorter --window");
    }
    text
}

/// The items of a connection test as a table.
#[must_use]
pub fn render_test(report: &ConnectionReport) -> String {
    let mut text = String::new();
    for item in &report.items {
        let mark = match item.result {
            TestResult::Passed => "passed ",
            TestResult::Warning => "warning",
            TestResult::Failed => "FAILED ",
            TestResult::Skipped => "skipped",
        };
        let _ = writeln!(text, "{mark}  {:<20} {:>6} ms  {}", item.name, item.duration_millis, item.message);
        if !item.remedy.is_empty() {
            let _ = writeln!(text, "{:38}→ {}", "", item.remedy);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::error::reported;
    use crate::worker_config::Identity;
    use crate::worker_config::verify::{Difference, Finding};

    #[test]
    fn differences_are_listed_and_the_rest_is_counted() {
        let finding = |kind, key: &str| Finding {
            kind,
            key: key.to_owned(),
            id: "ID".to_owned(),
            place: "topic t, broker b, queue 0, offset 7".to_owned(),
            topic: "copy".to_owned(),
            columns: Vec::new(),
        };
        let report = VerifyReport {
            counts: VerifyCounts { source: 12, target: 9, missing: 3, ..VerifyCounts::default() },
            findings: vec![finding(Difference::Missing, "k-1"), finding(Difference::Missing, "k")],
            ..VerifyReport::default()
        };
        let text = render_verify(&report);
        assert!(text.starts_with("        12  in the window of the source\n         9  at the target"), "{text}");
        assert!(
            text.contains("Missing    k-1  topic t, broker b, queue 0, offset 7 → copy\nMissing    k    "),
            "{text}"
        );
        assert!(text.ends_with("1 more are not listed; see --max\n"), "{text}");
    }

    #[test]
    fn columns_line_up_and_errors_show_their_remedy() {
        let identity =
            Identity { kind: "RocketMQBinding".into(), namespace: "shop".into(), name: "orders".into(), generation: 1 };
        let reporter = crate::worker::report::Reporter::new(identity);
        reporter.set_binding(BindingReport { messages_in: 12, lag: Some(3), ..BindingReport::default() });
        reporter.set_health(Some(reported("AppUnreachable", "no connection to the app", "start the app")));
        let row = Row {
            kind: "RocketMQBinding".into(),
            name: "shop/orders".into(),
            report: Ok(Box::new(reporter.current())),
        };
        let stopped =
            Row { kind: "RocketMQSync".into(), name: "shop/s".into(), report: Err("not available yet".into()) };
        let text = render(&[row, stopped]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("KIND             NAME         STATE    IN  OUT  FAILED  LAG"), "{text}");
        assert!(lines[1].starts_with("RocketMQBinding  shop/orders  Failing  12  0    0       3"), "{text}");
        assert!(lines[2].contains("not run") && lines[2].ends_with("not available yet"), "{text}");
        assert!(
            text.contains("AppUnreachable: no connection to the app") && text.contains("→ start the app"),
            "{text}"
        );
    }
}
