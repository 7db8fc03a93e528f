mod with_processes;

use std::io::Cursor;
use std::sync::LazyLock;

use gstreamer as gst;
use gstreamer::prelude::*;
use mp4_atom::{Atom, Decode, Moof};
use proptest::prelude::*;

use super::*;
use crate::sink::synthetic::{Probe, assert_close, plays};

/// Five seconds of pictures and sound in fragments, as the recorder writes them.
static RECORDED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    crate::media::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recorded.mp4");
    let pipeline = gst::parse::launch(&format!(
        "mp4mux name=mux fragment-duration=1000 ! filesink location={} \
         videotestsrc num-buffers=150 ! video/x-raw,format=NV12,width=160,height=90,framerate=30/1 \
           ! x264enc speed-preset=ultrafast key-int-max=60 ! video/x-h264,stream-format=byte-stream ! h264parse ! mux. \
         audiotestsrc num-buffers=240 ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! mux.",
        path.display()
    ))
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let message =
        pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &types).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
    std::fs::read(path).unwrap()
});

/// Kind, start and end of each box at the top.
fn boxes(bytes: &[u8]) -> Vec<([u8; 4], usize, usize)> {
    let (mut boxes, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let size = usize::try_from(u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap();
        boxes.push((bytes[at + 4..at + 8].try_into().unwrap(), at, at + size));
        at += size;
    }
    boxes
}

fn scan_of(bytes: &[u8]) -> Result<Scan, ScanError> {
    scan::scan(&mut Cursor::new(bytes), bytes.len() as u64)
}

/// Every piece of media of the fragments that are complete in the first `cut` bytes must be found, whole.
fn check_cut(cut: usize) {
    let all = scan_of(&RECORDED).unwrap();
    let ends = boxes(&RECORDED).into_iter().filter(|(kind, _, end)| kind != b"moof" && *end <= cut);
    let complete = ends.map(|(_, _, end)| end as u64).next_back().unwrap_or(0);
    let expected: Vec<_> =
        all.pieces.iter().filter(|piece| piece.offset + piece.len <= complete).copied().collect();
    match scan_of(&RECORDED[..cut]) {
        Ok(scan) => {
            assert!(scan.pieces.starts_with(&expected), "cut at {cut}");
            assert_eq!(scan.complete, complete, "cut at {cut}");
            // And of what follows no more than is there.
            assert!(scan.pieces.iter().all(|piece| piece.offset + piece.len <= cut as u64), "cut at {cut}");
        }
        Err(ScanError::Empty) => assert!(expected.is_empty(), "cut at {cut}"),
        Err(error) => panic!("cut at {cut}: {error}"),
    }
}

#[test]
fn a_file_cut_around_any_boundary_keeps_every_complete_fragment() {
    let boxes = boxes(&RECORDED);
    assert!(boxes.iter().filter(|(kind, ..)| kind == b"moof").count() >= 8, "{boxes:?}");
    for (_, start, end) in boxes {
        for at in [start, start + 1, start + 7, start + 8, start + 9, end - 1, end] {
            check_cut(at.min(RECORDED.len()));
        }
    }
}

proptest! {
    #[test]
    fn a_file_cut_anywhere_keeps_every_complete_fragment(cut in 0..RECORDED.len()) {
        check_cut(cut);
    }

    #[test]
    fn no_bytes_make_it_panic_or_ask_for_more_than_there_is(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        in_headers in any::<bool>(),
    ) {
        let mut bytes = RECORDED.clone();
        // Most of a file is media, in which nothing is read.
        let headers: Vec<usize> = boxes(&bytes).into_iter()
            .filter(|(kind, ..)| kind != b"mdat").flat_map(|(_, start, end)| start..end).collect();
        for (index, value) in changes {
            let at = if in_headers { headers[index.index(headers.len())] } else { index.index(bytes.len()) };
            bytes[at] = value;
        }
        if let Ok(scan) = scan_of(&bytes) {
            let media: u64 = scan.pieces.iter().map(|piece| piece.len).sum();
            prop_assert!(media <= bytes.len() as u64);
            // What can't be written is an error, not a panic.
            if let Ok((movie, _)) = Movie::lay_out(scan, None) {
                prop_assert!(movie.size() >= media);
            }
        }
    }

    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(scan_of(&bytes).is_err());
    }
}

fn whole_of(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf, Whole) {
    let dir = tempfile::tempdir().unwrap();
    let (recorded, whole) = (dir.path().join("recorded.mp4"), dir.path().join("whole.mp4"));
    std::fs::write(&recorded, bytes).unwrap();
    let made = make_whole(&recorded, &whole, None, &CancellationToken::new()).unwrap();
    (dir, whole, made)
}

#[test]
fn a_movie_of_more_than_four_gigabytes_has_offsets_of_64_bits() {
    let mut scan = scan_of(&RECORDED).unwrap();
    let (first, second) = (scan.pieces[0], scan.pieces[1]);
    scan.pieces[0].len = 5 << 30;
    let (movie, _) = Movie::lay_out(scan, None).unwrap();
    let moov =
        boxes(&movie.head[..movie.head.len() - 16]).into_iter().find(|(kind, ..)| kind == b"moov").unwrap();
    let moov = Moov::decode(&mut &movie.head[moov.1..moov.2]).unwrap();
    let offset = |piece: scan::Piece| {
        let stbl = &moov.trak[piece.track].mdia.minf.stbl;
        match (&stbl.co64, &stbl.stco) {
            (Some(co64), None) => co64.entries[0],
            (None, Some(stco)) => u64::from(stco.entries[0]),
            other => panic!("{other:?}"),
        }
    };
    let head = movie.head.len() as u64;
    assert_ne!(first.track, second.track);
    assert_eq!((offset(first), offset(second)), (head, head + (5 << 30)));
    assert_eq!(movie.head[movie.head.len() - 16..][..8], *b"\0\0\0\x01mdat");
}
