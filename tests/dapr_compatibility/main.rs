//! Daprd and a binding worker, asked for the same things: the tables of `docs/dapr-compatibility.md`.
//!
//! What daprd does is recorded in `daprd.json`; `make dapr-compatibility` builds daprd, records it anew and writes the page. A
//! run without daprd asks the worker only, and fails when something is other than daprd has it and is not meant to be, or
//! when the page does not show what was seen.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod component;
mod delivery;
mod grpc;
mod http;
mod observed;
mod page;
mod peer;
mod rpc;
mod sdk;
mod stored;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use observed::{Case, Observed};
use peer::Peer;
use worker_support::Broker;

/// Section, then case, then what daprd showed.
type Recording = BTreeMap<String, BTreeMap<String, Observed>>;

/// Sections of the page; those of the SDKs follow.
const SECTIONS: &[(&str, &str)] = &[
    (
        "Fields of the component",
        "Each started alone, from one and the same component: daprd reads it, the worker gets what `rocketmq-connector convert` makes of it.",
    ),
    ("Requests over HTTP", "Headers are shown as they came, but for the date and the length."),
    (
        "What a create over HTTP stores",
        "Read back from the broker, without the properties that each client adds for itself.",
    ),
    ("Calls over gRPC", ""),
    ("Deliveries", "The application answers the first time as the row says, and 40 s are waited for what else comes."),
];

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn recording() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dapr_compatibility/daprd.json")
}

/// Tells how long a section has taken.
async fn timed(section: &str, cases: impl Future<Output = Vec<Case>>) -> Vec<Case> {
    let began = std::time::Instant::now();
    let cases = cases.await;
    println!("{section}: {} cases, {:.1} s", cases.len(), began.elapsed().as_secs_f64());
    cases
}

/// What is seen of a side, section by section.
async fn observe(peer: &Peer, broker: &Broker) -> Vec<Vec<Case>> {
    let (component, http, stored, grpc, delivery, sdk) = tokio::join!(
        timed("component", component::observe(peer, broker)),
        timed("HTTP", http::observe(peer, broker)),
        timed("stored", stored::observe(peer, broker)),
        timed("gRPC", grpc::observe(peer, broker)),
        timed("delivery", delivery::observe(peer, broker)),
        sdk::observe(peer, broker),
    );
    [vec![component, http, stored, grpc, delivery], sdk].concat()
}

/// Titles and introductions, in the order of [`observe`].
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    SECTIONS.iter().copied().chain(sdk::sections())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_answers_as_daprd_or_as_the_page_says() {
    let broker = Broker::named("5.4.0-plain");
    if let Ok(program) = std::env::var("DAPRD") {
        let seen = observe(&Peer::Daprd(program), &broker).await;
        let sections = sections().zip(seen).map(|((title, _), cases)| {
            (title.to_owned(), cases.into_iter().map(|case| (case.what, case.observed)).collect())
        });
        let text = serde_json::to_string_pretty(&sections.collect::<Recording>()).unwrap();
        std::fs::write(recording(), text + "\n").unwrap();
    }
    let text =
        std::fs::read_to_string(recording()).expect("daprd.json should be there; make dapr-compatibility makes it");
    let recorded: Recording = serde_json::from_str(&text).unwrap();
    let (mut tables, mut wrong) = (String::new(), Vec::new());
    for ((title, about), cases) in sections().zip(observe(&Peer::Worker, &broker).await) {
        let daprd = |what: &str| recorded.get(title)?.get(what).cloned();
        let table = page::table(&cases, &daprd, &mut wrong);
        let about = if about.is_empty() { String::new() } else { format!("{about}\n\n") };
        tables.push_str(&format!("### {title}\n\n{about}{table}\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    page::compare_page(&tables);
}
