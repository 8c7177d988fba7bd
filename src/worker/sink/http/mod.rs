//! An HTTP endpoint as target: batches are posted one after the other, and taken when the answer is 2xx.
//!
//! Which record of a refused batch is the one that the endpoint will never take is found by halves, so an endpoint need not
//! know anything about batches but how to refuse one. What it has taken meanwhile is not sent again.

mod answer;
mod connect;
mod request;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use tokio_util::sync::CancellationToken;

use super::super::endpoint::Endpoint;
use super::super::error::{Error, reported};
use super::super::record::Record;
use super::super::report::Reporter;
use super::super::sync::Setting;
use super::{Sink, WriteError, Written};
use crate::worker_config::report::ReportedError;
use crate::worker_config::sync::HttpTargetConfig;
use answer::{Later, Outcome};
use request::{Composer, Done};

/// The answer's body is read, so that the connection can be used again, up to this size.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Of a refusal, as much is told.
const TOLD: usize = 300;

/// Posts batches to an endpoint.
pub struct HttpSink {
    endpoint: Endpoint,
    uri: Uri,
    timeout: Duration,
    composer: Composer,
    reporter: Reporter,
    session: CancellationToken,
    done: Done,
    search: Search,
    /// Nothing is sent before: the endpoint has asked for a pause, for this reason.
    pause: Option<(Instant, Later)>,
    /// Records of the batch that the endpoint may have got without saying so.
    unanswered: u64,
}

/// What is sent next, while the record is looked for that the endpoint refuses. Kept from try to try, so that the same
/// records come with the same key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Search {
    /// Records of the next request; 0 means all.
    size: usize,
    /// Records, from the next one on, of which at least one is refused.
    suspects: usize,
}

impl Search {
    /// Records of the next request when `left` are left.
    fn next(&self, left: usize) -> usize {
        if self.size == 0 { left } else { self.size.min(left) }
    }

    /// `count` records were taken.
    fn taken(&mut self, count: usize) {
        self.suspects = self.suspects.saturating_sub(count);
        // The one that is refused is among the other half.
        self.size = self.suspects.div_ceil(2);
    }

    /// `count` records, more than one, were refused together.
    fn refused(&mut self, count: usize) {
        (self.size, self.suspects) = (count.div_ceil(2), count);
    }
}

impl HttpSink {
    /// Prepares the requests; dials nothing yet.
    ///
    /// # Errors
    /// A file cannot be read, or the URL or a header cannot be used.
    pub fn open(setting: &Setting, config: &HttpTargetConfig) -> Result<Self, ReportedError> {
        let open = || -> super::super::error::Result<Self> {
            let unusable = |error: http::uri::InvalidUri| Error::InvalidConfig {
                field: "target.http.url",
                value: config.url.clone(),
                why: error.to_string(),
            };
            Ok(Self {
                uri: config.url.parse().map_err(unusable)?,
                endpoint: Endpoint::open(&config.url, config.tls.as_ref())?,
                timeout: Duration::from_millis(config.timeout_millis),
                composer: Composer::new(&setting.config.name, setting.config.format, config)?,
                reporter: setting.reporter.clone(),
                session: setting.session.clone(),
                done: Done::default(),
                search: Search::default(),
                pause: None,
                unanswered: 0,
            })
        };
        open().map_err(|error| {
            let report = error.report();
            reported(&report.reason, format!("the target: {}", report.message), report.remedy)
        })
    }

    /// Waits until the pause is over that the endpoint has asked for.
    async fn rest(&mut self) -> Result<(), WriteError> {
        let Some((until, why)) = self.pause.take() else { return Ok(()) };
        let wait = tokio::time::sleep_until(until.into());
        if self.session.run_until_cancelled(wait).await.is_none() {
            let error = unavailable(&why);
            self.pause = Some((until, why));
            return Err(error);
        }
        Ok(())
    }

