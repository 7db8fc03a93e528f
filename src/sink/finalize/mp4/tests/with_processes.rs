//! Tests that measure files with ffprobe and ffmpeg.

use super::*;

#[test]
fn a_file_cut_in_its_middle_plays_without_a_complaint() {
    let len = RECORDED.len();
    for cut in [len / 5, len / 3, len / 2, len * 3 / 4, len - 1] {
        let (_dir, whole, made) = whole_of(&RECORDED[..cut]);
        assert!(made.was_cut, "cut at {cut}");
        plays(&whole);
        let scan = scan_of(&RECORDED[..cut]).unwrap();
        let probe = Probe::of(&whole);
        let duration = probe.duration.unwrap();
        assert_close(&[duration], &[made.duration.unwrap().as_secs_f64()], 0.001);
        let found: usize = probe.packets.values().map(Vec::len).sum();
        let expected: u32 = scan.tracks.iter().map(tables::Tables::count).sum();
        assert_eq!(found, expected as usize, "cut at {cut}");
    }
}

#[test]
fn a_track_that_begins_late_is_given_an_edit() {
    // The same recording, its pictures half a second later.
    let mut moved = Vec::new();
    for (kind, start, end) in boxes(&RECORDED) {
        let mut bytes = &RECORDED[start..end];
        if kind != *Moof::KIND.as_ref() {
            moved.extend_from_slice(bytes);
            continue;
        }
        let mut moof = Moof::decode(&mut bytes).unwrap();
        let mut encoded = Vec::new();
        moof.encode(&mut encoded).unwrap();
        let grown = i32::try_from(encoded.len()).unwrap() - i32::try_from(end - start).unwrap();
        for traf in &mut moof.traf {
            if traf.tfhd.track_id == 1 {
                // 3000 ticks a second: what the muxer takes for 30 pictures.
                traf.tfdt.as_mut().unwrap().base_media_decode_time += 1500;
            }
            traf.trun[0].data_offset = traf.trun[0].data_offset.map(|offset| offset + grown);
        }
        moof.encode(&mut moved).unwrap();
    }
    let (before, after) = (whole_of(&RECORDED), whole_of(&moved));
    let (before, after) = (Probe::of(&before.1), Probe::of(&after.1));
    let later: Vec<f64> = before.times("h264").iter().map(|time| time + 0.5).collect();
    assert_close(&after.times("h264"), &later, 0.001);
    assert_close(&after.times("aac"), &before.times("aac"), 0.001);
}
