//! `verify`: compares the source and target of a sync once.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{NOT_TESTED, OutputFormat, to_json};
use crate::api::quantity;
use crate::dev::table;
use crate::dev::verify::verify_sync;

/// What `verify` is told.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Manifest file or folder with the sync and its connections, - for standard input; may be given several times.
    #[arg(short = 'f', long = "file", env = "VERIFY_FILES", value_delimiter = ',', required = true)]
    files: Vec<PathBuf>,
    /// Name of the sync, when there are several.
    #[arg(long, env = "VERIFY_NAME")]
    name: Option<String>,
    /// How far back the comparison begins, for instance 10m or 24h; it ends with what the sync has acknowledged. The tables of a
    /// database as source are compared as they are, whatever this says.
    #[arg(long, env = "VERIFY_WINDOW", default_value = "1h", value_parser = duration)]
    window: Duration,
    /// Most differences that are listed; all are counted.
    #[arg(long = "max", env = "VERIFY_MAX", default_value_t = 1000)]
    most: usize,
    /// How the result is printed.
    #[arg(short, long, env = "VERIFY_OUTPUT", value_enum, default_value = "table")]
    output: OutputFormat,
    /// Name server (host:port) to use for both sides instead of those in the manifests.
    #[arg(long = "name-server", env = "VERIFY_NAME_SERVERS", value_delimiter = ',')]
    name_servers: Vec<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = quantity::Duration::from(text).to_std().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| format!("{text:?} is no duration; write for instance 10m or 24h"))
}

/// Compares and prints; the exit code is 0 when there is no difference, 1 when there is one, 2 when nothing was compared.
pub async fn run(args: VerifyArgs) -> ExitCode {
    let VerifyArgs { files, name, window, most, output, name_servers } = args;
    let verified = verify_sync(&files, name.as_deref(), name_servers, window, most).await;
    let text = verified.map_err(|error| error.to_string()).and_then(|report| match output {
        OutputFormat::Table => Ok((table::render_verify(&report), report)),
        OutputFormat::Json => to_json(&report).map(|text| (text, report)),
    });
    match text {
        Ok((text, report)) => {
            print!("{text}");
            if report.counts.has_differences() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(NOT_TESTED)
        }
    }
}
