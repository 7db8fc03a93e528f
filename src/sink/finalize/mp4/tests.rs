mod with_processes;

use std::io::Cursor;
use std::sync::LazyLock;

use gstreamer as gst;
use gstreamer::prelude::*;
use mp4_atom::{Atom, Codec, Decode, Moof};
use proptest::prelude::*;

use super::*;
use crate::sink::synthetic::{Probe, assert_close, plays};

/// Five seconds of video and audio in fragments, as the recorder writes them.
static RECORDED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    recorded(
        "h264parse ! mux. \
         audiotestsrc num-buffers=240 ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! mux.",
    )
});

/// Frames with a key frame every two seconds, on their way into a fragmented file.
fn recorded(rest: &str) -> Vec<u8> {
    crate::media::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recorded.mp4");
    let pipeline = gst::parse::launch(&format!(
        "mp4mux name=mux fragment-duration=1000 ! filesink location={} \
         videotestsrc num-buffers=150 ! video/x-raw,format=NV12,width=160,height=90,framerate=30/1 \
           ! x264enc speed-preset=ultrafast key-int-max=60 ! video/x-h264,stream-format=byte-stream ! {rest}",
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
}

/// The places at which some bytes are.
fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    bytes.windows(wanted.len()).enumerate().filter(|(_, at)| *at == wanted).map(|(at, _)| at).collect()
}

#[test]
fn a_published_track_with_one_set_of_parameters_has_them_in_the_index() {
    let mut bytes = recorded("h264parse ! video/x-h264,stream-format=avc3,alignment=au ! mux.");
    assert!(!places(&bytes, b"avc3").is_empty(), "it was not written as published tracks are");
    let (_dir, whole, _) = whole_of(&bytes);
    let whole = std::fs::read(whole).unwrap();
    assert_eq!((places(&whole, b"avc1").is_empty(), places(&whole, b"avc3").len()), (false, 0));
    let moov = scan_of(&bytes).unwrap().moov;
    let Some(Codec::Avc1(avc)) = moov.trak[0].mdia.minf.stbl.stsd.codecs.first() else { panic!("{moov:?}") };
    let [sequence] = avc.avcc.sequence_parameter_sets.as_slice() else { panic!("{avc:?}") };
    assert_eq!(sequence[0] & 0x1f, 7);
    assert_eq!(avc.avcc.picture_parameter_sets.len(), 1);
    assert_eq!([avc.avcc.avc_profile_indication, avc.avcc.avc_level_indication], [sequence[1], sequence[3]]);

    // The level of the last one: the track changed in the middle.
    let in_media = places(&bytes, sequence);
    assert!(in_media.len() >= 3, "{in_media:?}");
    bytes[in_media.last().unwrap() + 3] += 1;
    let (_dir, whole, _) = whole_of(&bytes);
    let whole = std::fs::read(whole).unwrap();
    assert_eq!(places(&whole, b"avc3").len(), 1);
    let moov = scan_of(&bytes).unwrap().moov;
    assert!(matches!(moov.trak[0].mdia.minf.stbl.stsd.codecs[..], [Codec::Avc3(_)]), "{moov:?}");
}

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

/// Every piece of media of the fragments that are complete in the first `cut` bytes must be found,
/// whole.
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
            assert!(scan.damage.is_none(), "cut at {cut}: {}", scan.damage);
            // And of what follows no more than is there.
            assert!(scan.pieces.iter().all(|piece| piece.offset + piece.len <= cut as u64), "cut at {cut}");
        }
        // Half a frame is kept.
        Err(ScanError::Empty | ScanError::Foreign(_)) => assert!(expected.is_empty(), "cut at {cut}"),
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
        // What is damaged is counted, or the file is refused: it is never taken for empty.
        prop_assert!(!matches!(scan_of(&bytes), Err(ScanError::Empty)));
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

/// Start and end of each fragment.
fn fragments() -> Vec<(usize, usize)> {
    let boxes = boxes(&RECORDED);
    boxes.windows(2).filter(|pair| pair[0].0 == *b"moof").map(|pair| (pair[0].1, pair[1].2)).collect()
}

/// The media of a scan, each piece as (offset, bytes).
fn pieces(scan: &Scan) -> Vec<(u64, u64)> {
    scan.pieces.iter().map(|piece| (piece.offset, piece.len)).collect()
}

