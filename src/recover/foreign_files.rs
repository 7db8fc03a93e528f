//! Tests: foreign files in a work directory, or foreign names in its journals, move and overwrite
//! nothing.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const MANIFEST: &str = r#"{"egress_id":"EG_a","created_at":"2026-01-01T00:00:00Z","base":"BASE","run_dir":"/dev/shm/x","outputs":[OUTPUT]}"#;
const IMAGES: &str = r#"{"kind":"images"}"#;
const FILE: &str = r#"{"kind":"file","container":"MP4","name":"a.mp4"}"#;
const SEGMENTS: &str = r#"{"kind":"segments","dir":"","playlist":"a.m3u8","live_playlist":null,"duration":{"secs":4,"nanos":0}}"#;

struct Scene {
    dir: tempfile::TempDir,
    root: PathBuf,
    victim: PathBuf,
}

impl Scene {
    fn new(output: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, victim) = (dir.path().join(".weir/EG_a"), dir.path().join("victim"));
        fs::create_dir_all(root.join("0")).unwrap();
        fs::write(&victim, "precious").unwrap();
        let base = dir.path().display().to_string();
        fs::write(root.join("manifest.json"), MANIFEST.replace("BASE", &base).replace("OUTPUT", output))
            .unwrap();
        fs::write(root.join("storage.json"), "[null]").unwrap();
        Self { dir, root, victim }
    }

    fn note(&self, line: &str) {
        let line = line.replace("VICTIM", &self.victim.display().to_string());
        fs::write(self.root.join("0/notes-0.jsonl"), format!("{line}\n")).unwrap();
    }

    /// The problems, once it is known that nothing was touched.
    async fn problems(&self) -> Vec<String> {
        let recovered = recover(self.dir.path(), None).await.unwrap();
        assert_eq!(fs::read_to_string(&self.victim).unwrap(), "precious");
        assert!(self.root.exists(), "what could not be recovered stays");
        let [recovered] = &recovered[..] else { panic!("one work directory: {recovered:?}") };
        assert_eq!(recovered.files, Vec::<String>::new());
        recovered.problems.iter().map(RecoverError::to_string).collect()
    }
}

#[tokio::test]
async fn notes_name_files_of_their_own_directory_alone() {
    for local in ["VICTIM", "../../../victim", "x/../../../../victim", ".."] {
        let image = Scene::new(IMAGES);
        image.note(&format!(r#"{{"kind":"image","local":"{local}","name":"stolen.jpeg"}}"#));
        let problems = image.problems().await;
        assert!(problems[0].contains("not the plain name"), "{local}: {problems:?}");

        let segment = Scene::new(SEGMENTS);
        segment.note(&format!(
            r#"{{"kind":"segment","local":"{local}","uri":"a.ts","start":{{"secs":0,"nanos":0}},"date":"2026-01-01T00:00:00Z"}}"#
        ));
        let problems = segment.problems().await;
        assert!(problems[0].contains("not the plain name"), "{local}: {problems:?}");
    }
}

#[tokio::test]
async fn links_and_pipes_in_an_outputs_directory_are_refused() {
    for (output, name) in [
        (FILE, "file-0.mp4"),
        (FILE, "file-0.recording.mp4"),
        (IMAGES, "notes-0.jsonl"),
        (IMAGES, "uploads.jsonl"),
        (SEGMENTS, "playlist-0-rescued-0.m3u8"),
    ] {
        for is_link in [true, false] {
            let scene = Scene::new(output);
            let path = scene.root.join("0").join(name);
            match is_link {
                true => symlink(&scene.victim, &path).unwrap(),
                false => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            }
            let problems = scene.problems().await;
            assert!(problems[0].contains("not a regular file"), "{name}: {problems:?}");
        }
    }
}

#[tokio::test]
async fn links_and_pipes_in_place_of_the_directorys_own_files_are_refused() {
    for name in ["lock", "storage.json", "0"] {
        for is_link in [true, false] {
            let scene = Scene::new(IMAGES);
            let path = scene.root.join(name);
            match name {
                "0" => fs::remove_dir(&path).unwrap(),
                _ => drop(fs::remove_file(&path)),
            }
            match is_link {
                true => symlink(&scene.victim, &path).unwrap(),
                false => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            }
            let problems = scene.problems().await;
            assert!(problems[0].contains("remove it"), "{name}: {problems:?}");
        }
    }
}

#[tokio::test]
async fn a_link_to_a_work_directory_is_none() {
    let scene = Scene::new(IMAGES);
    let other = tempfile::tempdir().unwrap();
    symlink(&scene.root, other.path().join("EG_b")).unwrap();
    let recovered = recover(other.path(), None).await.unwrap();
    assert!(recovered.iter().all(|recovered| !recovered.problems.is_empty()), "{recovered:?}");
    assert!(scene.root.join("manifest.json").exists());
}
