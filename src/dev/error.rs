//! What can keep `dev` and `test` from running manifests, each with file, document and field where there is one.

use std::io;
use std::path::PathBuf;

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Why manifests cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("failed to read {}: {source}; check the path given with -f", path.display())]
    Read {
        /// Path as given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A folder has nothing to read.
    #[error("{}: the folder holds no .yaml, .yml or .json file", .0.display())]
    EmptyFolder(PathBuf),
    /// A file is not YAML.
    #[error("{}: not YAML: {source}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Where and what is wrong.
        source: Box<serde_saphyr::Error>,
    },
    /// Manifests have mistakes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Mistake>),
    /// Nothing that could run.
    #[error("the manifests hold nothing to run; give at least one RocketMQBinding or RocketMQConnection with -f")]
    NothingToRun,
    /// `convert` was given no component that it knows.
    #[error("no Dapr component of type bindings.rocketmq was given with -f{}", .left_out.iter().map(|line| format!("\nleft out: {line}")).collect::<String>())]
    NothingToConvert {
        /// What was given instead.
        left_out: Vec<String>,
    },
    /// A manifest cannot be written as YAML.
    #[error("failed to write {subject} as YAML: {why}")]
    Render {
        /// Kind and name.
        subject: String,
        /// What the serialiser said.
        why: String,
    },
    /// Several connections, and none was chosen.
    #[error("the manifests hold {count} things to choose from; choose one with --name: {names}")]
    Ambiguous {
        /// How many.
        count: usize,
        /// Their names.
        names: String,
    },
    /// The schemas of the custom resources cannot be used, which is a defect of the program.
    #[error("failed to prepare the schema of {kind}: {why}")]
    Schema {
        /// The kind.
        kind: String,
        /// What is wrong.
        why: String,
    },
    /// A private file cannot be written.
    #[error("failed to write {}: {source}", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A worker could not be started.
    #[error("{subject}: {source}; {}", source.remedy())]
    Worker {
        /// Kind and name.
        subject: String,
        /// Why.
        source: crate::worker::error::Error,
    },
    /// The broker could not be started.
    #[error("failed to start a broker: {0}")]
    Broker(String),
    /// The models could not be loaded.
    #[error("{}: {}", .0.message, .0.remedy)]
    LoadModels(crate::worker_config::report::ReportedError),
    /// The manifests hold no sync.
    #[error("the manifests hold no RocketMQSync that runs; give one with -f, and the connections that it names")]
    NothingToVerify,
    /// Source and target could not be compared.
    #[error("{}: {}", .0.message, .0.remedy)]
    Verify(crate::worker_config::report::ReportedError),
    /// The demo did not come to its end.
    #[error("the demo failed: {0}")]
    Demo(String),
}

/// A mistake in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where the manifest is, for instance `bindings.yaml, document 2`.
    pub place: String,
    /// Kind and name, as far as they are known.
    pub subject: String,
    /// Path of the field, for instance `spec.topics[0]`; empty for the whole document.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, subject, field, message } = self;
        write!(formatter, "{place}: {subject}: ")?;
        if !field.is_empty() {
            write!(formatter, "{field}: ")?;
        }
        formatter.write_str(message)
    }
}
