//! A bucket of S3, or of what speaks its protocol, through OpenDAL.

use std::ops::Range;

use bytes::Bytes;
use opendal::layers::CapabilityOverrideLayer;
use opendal::services::S3;
use opendal::{ErrorKind, HttpTransporter, OperationContext, Operator, Writer};
use reqsign_core::ProvideCredentialChain;

use super::super::super::super::endpoint::Endpoint;
use super::super::super::super::report::Reporter;
use super::credentials::KeyProvider;
use super::transport::Transport;
use super::{Created, Failure, given_up};
use crate::worker_config::sync::S3Config;

/// Fewest bytes of a part that is not the last (`EntityTooSmall`).
pub const LEAST_PART: usize = 5 * 1024 * 1024;

/// A bucket.
pub struct S3Store {
    operator: Operator,
    bucket: String,
}

/// An object that is being written: at once when it is small, else in parts.
pub struct S3Upload {
    operator: Operator,
    key: String,
    writer: Option<Writer>,
    /// Pieces that were taken. The newest waits in the writer for the next one.
    pieces: usize,
    waiting: usize,
}

impl S3Store {
    /// A client of a bucket; dials nothing.
    ///
    /// # Errors
    /// A file or a setting cannot be used.
    pub fn new(config: &S3Config, reporter: &Reporter) -> Result<Self, Failure> {
        let of_worker = |error: super::super::super::super::error::Error| {
            let report = error.report();
            Failure::new(error.reason(), report.message, report.remedy)
        };
        let url = config.endpoint.as_deref().unwrap_or("https://");
        let endpoint = Endpoint::open(url, config.tls.as_ref()).map_err(of_worker)?;
        let mut builder =
            S3::default().bucket(&config.bucket).region(&config.region).root(&format!("/{}", config.prefix));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if config.is_virtual_hosted {
            builder = builder.enable_virtual_host_style();
        }
        if let Some(keys) = &config.keys {
            let provider = KeyProvider::open(keys).map_err(of_worker)?;
            builder = builder.credential_provider_chain(ProvideCredentialChain::new().push(provider));
        }
        let operator = Operator::new(builder).map_err(|error| Failure::of_s3("failed to prepare the store", &error))?;
        let transport = HttpTransporter::new(Transport::new(endpoint, reporter.clone()));
        let operator = operator
            // Pieces go as they are given: what OpenDAL gathered itself would be lost when a request fails.
            .layer(CapabilityOverrideLayer::new(|mut capability| {
                capability.write_multi_min_size = None;
                capability
            }))
            .with_context(OperationContext::new().with_http_transport(transport));
        Ok(Self { operator, bucket: config.bucket.clone() })
    }

    /// Looks whether the bucket is there and can be used. By a list, because the answer to it says what is wrong.
    ///
    /// # Errors
    /// It cannot be used.
    pub async fn check(&self) -> Result<(), Failure> {
        let list = self.operator.list_with("").limit(1);
        let doing = format!("failed to list bucket {}", self.bucket);
        list.await.map(|_| ()).map_err(|error| Failure::of_s3(&doing, &error))
    }

    /// Bytes of an object; none when there is no such object.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Failure> {
        size(&self.operator, key).await
    }

    /// A part of an object.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        let read = self.operator.read_with(key).range(range).await;
        read.map(|content| content.to_bytes()).map_err(|error| Failure::of_s3(&format!("failed to read {key}"), &error))
    }

    /// Begins an object; asks nobody yet.
    #[must_use]
    pub fn begin(&self, key: &str) -> S3Upload {
        S3Upload { operator: self.operator.clone(), key: key.to_owned(), writer: None, pieces: 0, waiting: 0 }
    }
}

async fn size(operator: &Operator, key: &str) -> Result<Option<u64>, Failure> {
    match operator.stat(key).await {
        Ok(metadata) => Ok(Some(metadata.content_length())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::of_s3(&format!("failed to look for {key}"), &error)),
    }
}

impl S3Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// Nothing was added.
    pub async fn send(&mut self, bytes: &Bytes) -> Result<(), Failure> {
        let failed = |error: &opendal::Error, key: &str| Failure::of_s3(&format!("failed to write {key}"), error);
        if self.writer.is_none() {
            let writer = self.operator.writer_with(&self.key).if_not_exists(true).await;
            self.writer = Some(writer.map_err(|error| failed(&error, &self.key))?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(bytes.clone()).await.map_err(|error| {
            // Somebody has removed what was uploaded: a rule of the bucket for uploads that take too long, for instance.
            let is_lost = error.kind() == ErrorKind::NotFound;
            Failure { is_lost, ..failed(&error, &self.key) }
        })?;
        self.pieces += 1;
        self.waiting = bytes.len();
        Ok(())
    }

    /// Makes the object visible.
    ///
    /// # Errors
    /// It may be there or not.
    pub async fn finish(&mut self) -> Result<Created, Failure> {
        let Some(writer) = &mut self.writer else { return Err(given_up(&self.key)) };
        let error = match writer.close().await {
            Ok(_) => {
                self.waiting = 0;
                return Ok(Created::Now);
            }
            Err(error) => error,
        };
        let failure = Failure::of_s3(&format!("failed to create {}", self.key), &error);
        let is_in_parts = self.pieces > 1;
        match error.kind() {
            ErrorKind::ConditionNotMatch => Ok(Created::Before),
            // The upload is gone: because it is complete, and the answer was lost; because of another writer's; or removed.
            ErrorKind::NotFound | ErrorKind::Conflict if is_in_parts => match size(&self.operator, &self.key).await? {
                Some(_) => Ok(Created::Before),
                None => Err(Failure { is_lost: true, ..failure }),
            },
            _ => Err(failure),
        }
    }

    /// Gives the object up.
    pub async fn abort(&mut self) {
        if let Some(mut writer) = self.writer.take()
            && let Err(error) = writer.abort().await
        {
            tracing::debug!(key = self.key, %error, "parts of an object that was given up stay in the store");
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.waiting
    }
}
