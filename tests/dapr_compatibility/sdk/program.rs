//! A program of an SDK as a process, and what it prints.
//!
//! It starts its server, waits for a line of its standard input, makes its calls, and waits for the end of its input.

use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::observed::Observed;
use crate::worker_support::{LIMIT, cache};

/// A line of a program, a JSON object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Printed {
    /// A call that has ended.
    Call(Row),
    /// A message that has come to the program's server.
    Received(Row),
    /// How often messages come at least, by the words of their rows: the last before the end of the input.
    Expects(Vec<(String, usize)>),
    /// Something that must not happen.
    Failed(String),
}

/// What a program says of a row.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The call, in the SDK's language.
    pub text: String,
    /// What is to be said besides.
    #[serde(default)]
    pub words: String,
    /// What the call gave, or the server got.
    pub seen: Observed,
    /// The call has stored the next message of the topic.
    #[serde(default)]
    pub stores: bool,
    /// The message is refused each time.
    #[serde(default)]
    pub refused: bool,
    /// The answer to the message is to be published.
    #[serde(default)]
    pub replies: bool,
    /// Name of the reason for which a worker is to differ.
    #[serde(default)]
    pub differs: String,
}

/// A program that runs.
pub struct Program {
    name: String,
    process: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    /// Calls in their order.
    pub calls: Vec<Row>,
    /// Messages in the order in which they came.
    pub received: Vec<Row>,
    /// How often messages come at least, by words.
    pub expected: Vec<(String, usize)>,
}

/// The folder of an installed SDK.
pub fn installed(language: &str) -> PathBuf {
    let folder = cache().join("dapr-sdk").join(language);
    let complete = folder.join(".complete");
    assert!(complete.exists(), "run tests/dapr_sdk/install.sh {language}: {} is missing", complete.display());
    folder
}

impl Program {
    pub fn start(name: String, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { name, process, input, lines, calls: Vec::new(), received: Vec::new(), expected: Vec::new() }
    }

    /// Tells a program that it may send messages.
    pub async fn go(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").await.unwrap();
    }

    /// Reads until every message has come as often as the program expects.
    pub async fn receive(&mut self) {
        let read = async {
            while !self.has_all() {
                assert!(self.read().await, "{}: ended after {:#?}", self.name, self.calls.last());
            }
        };
        let read = tokio::time::timeout(LIMIT, read).await;
        assert!(read.is_ok(), "{}: not all of {:?} within {LIMIT:?}: {:#?}", self.name, self.expected, self.received);
    }

    fn has_all(&self) -> bool {
        let is_there = |(words, count): &(String, usize)| self.times(words) >= *count;
        !self.expected.is_empty() && self.expected.iter().all(is_there)
    }

    /// How often messages of these words have come.
    pub fn times(&self, words: &str) -> usize {
        self.received.iter().filter(|row| row.words == words).count()
    }

    /// Whether messages of these words are refused each time.
    pub fn is_refused(&self, words: &str) -> bool {
        self.received.iter().any(|row| row.words == words && row.refused)
    }

    /// How many messages are answered with a reply that is to be published.
    pub fn replies(&self) -> usize {
        self.received.iter().filter(|row| row.replies).count()
    }

    /// Ends the program's input, and reads what it does at its end.
    pub async fn end(&mut self) {
        drop(self.input.take());
        let read = async { while self.read().await {} };
        let read = tokio::time::timeout(LIMIT, read).await;
        assert!(read.is_ok(), "{}: goes on after its end", self.name);
        self.process.wait().await.unwrap();
    }

    /// Reads a line; whether there was one.
    async fn read(&mut self) -> bool {
        let Some(line) = self.lines.next_line().await.unwrap() else { return false };
        // Libraries print lines of their own.
        if !line.starts_with("{\"") {
            return true;
        }
        match serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name)) {
            Printed::Call(row) => self.calls.push(row),
            Printed::Received(row) => self.received.push(row),
            Printed::Expects(expected) => self.expected = expected,
            Printed::Failed(why) => panic!("{}: {why}", self.name),
        }
        true
    }
}
