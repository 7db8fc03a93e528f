//! Keeps the failure of one file from stopping its queue.

use std::path::Path;

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use super::store::{Scope, StoreError};
use super::targets::UploadError;

/// Whether a file is one, and its first byte can be read.
pub(super) fn is_readable(local: &Path) -> bool {
    use std::io::Read;
    let read = || -> std::io::Result<()> {
        if !std::fs::metadata(local)?.is_file() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        let file = std::fs::File::open(local)?;
        std::io::copy(&mut file.take(1), &mut std::io::sink()).map(drop)
    };
    match read() {
        Ok(()) => true,
        // A machine that is out of descriptors says nothing about the file.
        Err(error) => StoreError::file(local, error).scope() != Scope::Object,
    }
}

/// A panic of an upload is an error of that file, which is not stored then, and nothing of the
/// lane.
pub(super) fn unless_panicked<S: Send + 'static>(
    put: BoxFuture<'static, Result<S, UploadError>>,
) -> BoxFuture<'static, Result<S, UploadError>> {
    Box::pin(async move {
        let mut task = JoinSet::new();
        // Dropped, it ends the upload.
        task.spawn(put);
        match task.join_next().await {
            Some(Ok(stored)) => stored,
            Some(Err(error)) => Err(UploadError::Panicked(error.to_string())),
            None => Err(UploadError::Panicked("it was never begun".to_owned())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn defect() -> Result<u32, UploadError> {
        panic!("a defect");
    }

    #[tokio::test]
    async fn an_upload_that_panics_is_an_error_of_its_file() {
        let error = unless_panicked(Box::pin(defect())).await.unwrap_err();
        assert!(matches!(&error, UploadError::Panicked(what) if what.contains("panic")), "{error}");
        assert_eq!(unless_panicked::<u32>(Box::pin(async { Ok(7) })).await.unwrap(), 7);
    }
}
