//! Local disk as a storage.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::{Object, Sent, Store, StoreError, file_size};

/// A directory. Keys that begin with `/` are elsewhere.
#[derive(Debug)]
pub(super) struct LocalStore {
    base: PathBuf,
}

impl LocalStore {
    pub(super) fn new(base: &Path) -> Self {
        Self { base: base.to_owned() }
    }

    fn target(&self, key: &str) -> PathBuf {
        let target = self.base.join(key);
        std::path::absolute(&target).unwrap_or(target)
    }
}

#[async_trait]
impl Store for LocalStore {
    fn location(&self, key: &str) -> String {
        self.target(key).display().to_string()
    }

    /// The file's own address; there is nothing to sign.
    async fn signed_url(&self, key: &str, _valid: Duration) -> Result<String, StoreError> {
        Ok(format!("file://{}", self.location(key)))
    }

    async fn put(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        let (local, target) = (file.to_owned(), self.target(&object.key));
        let size = file_size(file).await?;
        let failed = |error| StoreError::unwritable(&self.target(&object.key), error);
        let moved = tokio::task::spawn_blocking(move || store(&local, &target)).await;
        moved.map_err(|panic| failed(io::Error::other(panic)))?.map_err(failed)?;
        sent.add(size);
        Ok(())
    }
}

/// Puts a finished file to its final place: a rename where it can be one, else a copy that gets its name only when it is
/// whole and on the disk. What stood there before is replaced in one step. Gives the absolute place.
///
/// # Errors
/// When a directory can't be made, or the file can't be moved; `local` is there then as before.
pub(in crate::upload) fn store(local: &Path, target: &Path) -> io::Result<PathBuf> {
    if let Some(dir) = target.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    match fs::rename(local, target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_over(local, target)?,
        Err(error) => return Err(error),
    }
    std::path::absolute(target)
}

fn copy_over(local: &Path, target: &Path) -> io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = target.with_file_name(name);
    let copied = fs::copy(local, &part)
        .and_then(|_| File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, target));
    if let Err(error) = copied {
        // The copy is of no use; that it can't be removed is the smaller of the two errors.
        fs::remove_file(&part).ok();
        return Err(error);
    }
    fs::remove_file(local)
}

#[cfg(test)]
mod tests {
    use super::super::Head;
    use super::*;

    #[test]
    fn makes_directories_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let (local, target) = (dir.path().join("a"), dir.path().join("x/y/b"));
        for content in ["one", "two"] {
            fs::write(&local, content).unwrap();
            assert_eq!(store(&local, &target).unwrap(), target);
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
            assert!(!local.exists());
        }
    }

    #[test]
    fn crosses_file_systems_without_a_half_file() {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let (local, target) = (memory.path().join("a"), disk.path().join("b"));
        fs::write(&local, vec![7; 100_000]).unwrap();
        store(&local, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap().len(), 100_000);
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1);
        assert!(!local.exists());
    }

    #[tokio::test]
    async fn keys_are_relative_to_the_base_or_absolute() {
        let (base, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let disk = LocalStore::new(base.path());
        let absolute = elsewhere.path().join("b.mp4").display().to_string();
        for key in ["dir/a.mp4", absolute.as_str()] {
            let file = base.path().join("recorded");
            fs::write(&file, "video").unwrap();
            let (object, sent) = (Object { key: key.to_owned(), mime: "video/mp4" }, Sent::default());
            disk.put(&object, &file, &sent).await.unwrap();
            assert_eq!(fs::read_to_string(disk.location(key)).unwrap(), "video");
            assert_eq!(sent.bytes(), 5);
            assert!(!file.exists());
        }
        assert_eq!(disk.location(&absolute), absolute);
        let link = disk.signed_url("dir/a.mp4", Duration::ZERO).await.unwrap();
        assert_eq!(link, format!("file://{}/dir/a.mp4", base.path().display()));
        let object = Object { key: "x".to_owned(), mime: "video/mp4" };
        let missing = disk.put(&object, Path::new("/no/such"), &Sent::default()).await.unwrap_err();
        assert_eq!(missing.kind(), super::super::StoreErrorKind::File);
        assert!(disk.begin(&object, Head::Final).await.unwrap().is_none());
    }

    #[test]
    fn a_failure_leaves_the_file_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("a");
        fs::write(&local, "kept").unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(store(&local, &dir.path().join("file/b")).is_err());
        assert_eq!(fs::read_to_string(&local).unwrap(), "kept");
    }
}
