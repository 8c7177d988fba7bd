//! Why the endpoint cannot be asked.

use std::time::Duration;

use hyper_util::client::legacy::Error as ClientError;

use super::super::super::endpoint::with_sources;
use super::answer::Later;

/// Why a request got no answer.
#[must_use]
pub fn failure(error: &ClientError) -> Later {
    let message = with_sources(error);
    let (reason, remedy, is_unknown) = if error.is_connect() {
        let remedy =
            "check that the endpoint runs, target.http.url, its port, NetworkPolicy, and target.http.tls for https";
        ("EndpointUnreachable", remedy, false)
    } else {
        let remedy = "look at the log of the endpoint for a crash, and at proxies before it";
        ("EndpointConnectionBroken", remedy, true)
    };
    let message = format!("failed to post to the endpoint: {message}");
    Later { reason, message, remedy: remedy.to_owned(), pause: None, is_unknown }
}

/// No answer came in time.
#[must_use]
pub fn timeout(limit: Duration) -> Later {
    Later {
        reason: "EndpointTimeout",
        message: format!("the endpoint did not answer within {} ms (target.http.timeout)", limit.as_millis()),
        remedy: "let it answer sooner, raise target.http.timeout, or lower batch.maxRecords".to_owned(),
        pause: None,
        is_unknown: true,
    }
}
