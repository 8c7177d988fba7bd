//! What an endpoint's answer means: taken, tried again, or refused for what the records are.

use std::time::Duration;

use http::header::{HeaderMap, LOCATION, RETRY_AFTER};
use http::status::StatusCode;
use jiff::Timestamp;

/// Longest pause that an endpoint may ask for; a longer one is shortened, so that a slip of the endpoint costs an hour at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint has the records.
    Taken,
    /// The endpoint will never take at least one of the records.
    Rejected {
        /// CamelCase reason.
        reason: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The same request is sent again later.
    Later(Later),
}

/// Why a request is sent again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// CamelCase reason.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Pause that the endpoint asks for.
    pub pause: Option<Duration>,
    /// Whether the endpoint may have taken the records although it did not say so.
    pub is_unknown: bool,
}

/// What an answer means; `text` is the beginning of its body.
#[must_use]
pub fn judge(status: StatusCode, headers: &HeaderMap, text: &str, now: Timestamp) -> Outcome {
    if status.is_success() {
        return Outcome::Taken;
    }
    match status.as_u16() {
        400 | 422 => {
            return Outcome::Rejected {
                reason: "RecordRefused",
                remedy: "correct the sender, or let a transform make what the endpoint takes; 400 and 422 mean that the \
                         record will never be taken: let the endpoint answer 503 when it is to be tried again",
            };
        }
        413 => {
            return Outcome::Rejected {
                reason: "RecordTooLarge",
                remedy: "raise the endpoint's limit of a body, or that of a proxy before it",
            };
        }
        _ => {}
    }
    let (reason, remedy) = reason(status, headers);
    Outcome::Later(Later {
        reason,
        message: said(status, text),
        remedy,
        pause: pause(headers, now),
        is_unknown: matches!(status.as_u16(), 500 | 502 | 504),
    })
}

/// An answer in words.
#[must_use]
pub fn said(status: StatusCode, text: &str) -> String {
    let text = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let text = text.collect::<Vec<_>>().join(" ");
    let colon = if text.is_empty() { "" } else { ": " };
    format!("the endpoint answered {status}{colon}{text}")
}

fn reason(status: StatusCode, headers: &HeaderMap) -> (&'static str, String) {
    match status.as_u16() {
        401 | 403 | 407 => (
            "AccessDenied",
            "correct target.http.token or signingKey in its Secret; it is read again by itself".to_owned(),
        ),
        408 | 409 | 421 | 423 | 425 | 429 | 503 => {
            ("EndpointBusy", "nothing, if it passes; else look at the load and the log of the endpoint".to_owned())
        }
        500.. => ("EndpointFailed", "look at the log of the endpoint, and of proxies before it".to_owned()),
        300..=399 => {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("the URL that it names");
            ("EndpointRefused", format!("redirects are not followed: set target.http.url to {to}"))
        }
        _ => (
            "EndpointRefused",
            "check target.http.url and headers: the endpoint must take POST with a JSON list; only 400, 413 and 422 are \
             taken for the fault of a record"
                .to_owned(),
        ),
    }
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110, section 10.2.3).
fn pause(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            // The only form of a date that senders may generate today, IMF-fixdate, is that of RFC 2822.
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::from_millis(u64::try_from(at.as_millisecond() - now.as_millisecond()).unwrap_or(0))
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn judged(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        }
        let now = "2026-11-26T08:00:00Z".parse().unwrap();
        judge(StatusCode::from_u16(status).unwrap(), &headers, "  it\nis so ", now)
    }

    fn later(status: u16, retry_after: Option<&str>) -> Later {
        match judged(status, retry_after) {
            Outcome::Later(later) => later,
            other => panic!("{status}: {other:?}"),
        }
    }

    #[test]
    fn only_the_fault_of_a_record_is_final() {
        for status in [200, 201, 202, 204] {
            assert_eq!(judged(status, None), Outcome::Taken);
        }
        for (status, expected) in [(400, "RecordRefused"), (422, "RecordRefused"), (413, "RecordTooLarge")] {
            let Outcome::Rejected { reason, .. } = judged(status, None) else { panic!("{status}") };
            assert_eq!(reason, expected);
        }
        for (status, expected) in [
            (301, "EndpointRefused"),
            (401, "AccessDenied"),
            (403, "AccessDenied"),
            (404, "EndpointRefused"),
            (408, "EndpointBusy"),
            (415, "EndpointRefused"),
            (429, "EndpointBusy"),
            (500, "EndpointFailed"),
            (503, "EndpointBusy"),
        ] {
            assert_eq!(later(status, None).reason, expected, "{status}");
        }
        assert_eq!(later(500, None).message, "the endpoint answered 500 Internal Server Error: it is so");
        assert!(later(502, None).is_unknown && !later(503, None).is_unknown && !later(401, None).is_unknown);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let pause = |text| later(503, Some(text)).pause;
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("Thu, 26 Nov 2026 08:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(pause("Thu, 26 Nov 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(pause("999999999"), Some(LONGEST_PAUSE));
        assert_eq!((pause("soon"), later(503, None).pause), (None, None));
    }
}
