//! `accessProto: http`: workers and the client below them, with a server that speaks the Aliyun MQ HTTP protocol and with the
//! protocol's official SDKs for Python and Node as its other clients.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

mod faults;
mod flows;
mod protocol;
mod sdk;
mod server;
#[path = "../worker_support/mod.rs"]
mod worker_support;

use std::path::Path;

use rocketmq_connector::worker_config::binding::BindingConfig;
use rocketmq_connector::worker_config::binding::TopicConfig;
use rocketmq_connector::worker_config::connection::ClusterConfig;
use rocketmq_connector::worker_config::report::WorkerReport;
use server::{ACCESS_KEY, INSTANCE, SECRET_KEY, Server};
use tempfile::TempDir;
use worker_support::{App, credential_files, input, output};

const GROUP: &str = "GID_orders";

/// A binding of `server` without input and output; the folder holds its credentials.
fn binding(server: &Server, folder: &Path, topics: &[&str]) -> BindingConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let topics = topics.iter().map(|topic| match topic.split_once("||") {
        Some((topic, expression)) => TopicConfig { topic: topic.to_owned(), expression: Some(expression.to_owned()) },
        None => TopicConfig { topic: (*topic).to_owned(), expression: None },
    });
    let cluster = ClusterConfig {
        instance_id: Some(INSTANCE.to_owned()),
        credentials: Some(credential_files(folder, ACCESS_KEY, SECRET_KEY)),
        ..ClusterConfig::default()
    };
    BindingConfig {
        name: "rmq".to_owned(),
        cluster,
        http_endpoint: Some(server.endpoint()),
        topics: topics.collect(),
        group: GROUP.to_owned(),
        retries: 3,
        input: None,
        output: None,
    }
}

fn with_output(server: &Server, folder: &TempDir, topics: &[&str]) -> BindingConfig {
    BindingConfig { output: Some(output()), ..binding(server, folder.path(), topics) }
}

fn with_input(server: &Server, folder: &TempDir, topics: &[&str], app: &App) -> BindingConfig {
    let mut input = input(app.address);
    input.batch_size = 16;
    input.redelivery.max_attempts = u32::MAX;
    BindingConfig { input: Some(input), ..binding(server, folder.path(), topics) }
}

/// Reason and remedy of the newest failure.
fn last_error(report: &WorkerReport) -> (&str, &str) {
    report.last_error.as_ref().map_or(("", ""), |error| (error.reason.as_str(), error.remedy.as_str()))
}
