//! Credentials as Kubernetes mounts them: files behind a link that is exchanged as a whole.

use std::path::Path;

/// A mounted Secret.
pub struct Secret {
    folder: tempfile::TempDir,
    version: std::sync::atomic::AtomicUsize,
}

impl Secret {
    pub fn new(values: &[(&str, &str)]) -> Self {
        let secret = Self { folder: tempfile::tempdir().unwrap(), version: 0.into() };
        secret.change(values);
        for (key, _) in values {
            std::os::unix::fs::symlink(Path::new("..data").join(key), secret.folder.path().join(key)).unwrap();
        }
        secret
    }

    /// Exchanges all values at once.
    pub fn change(&self, values: &[(&str, &str)]) {
        let version = self.version.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("..{version}");
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder).unwrap();
        for (key, value) in values {
            std::fs::write(folder.join(key), value).unwrap();
        }
        let link = self.folder.path().join("..data_tmp");
        std::os::unix::fs::symlink(&name, &link).unwrap();
        std::fs::rename(link, self.folder.path().join("..data")).unwrap();
    }

    /// Path of a value.
    pub fn path(&self, key: &str) -> String {
        self.folder.path().join(key).to_string_lossy().into_owned()
    }
}
