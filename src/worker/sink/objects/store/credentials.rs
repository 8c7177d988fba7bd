//! The access key of a store out of mounted files, which are read again.

use std::time::Duration;

use reqsign_aws_v4::Credential;
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, ProvideCredential, Result};
use secrecy::ExposeSecret;

use super::super::super::super::config::TokenFile;
use super::super::super::super::error;
use crate::worker_config::sync::KeyFiles;

/// How long the signer may use a key before it asks again: shorter than what it considers fresh, so it asks each time.
const FRESH: Duration = Duration::from_secs(60);

/// An access key that follows its files.
pub struct KeyProvider {
    access_key: TokenFile,
    secret_key: TokenFile,
}

impl std::fmt::Debug for KeyProvider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyProvider").finish_non_exhaustive()
    }
}

impl KeyProvider {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, is empty or is not text.
    pub fn open(files: &KeyFiles) -> error::Result<Self> {
        Ok(Self {
            access_key: TokenFile::open_as("the access key", &files.access_key)?,
            secret_key: TokenFile::open_as("the secret key", &files.secret_key)?,
        })
    }
}

impl ProvideCredential for KeyProvider {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> Result<Option<Credential>> {
        Ok(Some(Credential {
            access_key_id: self.access_key.get().expose_secret().to_owned(),
            secret_access_key: self.secret_key.get().expose_secret().to_owned(),
            session_token: None,
            expires_in: Some(Timestamp::now() + FRESH),
        }))
    }
}
