//! Logs: `tracing` to standard error, filtered by directives such as `info,rocketmq_connector::worker=debug`.

use std::str::FromStr;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged when nothing else is asked for.
pub const DEFAULT_FILTER: &str = "info";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line of text an event, coloured on a terminal.
    #[default]
    Compact,
    /// One JSON object an event, for log collectors.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "compact" => Ok(Self::Compact),
            "json" => Ok(Self::Json),
            other => Err(format!("log format {other:?} is not known; use compact or json")),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter has a directive that cannot be read.
    #[error("log filter {filter:?} cannot be read: {source}; write for instance info,rocketmq_connector::worker=debug")]
    ParseFilter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another part of the process has set up logging before.
    #[error("failed to install the log subscriber: {0}")]
    Install(#[source] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the process; call it once.
///
/// # Errors
/// `filter` has a directive that cannot be read, or logging is set up already.
pub fn init(filter: &str, format: LogFormat) -> Result<(), Error> {
    let directives =
        EnvFilter::try_new(filter).map_err(|source| Error::ParseFilter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(directives);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match format {
        LogFormat::Compact => {
            let layer = fmt::layer().compact().with_ansi(is_terminal).with_writer(std::io::stderr);
            registry.with(layer).try_init().map_err(Error::Install)
        }
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer).try_init().map_err(Error::Install)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_format_names_the_choices() {
        assert_eq!("xml".parse::<LogFormat>(), Err("log format \"xml\" is not known; use compact or json".to_owned()));
        assert_eq!("json".parse(), Ok(LogFormat::Json));
    }

    #[test]
    fn bad_filter_names_the_filter() {
        let error = init("a=b=c", LogFormat::Compact).unwrap_err();
        assert!(error.to_string().contains("a=b=c"), "{error}");
    }
}
