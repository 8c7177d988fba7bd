//! A folder of a mounted volume. An object is written beside its place, synced, and linked to its name, which fails where there is a
//! file of that name: so none is seen half, and none is replaced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Created, Failure, given_up};

/// Fewest bytes that are worth a write.
pub const LEAST_PART: usize = 128 * 1024;
/// Folder of files that are being written; readers of data sets leave out what begins with a dot.
const UNFINISHED: &str = ".unfinished";

/// A folder.
pub struct FolderStore {
    root: Arc<Path>,
}

/// A file that is being written.
pub struct FolderUpload {
    root: Arc<Path>,
    target: PathBuf,
    unfinished: Option<Unfinished>,
    written: u64,
}

#[derive(Clone)]
struct Unfinished {
    file: Arc<File>,
    path: PathBuf,
}

impl FolderStore {
    /// Opens a folder, which is made when it is missing, and removes what crashed workers have left in it.
    ///
    /// # Errors
    /// It cannot be written to.
    pub async fn open(path: &str, stale_after: Duration) -> Result<Self, Failure> {
        let root: Arc<Path> = Path::new(path).into();
        let folder = root.join(UNFINISHED);
        let doing = format!("failed to open {path}");
        blocking(&doing, move || {
            fs::create_dir_all(&folder)?;
            // A volume that cannot be written to is found now, not when the first object is full.
            let probe = folder.join(unique("probe"));
            File::create_new(&probe)?;
            fs::remove_file(&probe)?;
            remove_stale(&folder, stale_after)
        })
        .await?;
        Ok(Self { root })
    }

    /// Bytes of a file; none when there is none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Failure> {
        let path = self.root.join(key);
        blocking(&format!("failed to look for {key}"), move || match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// A part of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        let path = self.root.join(key);
        blocking(&format!("failed to read {key}"), move || {
            let mut content = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            File::open(path)?.read_exact_at(&mut content, range.start)?;
            Ok(content.into())
        })
        .await
    }

    /// Begins a file; touches nothing yet.
    #[must_use]
    pub fn begin(&self, key: &str) -> FolderUpload {
        FolderUpload { root: Arc::clone(&self.root), target: self.root.join(key), unfinished: None, written: 0 }
    }
}

impl FolderUpload {
    /// Adds bytes.
    ///
    /// # Errors
    /// Nothing counts as added.
    pub async fn send(&mut self, bytes: &Bytes) -> Result<(), Failure> {
        let doing = format!("failed to write {}", self.target.display());
        let unfinished = match &self.unfinished {
            Some(unfinished) => unfinished.clone(),
            None => {
                let path = self.root.join(UNFINISHED).join(unique("object"));
                let unfinished = blocking(&doing, move || {
                    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
                    Ok(Unfinished { file: Arc::new(file), path })
                })
                .await?;
                self.unfinished.insert(unfinished).clone()
            }
        };
        // At its place, so that a write which failed in the middle is repeated and not continued.
        let (at, bytes) = (self.written, bytes.clone());
        self.written += blocking(&doing, move || {
            unfinished.file.write_all_at(&bytes, at)?;
            Ok(bytes.len() as u64)
        })
        .await?;
        Ok(())
    }

    /// Makes the file visible under its name.
    ///
    /// # Errors
    /// It may be there or not.
    pub async fn finish(&mut self) -> Result<Created, Failure> {
        let Some(unfinished) = self.unfinished.clone() else { return Err(given_up(&self.target.to_string_lossy())) };
        let (root, target, length) = (Arc::clone(&self.root), self.target.clone(), self.written);
        let doing = format!("failed to create {}", target.display());
        let created = blocking(&doing, move || {
            unfinished.file.set_len(length)?;
            unfinished.file.sync_all()?;
            let folder = target.parent().unwrap_or(&root);
            fs::create_dir_all(folder)?;
            let created = match link(&unfinished.path, &target) {
                Ok(()) => Created::Now,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Created::Before,
                Err(error) => return Err(error),
            };
            sync_folders(folder, &root)?;
            Ok(created)
        })
        .await?;
        self.abort();
        Ok(created)
    }

    /// Removes the unfinished file.
    pub fn abort(&mut self) {
        if let Some(Unfinished { path, .. }) = self.unfinished.take()
            && let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "an unfinished file stays");
        }
    }
}

impl Drop for FolderUpload {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Gives a file a second name, which nothing may have. On a file system without such links the file gets its name by being renamed,
/// after a look whether there is one.
fn link(path: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(path, target) {
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            if fs::exists(target)? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(path, target)
        }
        outcome => outcome,
    }
}

/// Makes new names durable, from a folder up to the root.
fn sync_folders(folder: &Path, root: &Path) -> io::Result<()> {
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Removes unfinished files that nobody writes to any more.
fn remove_stale(folder: &Path, stale_after: Duration) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > stale_after {
            tracing::info!(path = %entry.path().display(), "removing what a worker that is gone has left unfinished");
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A name that no other worker and no other object has.
fn unique(stem: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (now, number) = (jiff::Timestamp::now().as_nanosecond(), NUMBER.fetch_add(1, Ordering::Relaxed));
    format!("{stem}-{now:x}-{}-{number}", std::process::id())
}

/// Runs what waits for a disk beside the runtime.
async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let outcome = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    outcome.map_err(|error| Failure::of_file(doing, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn a_file_is_seen_when_it_is_whole_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let store = FolderStore::open(root, HOUR).await.unwrap();
        let (mut one, mut two) = (store.begin("orders/dt=x/a.jsonl"), store.begin("orders/dt=x/a.jsonl"));
        one.send(&Bytes::from_static(b"one ")).await.unwrap();
        two.send(&Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(store.size("orders/dt=x/a.jsonl").await.unwrap(), None);
        one.send(&Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(one.finish().await.unwrap(), Created::Now);
        assert_eq!(two.finish().await.unwrap(), Created::Before);
        assert!(two.finish().await.unwrap_err().is_lost, "an upload that is over makes nothing durable");
        assert_eq!(store.size("orders/dt=x/a.jsonl").await.unwrap(), Some(7));
        assert_eq!(store.read("orders/dt=x/a.jsonl", 4..7).await.unwrap(), "one");
        assert_eq!(files(&folder.path().join(UNFINISHED)), 0);
    }

    #[tokio::test]
    async fn what_was_given_up_or_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let store = FolderStore::open(root, HOUR).await.unwrap();
        let mut upload = store.begin("a");
        upload.send(&Bytes::from_static(b"x")).await.unwrap();
        drop(upload);
        let unfinished = folder.path().join(UNFINISHED);
        assert_eq!(files(&unfinished), 0);
        fs::write(unfinished.join("object-left"), "x").unwrap();
        FolderStore::open(root, HOUR).await.unwrap();
        assert_eq!(files(&unfinished), 1, "it may be another worker's");
        tokio::time::sleep(Duration::from_millis(20)).await;
        FolderStore::open(root, Duration::from_millis(10)).await.unwrap();
        assert_eq!(files(&unfinished), 0);
    }
}
