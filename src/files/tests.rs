use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

fn fifo(path: &Path) {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_lock_empties_no_file_and_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, path) = (dir.path().join("victim"), dir.path().join("lock"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &path).unwrap();
    let error = lock(&path).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(lock_existing(&path).is_err());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    // A hard link leads to the file itself.
    fs::remove_file(&path).unwrap();
    fs::hard_link(&victim, &path).unwrap();
    assert!(lock(&path).unwrap().is_some());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_lock_is_held_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    assert_eq!(lock_existing(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    let held = lock(&path).unwrap();
    assert!(held.is_some() && lock(&path).unwrap().is_none() && lock_existing(&path).unwrap().is_none());
    assert_eq!(mode(&path), 0o600);
    drop(held);
    assert!(lock(&path).unwrap().is_some());
}

/// Each of these would wait for ever, or for as long as the other end likes.
#[test]
fn a_pipe_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    fifo(&path);
    assert!(lock(&path).is_err() && lock_existing(&path).is_err());
    assert!(read(&path, 10).is_err());
    assert!(open(&path, options().write(true)).is_err());
    assert!(open(&path, options().append(true).create(true)).is_err());
    assert!(is_regular(&path).is_err());
    assert!(open(dir.path(), options().read(true)).is_err(), "a directory is no file");
}

#[test]
fn files_are_read_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    assert!(!is_regular(&path).unwrap());
    fs::write(&path, "12345").unwrap();
    assert_eq!(read(&path, 5).unwrap(), b"12345");
    assert!(read(&path, 4).unwrap_err().to_string().contains("larger than 4 bytes"));
    assert!(is_regular(&path).unwrap());
    symlink(&path, dir.path().join("link")).unwrap();
    assert!(read(&dir.path().join("link"), 5).is_err() && is_regular(&dir.path().join("link")).is_err());
}

#[test]
fn directories_hold_files_and_directories_alone() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("0");
    check_entries(&inside).unwrap();
    fs::create_dir_all(inside.join("more")).unwrap();
    fs::write(inside.join("a"), "").unwrap();
    check_entries(&inside).unwrap();
    symlink("a", inside.join("link")).unwrap();
    assert_eq!(check_entries(&inside).unwrap_err().0, inside.join("link"));
    fs::remove_file(inside.join("link")).unwrap();
    fifo(&inside.join("pipe"));
    assert_eq!(check_entries(&inside).unwrap_err().0, inside.join("pipe"));
    symlink(dir.path(), dir.path().join("1")).unwrap();
    assert_eq!(check_entries(&dir.path().join("1")).unwrap_err().0, dir.path().join("1"));
}

#[test]
fn replacing_writes_into_nothing_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, path) = (dir.path().join("victim"), dir.path().join("a"));
    fs::write(&victim, "precious").unwrap();
    for target in [&path, &dir.path().join("a.new")] {
        symlink(&victim, target).unwrap();
    }
    replace(&path, b"new", 0o600).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(is_regular(&path).unwrap());
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
}

#[test]
fn plain_names_lead_nowhere_else() {
    for name in ["a", "a.ts", ".a", "a b", "..a", "a\n"] {
        assert!(is_plain_name(name), "{name}");
    }
    for name in ["", ".", "..", "/", "/a", "a/b", "a/", "./a", "../a", "a/../b", "a/.", "a\0b"] {
        assert!(!is_plain_name(name), "{name}");
        assert!(in_dir(Path::new("/x"), name).is_err());
    }
    assert_eq!(in_dir(Path::new("/x"), "a").unwrap(), Path::new("/x/a"));
}

#[test]
fn a_directory_is_seen_with_its_lock_held_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let held = create_locked_dir(&path, "lock").unwrap();
    assert_eq!(mode(&path), 0o700);
    assert!(lock_existing(&path.join("lock")).unwrap().is_none(), "it is held");
    assert!(create_locked_dir(&path, "lock").is_err(), "one that is in use is not taken");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left of the attempt");
    drop(held);
    assert!(lock_existing(&path.join("lock")).unwrap().is_some());
}

#[test]
fn a_private_directory_is_made_and_what_is_not_private_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = of_this_user(dir.path());
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("weir-{}", geteuid()));
    for _ in 0..2 {
        private_dir(&path).unwrap();
    }
    assert_eq!(mode(&path), 0o700);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(private_dir(&path).unwrap_err().to_string().contains("chmod 700"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(private_dir(&link).unwrap_err().to_string().contains("symbolic link"));
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(private_dir(&dir.path().join("file")).unwrap_err().to_string().contains("not a directory"));
}

#[test]
fn a_link_is_no_trusted_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (there, link) = (dir.path().join("there"), dir.path().join("link"));
    for _ in 0..2 {
        trusted_dir(&there).unwrap();
    }
    symlink(&there, &link).unwrap();
    assert!(trusted_dir(&link).is_err() && check_owner(&link).is_err());
    check_owner(&there).unwrap();
    // What has no parent by its name has one.
    trusted_dir(Path::new(".")).unwrap();
}

#[test]
fn a_place_that_was_chosen_may_be_a_link_to_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (there, link) = (dir.path().join("there"), dir.path().join("link"));
    assert!(chosen_dir(&there).unwrap() && !chosen_dir(&there).unwrap());
    symlink(&there, &link).unwrap();
    assert!(!chosen_dir(&link).unwrap() && check_trusted(&link).is_err() && open_dir(&link).is_err());
    check_trusted(&there).unwrap();
    open_dir(&there).unwrap();
    let (dangling, pipe) = (dir.path().join("dangling"), dir.path().join("pipe"));
    symlink("nowhere", &dangling).unwrap();
    fifo(&pipe);
    assert!(chosen_dir(&dangling).is_err() && chosen_dir(&pipe).is_err() && open_dir(&pipe).is_err());
}

/// Only the administrator can give a directory to somebody else.
#[test]
fn a_strangers_directory_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    assert!(private_dir(&path).unwrap_err().to_string().contains("belongs to user 12345"));
    assert!(check_owner(&path).unwrap_err().to_string().contains("belongs to user 12345"));
    trusted_dir(&path).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(trusted_dir(&path).unwrap_err().to_string().contains("belongs to user 12345"));
}