static UNDAMAGED: LazyLock<Scan> = LazyLock::new(|| scan_of(&RECORDED).unwrap());

/// Asserts that everything outside of the damaged fragments is found, at its time, and that the
/// damage is reported.
fn check_damage(damaged: &[u8], from: usize, to: usize) {
    let (before, fragments) = (&*UNDAMAGED, fragments());
    let head = fragments[0].0;
    let touched = |piece: &scan::Piece| {
        fragments.iter().any(|(start, end)| {
            (*start as u64..*end as u64).contains(&piece.offset) && *start < to && from < *end
        })
    };
    match scan_of(damaged) {
        Ok(after) => {
            let found = pieces(&after);
            let is_less = after.pieces.len() < before.pieces.len();
            assert!(!is_less || !after.damage.is_none(), "{from}..{to}: nobody is told");
            if from < head {
                // It may be about a whole track.
                return;
            }
            for piece in &before.pieces {
                let is_there = found.contains(&(piece.offset, piece.len));
                assert!(is_there || touched(piece), "{from}..{to}: {piece:?} is lost");
            }
            // What follows is not moved, where enough follows to tell what is right.
            if to <= fragments[fragments.len() - 6].0 {
                for (before, after) in before.tracks.iter().zip(&after.tracks) {
                    assert_eq!(before.end(), after.end(), "{from}..{to}");
                }
            }
        }
        // Without its own header nothing of a movie can be read: all of it is kept.
        Err(ScanError::Foreign(_)) => assert!(from < head, "{from}..{to}: refused"),
        Err(error) => panic!("{from}..{to}: {error}"),
    }
}

#[test]
fn a_flipped_bit_of_any_header_loses_nothing_outside_of_its_fragment() {
    for (kind, start, end) in boxes(&RECORDED) {
        let header = if kind == *b"mdat" { start..start + 8 } else { start..end };
        for at in header {
            // All bits of what every box has, and some of the rest.
            let bits = if at < start + 16 { 0..8 } else { at % 8..at % 8 + usize::from(at % 3 == 0) };
            for bit in bits {
                let mut bytes = RECORDED.clone();
                bytes[at] ^= 1 << bit;
                check_damage(&bytes, at, at + 1);
            }
        }
    }
}

#[test]
fn a_movie_header_whose_first_bytes_are_damaged_is_still_read() {
    let (_, start, end) = boxes(&RECORDED).into_iter().find(|(kind, ..)| kind == b"moov").unwrap();
    for damage in [(0, 8), (start, start + 4), (start + 4, start + 8), (0, start + 8)] {
        let mut bytes = RECORDED.clone();
        bytes[damage.0..damage.1].fill(0);
        let scan = scan_of(&bytes).unwrap();
        assert_eq!(pieces(&scan), pieces(&UNDAMAGED), "{damage:?}");
        assert!(!scan.damage.is_none(), "{damage:?}");
    }
    // What is in it can't be guessed.
    let mut bytes = RECORDED.clone();
    bytes[start + 8..end].fill(0);
    assert!(matches!(scan_of(&bytes), Err(ScanError::Foreign(_))));
    bytes[..end].fill(0);
    assert!(matches!(scan_of(&bytes), Err(ScanError::Foreign(_))));
}

#[test]
fn zeros_behind_the_end_are_no_end() {
    let bytes = [RECORDED.as_slice(), &[0; 4096]].concat();
    let scan = scan_of(&bytes).unwrap();
    assert!(scan.damage.places == 1 && scan.damage.bytes >= 4096, "{}", scan.damage);
    assert_eq!(pieces(&scan), pieces(&UNDAMAGED));
}

