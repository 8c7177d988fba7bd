//! The private folder that stands in for the volumes of worker pods.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// A folder that only this user may enter; it is removed with its content when dropped.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Makes a new folder in the system's folder for temporary files.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create() -> Result<Self> {
        let unique = format!("rocketmq-connector-{}-{:x}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
        let path = std::env::temp_dir().join(unique);
        // Fails when it exists: nobody else can have prepared it.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(Self { path })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `content` to `folder/name`, readable by this user only; gives back the path of `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &str, name: &str, content: &[u8]) -> Result<PathBuf> {
        let folder = self.path.join(folder);
        let path = folder.join(name);
        write_private(&folder, &path, content).map_err(|source| Error::Write { path, source })?;
        Ok(folder)
    }
}

fn write_private(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(content)
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "failed to remove the private folder; remove it by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_private_and_go_with_the_folder() {
        let folder = PrivateFolder::create().unwrap();
        let path = folder.write("default-orders", "secretKey", b"s3cr3t").unwrap().join("secretKey");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        let root = folder.path().to_owned();
        drop(folder);
        assert!(!root.exists());
    }
}
