use proptest::prelude::*;

use super::*;
use crate::plan::output::OutputId;
use crate::upload::IfTaken;

fn upload(name: &str, versions: Versions, subject: u32) -> Upload<u32> {
    let local = PathBuf::from(format!("/work/{subject}"));
    let (name, if_taken) = (name.to_owned(), IfTaken::Replace);
    Upload { output: OutputId(0), local, name, size: 10, versions, if_taken, subject }
}

fn segment(subject: u32) -> Upload<u32> {
    upload(&format!("{subject}.ts"), Versions::One, subject)
}

fn playlist(subject: u32) -> Upload<u32> {
    upload("a.m3u8", Versions::NewestCounts, subject)
}

fn drain(backlog: &mut Backlog<u32>) -> Vec<u32> {
    std::iter::from_fn(|| backlog.pop().map(|(_, upload)| upload.subject)).collect()
}

#[test]
fn playlists_come_after_the_segments_before_them_and_old_ones_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path());
    let mut superseded = Vec::new();
    for at in (0..10).step_by(2) {
        assert!(backlog.push(segment(at)).is_none());
        superseded.extend(backlog.push(playlist(at + 1)).map(|upload| upload.subject));
    }
    assert_eq!(superseded, [3, 5, 7]);
    assert_eq!((backlog.len(), backlog.bytes()), (7, 70));
    assert_eq!(drain(&mut backlog), [0, 1, 2, 4, 6, 8, 9]);
    assert_eq!((backlog.len(), backlog.bytes()), (0, 0));
}

#[test]
fn what_is_put_back_comes_first_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path());
    backlog.push(segment(0));
    backlog.push(playlist(1));
    backlog.push(segment(2));
    for expected in [0, 1, 2] {
        for _ in 0..2 {
            let (at, upload) = backlog.pop().unwrap();
            assert_eq!(upload.subject, expected);
            backlog.put_back(at, upload);
        }
        backlog.pop().unwrap();
    }
    assert_eq!(backlog.bytes(), 0);
}

#[test]
fn a_long_outage_waits_on_the_disk_and_not_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path());
    for at in 0..20_000 {
        backlog.push(segment(at));
        backlog.push(playlist(at));
    }
    assert_eq!(backlog.len(), 20_002);
    assert!(backlog.once.len() <= IN_MEMORY && backlog.versions.len() == 2);
    let mut expected: Vec<u32> = vec![0, 0];
    expected.extend(1..20_000);
    expected.push(19_999);
    assert_eq!(drain(&mut backlog), expected);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file is gone when nothing waits");
}

#[test]
fn a_disk_that_takes_nothing_costs_memory_and_no_upload() {
    // A directory that is not there takes no file.
    let mut backlog = Backlog::new(Path::new("/nonexistent/weir"));
    for at in 0..3000 {
        backlog.push(segment(at));
    }
    assert_eq!(drain(&mut backlog), (0..3000).collect::<Vec<u32>>());
}

#[test]
fn an_entry_that_can_not_be_read_is_counted_and_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path());
    for at in 0..1034 {
        backlog.push(segment(at));
    }
    let path = dir.path().join("waiting.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    // The third of ten that are in the file.
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[2].truncate(20);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let expected: Vec<u32> = (0..1034).filter(|at| *at != 1026).collect();
    assert_eq!(drain(&mut backlog), expected);
    assert_eq!((backlog.take_lost(), backlog.take_lost(), backlog.len(), backlog.bytes()), (1, 0, 0, 0));
    assert!(path.exists(), "somebody may look at it");
    // And it goes on.
    for at in 0..1034 {
        backlog.push(segment(at));
    }
    assert_eq!(drain(&mut backlog), (0..1034).collect::<Vec<u32>>());
    assert_eq!(backlog.take_lost(), 0);
}

#[test]
fn half_a_line_that_stays_costs_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path());
    for at in 0..1030 {
        backlog.push(segment(at));
    }
    // A disk that is full, and then has room again.
    let mut file = File::options().append(true).open(dir.path().join("waiting.jsonl")).unwrap();
    file.write_all(b"[1030,{\"output").unwrap();
    for at in 1030..1040 {
        backlog.push(segment(at));
    }
    assert_eq!(drain(&mut backlog), (0..1040).collect::<Vec<u32>>());
    assert_eq!(backlog.take_lost(), 0);
}

#[test]
fn a_file_that_is_gone_loses_what_was_in_it_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path());
    for at in 0..1034 {
        backlog.push(segment(at));
    }
    std::fs::remove_file(dir.path().join("waiting.jsonl")).unwrap();
    assert_eq!(drain(&mut backlog).len(), 1024);
    assert_eq!((backlog.take_lost(), backlog.len(), backlog.bytes()), (10, 0, 0));
}

proptest! {
    #[test]
    fn nothing_is_lost_and_the_order_is_kept(steps in prop::collection::vec(0u8..4, 0..4000)) {
        let dir = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(dir.path());
        let (mut next, mut out, mut newest) = (0u32, Vec::new(), None);
        for step in steps {
            match step {
                0 | 1 => { backlog.push(segment(next)); next += 1; }
                2 => { backlog.push(playlist(next)); newest = Some(next); next += 1; }
                _ => out.extend(backlog.pop().map(|(_, upload)| upload)),
            }
        }
        out.extend(std::iter::from_fn(|| backlog.pop().map(|(_, upload)| upload)));
        let numbers: Vec<u32> = out.iter().map(|upload| upload.subject).collect();
        prop_assert!(numbers.is_sorted(), "{:?}", numbers);
        let playlists = out.iter().filter(|upload| upload.versions == Versions::NewestCounts);
        prop_assert_eq!(playlists.map(|upload| upload.subject).next_back(), newest);
        let once = out.iter().filter(|upload| upload.versions == Versions::One).count();
        prop_assert_eq!(once, out.len() - out.iter().filter(|u| u.name == "a.m3u8").count());
        prop_assert_eq!(backlog.bytes(), 0);
    }
}
