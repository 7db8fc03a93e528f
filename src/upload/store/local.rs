//! Local disk as a storage.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{Object, Sent, Store, StoreError, file_size};
use crate::disk::{self, Existing};

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
        self.place(object, file, sent, Existing::Replace).await
    }

    async fn put_new(&self, object: &Object, file: &Path, sent: &Sent) -> Result<(), StoreError> {
        self.place(object, file, sent, Existing::Keep).await
    }
}

impl LocalStore {
    async fn place(
        &self,
        object: &Object,
        file: &Path,
        sent: &Sent,
        existing: Existing,
    ) -> Result<(), StoreError> {
        let (local, target) = (file.to_owned(), self.target(&object.key));
        let size = file_size(file).await?;
        let failed = |error| StoreError::unwritable(&self.target(&object.key), error);
        let moved = tokio::task::spawn_blocking(move || store(&local, &target, existing)).await;
        moved.map_err(|panic| failed(io::Error::other(panic)))?.map_err(failed)?;
        sent.add(size);
        Ok(())
    }
}

/// Moves a finished file to its final place: by a rename if possible, otherwise by a copy that gets
/// its name only when it is complete and synced. Both survive a power cut from then on.
///
/// # Errors
///
/// When a directory can't be created, the file can't be moved, or the name is taken with
/// [`Existing::Keep`]; `local` is unchanged then.
fn store(local: &Path, target: &Path, existing: Existing) -> io::Result<()> {
    const ATTEMPTS: usize = 16;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let made = target.parent().map_or_else(|| Ok(Vec::new()), disk::make_dirs);
        let stored = made.and_then(|_| match disk::place(local, target, existing) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_over(local, target, existing),
            placed => placed,
        });
        match stored {
            // Another recording that ended removed the directory, which was empty until now.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS && local.exists() => {}
            stored => return stored,
        }
    }
}

fn copy_over(local: &Path, target: &Path, existing: Existing) -> io::Result<()> {
    let part = target.with_file_name(part_name(local));
    let copied = copy(local, &part).and_then(|()| disk::place(&part, target, existing));
    if let Err(error) = copied {
        // The copy is of no use; that it can't be removed is the smaller of the two errors.
        fs::remove_file(&part).ok();
        return Err(error);
    }
    // It is stored. Whoever asked for that removes what is left here.
    fs::remove_file(local).ok();
    Ok(())
}

/// Copies a file with its mode. An existing file with the copy's name is removed: an earlier
/// partial copy, or another user's link, which is not followed.
fn copy(local: &Path, part: &Path) -> io::Result<()> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut source = File::open(local)?;
    let mut copy = File::options().write(true).create_new(true).open(part)?;
    copy.set_permissions(source.metadata()?.permissions())?;
    io::copy(&mut source, &mut copy)?;
    Ok(())
}

/// The temporary name of a copy. It belongs to this file alone, as two recordings may want one
/// name; and it is the same when a killed recording is recovered, so that a partial copy does not
/// stay.
fn part_name(local: &Path) -> String {
    let digest = Sha256::digest(local.as_os_str().as_encoded_bytes());
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!(".weir-{digits}.part")
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
            store(&local, &target, Existing::Replace).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
            assert!(!local.exists());
        }
    }

    #[test]
    fn crosses_file_systems_without_a_half_file() {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let (local, target) = (memory.path().join("a"), disk.path().join("b"));
        fs::write(&local, vec![7; 100_000]).unwrap();
        store(&local, &target, Existing::Replace).unwrap();
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
        assert!(store(&local, &dir.path().join("file/b"), Existing::Replace).is_err());
        assert_eq!(fs::read_to_string(&local).unwrap(), "kept");
    }

    /// Two recordings with one name and their work directories on another file system once shared
    /// one `.part`.
    #[test]
    fn copies_of_one_name_do_not_mix() {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let target = disk.path().join("talk.mp4");
        let files: Vec<PathBuf> = (0..4).map(|index| memory.path().join(format!("{index}.mp4"))).collect();
        for (index, file) in (0u8..).zip(&files) {
            fs::write(file, vec![index; 3_000_000]).unwrap();
        }
        let shared = &target;
        let stored: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = files
                .iter()
                .map(|file| scope.spawn(move || store(file, shared, Existing::Keep).is_ok()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(stored.iter().filter(|stored| **stored).count(), 1, "{stored:?}");
        let winner = stored.iter().position(|stored| *stored).unwrap();
        assert_eq!(fs::read(&target).unwrap(), vec![u8::try_from(winner).unwrap(); 3_000_000]);
        for (index, file) in files.iter().enumerate() {
            assert_eq!(file.exists(), index != winner, "who lost has the file still");
        }
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1, "no part is left");
    }

    #[test]
    fn a_link_in_place_of_the_copy_is_not_followed() {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let (local, victim) = (memory.path().join("a"), disk.path().join("victim"));
        fs::write(&local, "video").unwrap();
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, disk.path().join(part_name(&local))).unwrap();
        store(&local, &disk.path().join("b"), Existing::Keep).unwrap();
        assert_eq!(fs::read_to_string(disk.path().join("b")).unwrap(), "video");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalStore::new(dir.path());
        fs::write(dir.path().join("talk.mp4"), "older").unwrap();
        fs::write(dir.path().join("new"), "newer").unwrap();
        let object = Object { key: "talk.mp4".to_owned(), mime: "video/mp4" };
        let taken = local.put_new(&object, &dir.path().join("new"), &Sent::default()).await.unwrap_err();
        assert_eq!(taken.kind(), super::super::StoreErrorKind::Exists);
        assert_eq!(fs::read_to_string(dir.path().join("talk.mp4")).unwrap(), "older");
        assert_eq!(fs::read_to_string(dir.path().join("new")).unwrap(), "newer");
    }
}
