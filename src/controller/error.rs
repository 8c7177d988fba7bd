//! What can go wrong in a reconciliation, and what each failure asks for.

use std::time::Duration;

use kube::core::error_boundary::InvalidObject;

use crate::api::condition::{reasons, types};

use super::apply;

/// What a failure asks for; decides when the object is reconciled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody has to change the resource: wait for that.
    Terminal,
    /// Something outside is expected to change, and a watch may not see it: look again after this time.
    NotReady {
        /// When to look again.
        requeue_after: Duration,
    },
    /// It may pass by itself: try again with a growing wait.
    Transient,
}

/// Something in or around a resource that its user has to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// CamelCase reason out of [`reasons`].
    pub reason: &'static str,
    /// Names the field, the value and the remedy.
    pub message: String,
}

impl Problem {
    /// A problem; `message` names the field, the value and the remedy.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A spec that contradicts itself or holds a value out of bounds.
    pub fn invalid_spec(message: impl Into<String>) -> Self {
        Self::new(reasons::INVALID_SPEC, message)
    }
}

/// Why a reconciliation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored object is not of the shape that this version knows.
    #[error("failed to read the object: {0}; correct it, or upgrade the operator to the version it was written for")]
    ReadObject(#[source] Box<InvalidObject>),
    /// The spec is not valid: `Accepted` is false.
    #[error("{}", joined(.0))]
    Invalid(Vec<Problem>),
    /// Something that the spec names is missing: `ResolvedRefs` is false.
    #[error("{}", joined(.0))]
    Unresolved(Vec<Problem>),
    /// A referenced object could not be read.
    #[error("failed to get {what}: {source}")]
    GetReference {
        /// Kind and name, for instance `Secret orders`.
        what: String,
        /// What the API server answered.
        source: kube::Error,
    },
    /// The children could not be applied.
    #[error("{0}")]
    Apply(#[source] Box<apply::Error>),
    /// The status could not be written.
    #[error("failed to write the status: {0}")]
    WriteStatus(#[source] kube::Error),
    /// The reconciliation took too long.
    #[error("the reconciliation took longer than {0:?}; is the API server overloaded?")]
    TimeOut(Duration),
    /// The reconciliation ended without a result.
    #[error("the reconciliation ended early: {0}")]
    Join(#[source] tokio::task::JoinError),
}

impl Error {
    /// What the failure asks for.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::ReadObject(_) | Self::Invalid(_) => Class::Terminal,
            // Watches see most repairs at once; this is for those they cannot see.
            Self::Unresolved(_) => Class::NotReady { requeue_after: Duration::from_mins(10) },
            Self::Apply(error) => error.class(),
            Self::GetReference { .. } | Self::WriteStatus(_) | Self::TimeOut(_) | Self::Join(_) => Class::Transient,
        }
    }

    /// Reason for condition, Event and metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ReadObject(_) => reasons::INVALID_SPEC,
            Self::Invalid(problems) | Self::Unresolved(problems) => {
                problems.first().map_or(reasons::INVALID_SPEC, |problem| problem.reason)
            }
            Self::Apply(error) => error.reason(),
            Self::GetReference { .. } | Self::WriteStatus(_) | Self::TimeOut(_) | Self::Join(_) => {
                reasons::APPLY_FAILED
            }
        }
    }

    /// Condition that turns false because of this failure, apart from `Ready`; none when the spec is not to blame.
    #[must_use]
    pub fn condition(&self) -> Option<&'static str> {
        match self {
            Self::ReadObject(_) | Self::Invalid(_) => Some(types::ACCEPTED),
            Self::Apply(error) if error.class() == Class::Terminal => Some(types::ACCEPTED),
            Self::Unresolved(_) => Some(types::RESOLVED_REFS),
            _ => None,
        }
    }
}

fn joined(problems: &[Problem]) -> String {
    let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    messages.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_together_under_the_first_reason() {
        let problems = vec![
            Problem::invalid_spec("spec.topics: must not be empty"),
            Problem::new(reasons::NOT_IMPLEMENTED, "spec.app.protocol: GRPC is not available yet, use HTTP"),
        ];
        let error = Error::Invalid(problems);
        assert_eq!(error.reason(), reasons::INVALID_SPEC);
        assert_eq!(error.class(), Class::Terminal);
        assert_eq!(error.condition(), Some(types::ACCEPTED));
        let text = error.to_string();
        assert_eq!(text, "spec.topics: must not be empty; spec.app.protocol: GRPC is not available yet, use HTTP");
    }
}
