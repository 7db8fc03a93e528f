use super::*;

fn journal(dir: &tempfile::TempDir) -> Journal<String> {
    Journal::new(dir.path().join("notes.jsonl"))
}

fn read(journal: &Journal<String>) -> (Vec<String>, usize) {
    let Entries { entries, unreadable } = journal.read().unwrap();
    (entries, unreadable)
}

/// A file that was opened for reading alone takes nothing, as a full disk does.
fn without_room(journal: &mut Journal<String>) {
    journal.file = Some(File::open(journal.path()).unwrap());
}

#[test]
fn a_line_that_can_not_be_written_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(&dir);
    journal.add(&"one".to_owned()).unwrap();
    without_room(&mut journal);
    journal.add(&"two".to_owned()).unwrap_err();
    // It could not be cut off either.
    assert!(journal.is_torn);
    journal.file = None;
    let mut torn = File::options().append(true).open(journal.path()).unwrap();
    torn.write_all(b"\"tw").unwrap();
    journal.file = Some(torn);
    journal.add(&"three".to_owned()).unwrap();
    journal.add(&"four".to_owned()).unwrap();
    assert_eq!(read(&journal), (vec!["one".to_owned(), "three".to_owned(), "four".to_owned()], 1));
}

#[test]
fn half_a_line_of_a_killed_process_is_cut_off_by_the_next_one() {
    for half in [3, 4090, 4096, 10_000] {
        let (dir, half) = (tempfile::tempdir().unwrap(), "x".repeat(half));
        std::fs::write(journal(&dir).path(), format!("\"one\"\n{half}")).unwrap();
        assert_eq!(read(&journal(&dir)), (vec!["one".to_owned()], 0));
        journal(&dir).add(&"three".to_owned()).unwrap();
        assert_eq!(read(&journal(&dir)), (vec!["one".to_owned(), "three".to_owned()], 0));
        // Nothing but half a line.
        std::fs::write(journal(&dir).path(), &half).unwrap();
        journal(&dir).add(&"four".to_owned()).unwrap();
        assert_eq!(read(&journal(&dir)), (vec!["four".to_owned()], 0));
    }
}

#[test]
fn a_line_that_can_not_be_read_costs_no_other_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Half a line with a whole one behind it, rubbish, zeros of a power cut, a blank line.
    std::fs::write(journal(&dir).path(), b"\"one\"\n\"tw\"three\"\n\xff\xfe\n\0\0\0\n\n\"four\"\n\"fi")
        .unwrap();
    assert_eq!(read(&journal(&dir)), (vec!["one".to_owned(), "four".to_owned()], 3));
}

#[test]
fn no_file_has_no_entries_and_a_directory_in_its_place_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read(&journal(&dir)), (Vec::new(), 0));
    std::fs::create_dir(journal(&dir).path()).unwrap();
    journal(&dir).read().unwrap_err();
}