#[test]
fn bytes_in_a_box_that_says_nothing_are_damage_and_not_passed_over() {
    let with_box = |kind: &[u8; 4], said: u32, content: &[u8]| {
        let head = [(said + 8).to_be_bytes(), *kind].concat();
        scan_of(&[RECORDED.as_slice(), &head, content].concat()).unwrap()
    };
    for kind in [b"free", b"skip", b"uuid", b"udta", b"meta", b"sidx", b"styp", b"mfra"] {
        // Also one that the file seems to be cut in.
        for said in [40_000, 50_000] {
            let scan = with_box(kind, said, &[0x55; 40_000]);
            let name = String::from_utf8_lossy(kind);
            assert!(scan.damage.bytes >= 40_000, "{name}, {said}: {}", scan.damage);
            assert_eq!(pieces(&scan), pieces(&UNDAMAGED), "{name}");
        }
    }
    // Free room, and a few words about the file.
    for said in [40_000, 50_000] {
        assert!(with_box(b"free", said, &[0; 40_000]).damage.is_none(), "{said}");
    }
    assert!(with_box(b"uuid", 4000, &[0x55; 4000]).damage.is_none());
    let index = [b"\0\0\x75\x30tfra".as_slice(), &[7; 29_992], b"\0\0\0\x10mfro", &[7; 8]].concat();
    assert!(with_box(b"mfra", 30_016, &index).damage.is_none());
}

#[test]
fn a_damaged_file_stays_beside_the_one_that_is_made_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (recorded, whole) = (dir.path().join("file-0.recording.mp4"), dir.path().join("file-0.mp4"));
    let mut bytes = RECORDED.clone();
    let (start, end) = fragments()[3];
    bytes[start..end].fill(0);
    std::fs::write(&recorded, &bytes).unwrap();
    let stop = CancellationToken::new();
    let made =
        crate::sink::finalize::finalize(crate::plan::codec::Container::Mp4, &recorded, &whole, None, &stop);
    let made = made.unwrap();
    let kept = made.kept.unwrap();
    assert_eq!(kept, dir.path().join("file-0.damaged.mp4"));
    assert_eq!(std::fs::read(&kept).unwrap(), bytes);
    assert!(made.damage.unwrap().contains(&format!("byte {start}")) && !recorded.exists());
    // A second one has another name.
    std::fs::write(&recorded, &bytes).unwrap();
    let again =
        crate::sink::finalize::finalize(crate::plan::codec::Container::Mp4, &recorded, &whole, None, &stop);
    assert_eq!(again.unwrap().kept.unwrap(), dir.path().join("file-0.damaged-2.mp4"));
}

proptest! {
    #[test]
    fn damage_anywhere_loses_nothing_outside_of_its_fragments(
        at in any::<prop::sample::Index>(),
        damage in prop::collection::vec(any::<u8>(), 1..6000),
        is_zeros in any::<bool>(),
    ) {
        let mut bytes = RECORDED.clone();
        let from = at.index(bytes.len());
        let to = (from + damage.len()).min(bytes.len());
        match is_zeros {
            true => bytes[from..to].fill(0),
            false => bytes[from..to].copy_from_slice(&damage[..to - from]),
        }
        check_damage(&bytes, from, to);
    }

    #[test]
    fn bytes_that_are_missing_or_too_many_lose_nothing_outside_of_their_fragments(
        at in any::<prop::sample::Index>(), len in 1usize..3000, is_missing in any::<bool>(),
    ) {
        let mut bytes = RECORDED.clone();
        let from = at.index(bytes.len());
        let fragments = fragments();
        match is_missing {
            true => drop(bytes.drain(from..(from + len).min(RECORDED.len()))),
            false => drop(bytes.splice(from..from, std::iter::repeat_n(0x55, len))),
        }
        let to = if is_missing { (from + len).min(RECORDED.len()) } else { from + 1 };
        let whole = |piece: &&scan::Piece| {
            let place = |(start, end): &&(usize, usize)| (*start as u64..*end as u64).contains(&piece.offset);
            let (start, end) = fragments.iter().find(place).unwrap();
            *end <= from || *start >= to
        };
        // Every fragment that is as it was is found, wherever it is now.
        let after = scan_of(&bytes);
        prop_assert!(after.is_ok() || from < fragments[0].0);
        if let Ok(after) = after && from >= fragments[0].0 {
            let found: Vec<u64> = pieces(&after).into_iter().map(|(_, len)| len).collect();
            for piece in UNDAMAGED.pieces.iter().filter(whole) {
                prop_assert!(found.contains(&piece.len), "{}: {:?} is lost", from, piece);
            }
        }
    }
}

fn whole_of(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf, Finalized) {
    let dir = tempfile::tempdir().unwrap();
    let (recorded, whole) = (dir.path().join("recorded.mp4"), dir.path().join("whole.mp4"));
    std::fs::write(&recorded, bytes).unwrap();
    let made = finalize(&recorded, &whole, None, &CancellationToken::new()).unwrap();
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