    /// Sends records in one request.
    async fn post(&self, records: &[&Record], values: &[Vec<u8>]) -> (Outcome, String) {
        let body = request::list(values);
        let seconds = jiff::Timestamp::now().as_second();
        let headers = self.composer.headers(records.iter().copied(), &body, seconds);
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (Method::POST, self.uri.clone(), headers);
        let exchange = async {
            let response = self.endpoint.client().request(request).await.map_err(|error| connect::failure(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await.map(http_body_util::Collected::to_bytes);
            Ok((parts, body.unwrap_or_else(|_| Bytes::new())))
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok((parts, body))) => {
                let text: String = String::from_utf8_lossy(&body).chars().take(TOLD).collect();
                let now = jiff::Timestamp::now();
                (answer::judge(parts.status, &parts.headers, &text, now), answer::said(parts.status, &text))
            }
            Ok(Err(later)) => (Outcome::Later(later), String::new()),
            Err(_) => (Outcome::Later(connect::timeout(self.timeout)), String::new()),
        }
    }

    /// Notes why a request is sent again later.
    fn postpone(&mut self, later: Later, count: usize) -> WriteError {
        if later.is_unknown {
            self.unanswered += u64::try_from(count).unwrap_or(u64::MAX);
        }
        let error = unavailable(&later);
        self.pause = later.pause.map(|pause| (Instant::now() + pause, later));
        error
    }
}

impl Sink for HttpSink {
    async fn write(&mut self, batch: &[Record]) -> Result<Written, WriteError> {
        self.rest().await?;
        if let Err(error) = self.endpoint.renew() {
            tracing::warn!(%error, "keeping the certificates read before");
            self.reporter.record_error(error.report());
        }
        let (mut places, mut records, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (index, record) in batch.iter().enumerate().filter(|(_, record)| !self.done.has(record)) {
            let value = self.composer.envelope(record).map_err(|invalid| WriteError::Invalid {
                index,
                reason: invalid.reason,
                message: invalid.message,
                remedy: invalid.remedy,
            })?;
            places.push(index);
            records.push(record);
            values.push(value);
        }
        let mut from = 0;
        while from < records.len() {
            let count = self.search.next(records.len() - from);
            let range = from..from + count;
            match self.post(&records[range.clone()], &values[range.clone()]).await {
                (Outcome::Taken, _) => {
                    records[range].iter().for_each(|record| self.done.note(record));
                    self.search.taken(count);
                    from += count;
                }
                (Outcome::Rejected { .. }, _) if count > 1 => self.search.refused(count),
                (Outcome::Rejected { reason, remedy }, message) => {
                    self.search = Search::default();
                    return Err(WriteError::Invalid {
                        index: places[from],
                        reason,
                        message,
                        remedy: remedy.to_owned(),
                    });
                }
                (Outcome::Later(later), _) => return Err(self.postpone(later, count)),
            }
        }
        self.done.clear();
        self.search = Search::default();
        Ok(Written {
            written: u64::try_from(batch.len()).unwrap_or(u64::MAX),
            resent: std::mem::take(&mut self.unanswered),
            ..Written::default()
        })
    }

    async fn close(self) -> Result<(), WriteError> {
        Ok(())
    }
}

fn unavailable(later: &Later) -> WriteError {
    let Later { reason, message, remedy, .. } = later.clone();
    WriteError::Unavailable { reason, message, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends until every record is taken or known to be refused; the refused ones and the number of requests.
    fn search(count: usize, bad: &[usize]) -> (Vec<usize>, usize) {
        let (mut left, mut found, mut requests) = ((0..count).collect::<Vec<_>>(), Vec::new(), 0);
        let mut search = Search::default();
        while !left.is_empty() {
            let size = search.next(left.len());
            requests += 1;
            let is_refused = left[..size].iter().any(|record| bad.contains(record));
            match (is_refused, size) {
                (false, _) => {
                    search.taken(size);
                    left.drain(..size);
                }
                (true, 1) => {
                    search = Search::default();
                    found.push(left.remove(0));
                }
                (true, _) => search.refused(size),
            }
        }
        (found, requests)
    }

    #[test]
    fn refused_records_are_found_by_halves() {
        assert_eq!(search(500, &[]), (vec![], 1));
        for bad in [vec![0], vec![499], vec![250], vec![7, 8, 300]] {
            let (found, requests) = search(500, &bad);
            assert_eq!(found, bad);
            assert!(requests <= 1 + bad.len() * 20, "{requests} requests for {bad:?}");
        }
        assert_eq!(search(3, &[0, 1, 2]).0, [0, 1, 2]);
    }
}
