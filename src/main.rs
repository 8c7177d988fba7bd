//! The one binary of both planes.

use std::process::ExitCode;

use clap::Parser;
use rocketmq_connector::cli::Cli;

fn main() -> ExitCode {
    // Before anything else: rustls refuses to choose between two providers by itself.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: another TLS provider was installed first; this is a defect of the program");
        return ExitCode::FAILURE;
    }
    Cli::parse().run()
}
