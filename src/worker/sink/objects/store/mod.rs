//! Where objects are kept: a bucket, or a folder. An object is created whole or not at all, and never replaced.

mod credentials;
mod failure;
mod folder;
mod s3;
mod transport;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::super::super::report::Reporter;
use crate::worker_config::sync::StoreConfig;
use folder::{FolderStore, FolderUpload};
use s3::{S3Store, S3Upload};

pub use failure::Failure;

/// Where objects are kept.
pub enum Store {
    /// A bucket.
    S3(Box<S3Store>),
    /// A folder.
    Folder(FolderStore),
}

/// Whether an object was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was, now.
    Now,
    /// There was one of its name.
    Before,
}

/// An object that is being written. Nobody sees it before it is [finished](Self::finish).
pub enum Upload {
    /// Into a bucket.
    S3(Box<S3Upload>),
    /// Into a folder.
    Folder(FolderUpload),
}

impl Store {
    /// Opens a store, and looks whether it can be used.
    ///
    /// # Errors
    /// It cannot be reached, does not exist, or does not let the worker in.
    pub async fn open(config: &StoreConfig, reporter: &Reporter, stale_after: Duration) -> Result<Self, Failure> {
        match config {
            StoreConfig::S3(config) => {
                let store = S3Store::new(config, reporter)?;
                store.check().await?;
                Ok(Self::S3(Box::new(store)))
            }
            StoreConfig::Folder { path } => FolderStore::open(path, stale_after).await.map(Self::Folder),
        }
    }

    /// Fewest bytes that an upload takes at once, apart from its end.
    #[must_use]
    pub fn least_part(&self) -> usize {
        match self {
            Self::S3(_) => s3::LEAST_PART,
            Self::Folder(_) => folder::LEAST_PART,
        }
    }

    /// Bytes of an object; none when there is no such object.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Failure> {
        match self {
            Self::S3(store) => store.size(key).await,
            Self::Folder(store) => store.size(key).await,
        }
    }

    /// A part of an object.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        match self {
            Self::S3(store) => store.read(key, range).await,
            Self::Folder(store) => store.read(key, range).await,
        }
    }

    /// Begins an object; asks nobody yet.
    #[must_use]
    pub fn begin(&self, key: &str) -> Upload {
        match self {
            Self::S3(store) => Upload::S3(Box::new(store.begin(key))),
            Self::Folder(store) => Upload::Folder(store.begin(key)),
        }
    }
}

impl Upload {
    /// Adds bytes, at least [`Store::least_part`] unless they are the last.
    ///
    /// # Errors
    /// Nothing was added: the same bytes are to be given again.
    pub async fn send(&mut self, bytes: &Bytes) -> Result<(), Failure> {
        match self {
            Self::S3(upload) => upload.send(bytes).await,
            Self::Folder(upload) => upload.send(bytes).await,
        }
    }

    /// Makes the object visible and durable, unless there is one of its name.
    ///
    /// # Errors
    /// It may be there or not: this is to be called again; unless the upload [is lost](Failure::is_lost), as one is that was given up.
    pub async fn finish(&mut self) -> Result<Created, Failure> {
        match self {
            Self::S3(upload) => upload.finish().await,
            Self::Folder(upload) => upload.finish().await,
        }
    }

    /// Gives the object up and removes what was written of it, as far as that is possible now.
    pub async fn abort(&mut self) {
        match self {
            Self::S3(upload) => upload.abort().await,
            Self::Folder(upload) => upload.abort(),
        }
    }

    /// Bytes that it holds in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::S3(upload) => upload.memory(),
            Self::Folder(_) => 0,
        }
    }
}

/// The failure to finish what was given up, or never begun.
fn given_up(key: &str) -> Failure {
    let failure = Failure::new(
        "StoreFailed",
        format!("nothing is left of the upload of {key}"),
        "nothing: what is not acknowledged is read again",
    );
    Failure { is_lost: true, ..failure }
}
