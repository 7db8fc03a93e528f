use super::*;

fn made(container: Container, bytes: &[u8]) -> (tempfile::TempDir, Result<Finalized, FinalizeError>) {
    crate::media::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (recorded, whole) = (dir.path().join("recorded"), dir.path().join("whole"));
    std::fs::write(&recorded, bytes).unwrap();
    let made = finalize(container, &recorded, &whole, None, &CancellationToken::new());
    assert_eq!(whole.exists(), made.is_ok());
    assert!(!part_of(&whole).exists());
    (dir, made)
}

#[test]
fn a_file_without_media_is_empty_and_stays() {
    for container in [Container::Mp4, Container::Ogg, Container::Mp3] {
        let (dir, made) = made(container, b"");
        assert!(matches!(made, Err(FinalizeError::Empty { .. })), "{container:?}: {made:?}");
        assert!(dir.path().join("recorded").exists());
    }
}

#[test]
fn something_else_is_refused_and_stays() {
    for container in [Container::Mp4, Container::Ogg, Container::Mp3] {
        let (dir, made) = made(container, &b"this is a letter, not a recording. ".repeat(200));
        let error = made.unwrap_err().to_string();
        assert!(error.contains("recorded"), "{container:?}: {error}");
        assert!(dir.path().join("recorded").exists());
    }
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (recorded, whole) = (dir.path().join("recorded.mp4"), dir.path().join("whole.mp4"));
    let error = finalize(Container::Mp4, &recorded, &whole, None, &CancellationToken::new()).unwrap_err();
    assert!(error.to_string().contains("recorded.mp4"), "{error}");
}
