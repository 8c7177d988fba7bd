//! The unmodified Dapr SDKs: what their calls give, and what their servers get.
//!
//! A program of `tests/dapr_sdk` is a client of the output "rmq" and the server of the input "rmq" of one topic, so that it
//! gets what it has sent. It finds its side by `DAPR_HTTP_ENDPOINT` and `DAPR_GRPC_ENDPOINT`, and by nothing else; the same
//! programs are run with daprd and with workers.

mod program;

use std::net::SocketAddr;

use futures::{StreamExt, stream};
use tokio::process::Command;

use crate::observed::{Case, Names, Observed};
use crate::peer::{API_TOKEN, APP_TOKEN, AppAt, Around, Peer, free_port};
use crate::worker_support::topic::read_all;
use crate::worker_support::{Broker, unique};
use program::{Program, Row, installed};

/// Programs that run at the same time.
const AT_ONCE: usize = 3;
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dapr_sdk");

/// A program, and what it runs with.
#[derive(Debug)]
struct Run {
    language: &'static str,
    /// Protocol of the program's server; of its client too, where the SDK has two.
    protocol: &'static str,
    has_tokens: bool,
}

/// Sections of the page with their programs.
const SECTIONS: &[(&str, &str, &[Run])] = &[
    (
        "SDK for Python",
        "`DaprClient`, that of asyncio, and `dapr.ext.grpc`; with tokens. `DaprStub` is Dapr's own stub.",
        &[Run { language: "python", protocol: "grpc", has_tokens: true }],
    ),
    (
        "SDK for JavaScript over HTTP",
        "`DaprClient` and `DaprServer` with `CommunicationProtocolEnum.HTTP`.",
        &[Run { language: "javascript", protocol: "http", has_tokens: false }],
    ),
    (
        "SDK for JavaScript over gRPC",
        "The same with `CommunicationProtocolEnum.GRPC`.",
        &[Run { language: "javascript", protocol: "grpc", has_tokens: false }],
    ),
    (
        "SDK for Go",
        "`client`, and both servers: `service/grpc` and `service/http`.",
        &[
            Run { language: "go", protocol: "grpc", has_tokens: false },
            Run { language: "go", protocol: "http", has_tokens: false },
        ],
    ),
    (
        "SDK for Java",
        "`DaprClient`, and a server of `AppCallback` of `dapr-sdk-autogen`.",
        &[Run { language: "java", protocol: "grpc", has_tokens: false }],
    ),
];

/// Titles and introductions.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    SECTIONS.iter().map(|(title, about, _)| (*title, *about))
}

/// What is seen of a side, section by section.
pub async fn observe(peer: &Peer, broker: &Broker) -> Vec<Vec<Case>> {
    let runs =
        SECTIONS.iter().enumerate().flat_map(|(section, (_, _, runs))| runs.iter().map(move |run| (section, run)));
    let seen = stream::iter(runs).map(|(section, run)| async move {
        let name = format!("SDK for {} over {}", run.language, run.protocol);
        (section, crate::timed(&name, run.observe(peer, broker)).await)
    });
    let mut sections = vec![Vec::new(); SECTIONS.len()];
    for (section, cases) in seen.buffered(AT_ONCE).collect::<Vec<_>>().await {
        sections[section].extend(cases);
    }
    sections
}

/// Why a worker is to differ, by the name that programs use.
fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "" => return None,
        "ack" => "what `read` has given is acknowledged",
        "empty" => "an empty message is RocketMQ's to refuse; the answer says so before it is sent",
        "topics" => "several topics are sent to at the same time, and the answer tells each one's result",
        "state" => "a binding worker serves no state; the answer says what it serves",
        "shutdown" => "a worker ends with its pod, not by a caller's word",
        "health" => "a worker serves gRPC's health check",
        "reflection" => "a worker shows its services to tools such as grpcurl",
        "exact" => "the text of `data` is stored exactly as it was sent",
        "features" => "a worker has no features that are switched on",
        "tag" => "the tag of the request is stored, also without `rocketmq-topic`",
        "trace" => "the trace of the caller goes through the broker",
        "delivery" => "what is known of the message; the expression of a topic without one is `*`",
        "reply" => "a reply that is not published is a failed delivery: it must not get lost",
        "version" => "a worker is no daprd, and tells its own version",
        "documented" => "documented by Dapr and not implemented there",
        name => panic!("{name:?} is no reason"),
    })
}

