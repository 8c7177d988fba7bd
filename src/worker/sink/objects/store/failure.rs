//! Why a store cannot be used, in words, and what to do about it.

use std::io;

use opendal::ErrorKind;

use super::transport::{Trouble, TroubleKind};

/// Of an answer that is no error document, as much is told.
const TOLD: usize = 300;

/// Why a store cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// CamelCase reason.
    pub reason: &'static str,
    /// What happened, with the store's own words.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether what was uploaded of the object is lost, so that it has to be made anew.
    pub is_lost: bool,
}

impl Failure {
    /// A failure after which the same is tried again.
    pub fn new(reason: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: remedy.into(), is_lost: false }
    }

    /// The failure of a request to S3.
    #[must_use]
    pub fn of_s3(doing: &str, error: &opendal::Error) -> Self {
        let text = error.to_string();
        if let Some(trouble) = trouble(error) {
            let (reason, remedy) = match trouble.kind {
                TroubleKind::Unreachable => (
                    "StoreUnreachable",
                    "check that the store runs, target.objectStorage.endpoint, its port, NetworkPolicy, and tls for https",
                ),
                TroubleKind::Broken => {
                    ("StoreConnectionBroken", "look at the log of the store, and at proxies before it")
                }
                TroubleKind::Timeout => ("StoreTimeout", "look at the load of the store and the network to it"),
            };
            return Self::new(reason, format!("{doing}: {}", trouble.message), remedy);
        }
        let code = quoted(&text, "code: \"").unwrap_or_default();
        let told = quoted(&text, "message: \"").filter(|told| !told.is_empty()).unwrap_or_default();
        let (reason, remedy) = meaning(&code, &text, error.kind());
        let words = match (code.as_str(), told.as_str()) {
            ("", _) => text.chars().take(TOLD).collect(),
            (code, "") => code.to_owned(),
            (code, told) => format!("{code}: {told}"),
        };
        Self::new(reason, format!("{doing}: {words}"), remedy)
    }

    /// The failure of an operation on files.
    #[must_use]
    pub fn of_file(doing: &str, error: &io::Error) -> Self {
        let (reason, remedy) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ("StoreFull", "make room on the volume, or make it larger; the sync goes on by itself")
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
                "AccessDenied",
                "let the worker's user or its fsGroup (65532) write to the folder: check the volume's access mode and its owner",
            ),
            io::ErrorKind::NotFound => {
                ("FolderNotFound", "mount a volume at the folder: set target.objectStorage.persistentVolumeClaim")
            }
            _ => ("StoreFailed", "look at the volume and its node"),
        };
        Self::new(reason, format!("{doing}: {error}"), remedy)
    }
}

fn trouble(error: &opendal::Error) -> Option<&Trouble> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(trouble) = cause.downcast_ref::<Trouble>() {
            return Some(trouble);
        }
        source = cause.source();
    }
    None
}

/// The text between a beginning and the next quotation mark: OpenDAL tells the parts of S3's error document in its text only.
fn quoted(text: &str, beginning: &str) -> Option<String> {
    let rest = &text[text.find(beginning)? + beginning.len()..];
    rest.split('"').next().map(str::to_owned)
}

fn meaning(code: &str, text: &str, kind: ErrorKind) -> (&'static str, &'static str) {
    let is_status = |status: u16| text.contains(&format!("status: {status}"));
    match code {
        "NoSuchBucket" => {
            return ("BucketNotFound", "create the bucket, or correct target.objectStorage.url; it is found by itself");
        }
        "InvalidAccessKeyId" | "InvalidAccessKey" | "XAdminUserNotFound" => {
            return (
                "AccessDenied",
                "correct target.objectStorage.accessKey in its Secret; it is read again by itself",
            );
        }
        "SignatureDoesNotMatch" => {
            return (
                "AccessDenied",
                "correct target.objectStorage.secretKey in its Secret, which is read again by itself; or region and addressingStyle",
            );
        }
        "RequestTimeTooSkewed" | "RequestExpired" => {
            return ("ClockSkewed", "set the clocks of the node and of the store right, for instance with NTP");
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" | "IncorrectEndpoint" => {
            return (
                "WrongRegion",
                "set target.objectStorage.region, and endpoint where it is set, to those of the bucket",
            );
        }
        "NotImplemented" => {
            return (
                "ConditionNotSupported",
                "use a store that creates objects on the condition that they do not exist (If-None-Match), such as S3",
            );
        }
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" => {
            return ("StoreFull", "make room in the store, or raise its quota; the sync goes on by itself");
        }
        _ => {}
    }
    match kind {
        ErrorKind::PermissionDenied => (
            "AccessDenied",
            "let the key get, put and list objects of the bucket (s3:GetObject, PutObject, ListBucket, AbortMultipartUpload)",
        ),
        ErrorKind::RateLimited => ("StoreBusy", "nothing, if it passes; else look at the load of the store"),
        _ if text.contains("signing credential") => (
            "NoCredentials",
            "set target.objectStorage.accessKey and secretKey, or give the pod an identity of the cloud",
        ),
        _ if is_status(301) || is_status(307) => {
            ("WrongRegion", "set target.objectStorage.region, and endpoint where it is set, to those of the bucket")
        }
        _ if is_status(503) => ("StoreBusy", "nothing, if it passes; else look at the load of the store"),
        _ => ("StoreFailed", "look at the log of the store, and check target.objectStorage"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_s3_are_told_with_a_remedy() {
        let of = |code: &str, kind| {
            let text =
                format!("S3Error {{ code: \"{code}\", message: \"In its words\", resource: \"\", request_id: \"\" }}");
            Failure::of_s3("failed to list", &opendal::Error::new(kind, text))
        };
        for (code, kind, reason) in [
            ("NoSuchBucket", ErrorKind::ConfigInvalid, "BucketNotFound"),
            ("InvalidAccessKeyId", ErrorKind::PermissionDenied, "AccessDenied"),
            ("SignatureDoesNotMatch", ErrorKind::PermissionDenied, "AccessDenied"),
            ("AccessDenied", ErrorKind::PermissionDenied, "AccessDenied"),
            ("RequestTimeTooSkewed", ErrorKind::PermissionDenied, "ClockSkewed"),
            ("AuthorizationHeaderMalformed", ErrorKind::Unexpected, "WrongRegion"),
            ("SlowDown", ErrorKind::RateLimited, "StoreBusy"),
            ("InternalError", ErrorKind::Unexpected, "StoreFailed"),
        ] {
            let failure = of(code, kind);
            assert_eq!((failure.reason, failure.message), (reason, format!("failed to list: {code}: In its words")));
        }
        let plain = Failure::of_s3("failed to list", &opendal::Error::new(ErrorKind::Unexpected, "no document"));
        assert!(plain.message.contains("no document"), "{}", plain.message);
    }

    #[test]
    fn trouble_of_the_transport_is_told_as_such() {
        let trouble = Trouble { kind: TroubleKind::Unreachable, message: "connection refused".into() };
        let error = opendal::Error::new(ErrorKind::Unexpected, "sending").set_source(trouble);
        let failure = Failure::of_s3("failed to list", &error);
        assert_eq!(
            (failure.reason, failure.message.as_str()),
            ("StoreUnreachable", "failed to list: connection refused")
        );
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let failure = Failure::of_file("failed to write", &io::Error::from_raw_os_error(28));
        assert_eq!(failure.reason, "StoreFull");
        assert_eq!(Failure::of_file("x", &io::Error::from_raw_os_error(30)).reason, "AccessDenied");
    }
}