impl Run {
    fn command(&self) -> Command {
        let folder = installed(self.language);
        let mut command = match self.language {
            "python" => Command::new(folder.join("bin/python")),
            "javascript" => Command::new("node"),
            "go" => Command::new(folder.join("peer")),
            _ => Command::new("java"),
        };
        match self.language {
            "python" => command.arg(format!("{SOURCES}/python/peer.py")),
            "javascript" => {
                command.arg(format!("{SOURCES}/javascript/peer.js")).env("NODE_PATH", folder.join("node_modules"))
            }
            "go" => &mut command,
            _ => {
                let classes = format!("{0}/classes:{0}/lib/*", folder.display());
                command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &classes, "Peer"])
            }
        };
        command.arg(self.protocol);
        command
    }

    async fn observe(&self, peer: &Peer, broker: &Broker) -> Vec<Case> {
        let topic = broker.topic("sdk", 1).await;
        let (other, another) = (broker.topic("sdk-other", 1).await, broker.topic("sdk-another", 1).await);
        let group = unique("g");
        let mut names = Names::default();
        names.add("other", &other);
        names.add("another", &another);
        names.add("topic", &topic);
        names.add("group", &group);
        let has_tokens = self.has_tokens;
        let app = AppAt { address: SocketAddr::from(([127, 0, 0, 1], free_port())), is_grpc: self.protocol == "grpc" };
        let fields = crate::http::output(broker, &topic);
        let output = peer.start_with(&crate::pairs(&fields), Around { has_tokens, ..Around::default() }).await.unwrap();
        let around = Around { app: Some(app), has_tokens, has_replies: true };
        let fields = crate::delivery::input(broker, &topic, &group);
        let input = peer.start_with(&crate::pairs(&fields), around).await.unwrap();

        let mut command = self.command();
        command
            .env("DAPR_HTTP_ENDPOINT", format!("http://{}", output.http))
            .env("DAPR_GRPC_ENDPOINT", output.grpc.to_string())
            .env("APP_PORT", app.address.port().to_string())
            .env("REPLIES", input.replies)
            .env("OTHER_TOPICS", format!("{other},{another}"));
        if has_tokens {
            command.env("DAPR_API_TOKEN", API_TOKEN).env("APP_API_TOKEN", APP_TOKEN);
        }
        let mut program = Program::start(format!("{} over {}", self.language, self.protocol), command);
        input.until_reading(&topic).await;
        program.go().await;
        program.receive().await;
        let calls = program.calls.len();
        // A worker's replies come as messages too.
        let sent = program.expected.len() + program.replies();
        let taken = sent - program.expected.iter().filter(|(words, _)| program.is_refused(words)).count();
        let handed_back = input.handed_back(taken as u64).await;
        program.end().await;
        let published = input.published();
        let again = program.received.len().saturating_sub(taken);
        // What is refused each time goes on coming.
        let goes_on = taken < sent;
        if let Some(handed_back) = handed_back {
            assert!(goes_on || handed_back == again as u64, "{handed_back} handed back, {again} came again");
        }
        output.stop().await;
        input.stop().await;
        let mut stored = bodies(broker, &topic).await;
        let own = stored.split_off(program.expected.len());
        let published = published.unwrap_or_else(|| own.iter().map(|message| message["stored"].clone()).collect());
        assert_eq!(published.len(), program.replies(), "replies: {published:?}");
        cases(&program, calls, &stored, &published.join(", "), &names)
    }
}

/// Everything that a topic holds as the page shows it, in the order of the offsets.
async fn bodies(broker: &Broker, topic: &str) -> Vec<Observed> {
    let stored = read_all(broker, topic).await.into_iter().map(|message| {
        let body = std::str::from_utf8(&message.body).map(str::to_owned);
        let body = body.unwrap_or_else(|_| message.body.escape_ascii().to_string());
        Observed::from([
            ("stored".to_owned(), if body.len() > 100 { format!("{} bytes", body.len()) } else { body }),
            ("tag".to_owned(), message.tag.unwrap_or_default().into()),
            ("keys".to_owned(), message.keys.join(", ")),
        ])
    });
    stored.collect()
}

/// The rows: calls, then what came to the server in the order of what the program expects, then the calls of the end.
fn cases(program: &Program, calls: usize, stored: &[Observed], published: &str, names: &Names) -> Vec<Case> {
    let mut stored = stored.iter();
    let mut case = |row: &Row, more: Observed| {
        let mut observed = more;
        for (name, value) in &row.seen {
            // A name may begin with that of the map which it is of.
            let own = name.rsplit(' ').next().unwrap_or(name);
            let value = match value.as_str() {
                env!("CARGO_PKG_VERSION") if row.differs == "version" => "the worker's own".to_owned(),
                value => crate::delivery::shown_value(own, &names.shown(value)),
            };
            observed.insert(name.clone(), value);
        }
        if row.replies {
            observed.insert("published".to_owned(), published.to_owned());
        }
        if row.stores {
            observed.extend(stored.next().expect("a call that stores a message should have stored one").clone());
        }
        let words = if row.words.is_empty() { String::new() } else { format!(", {}", row.words) };
        let what = format!("{}{words}", crate::page::code(&row.text));
        Case { what, observed, difference: reason(&row.differs) }
    };
    let (before, after) = program.calls.split_at(calls);
    let mut cases: Vec<_> = before.iter().map(|row| case(row, Observed::new())).collect();
    for (words, _) in &program.expected {
        let first = program.received.iter().find(|row| row.words == *words).unwrap();
        let times = if program.times(words) == 1 { "once" } else { "again" };
        cases.push(case(first, Observed::from([("delivered".to_owned(), times.to_owned())])));
    }
    cases.extend(after.iter().map(|row| case(row, Observed::new())));
    cases
}
