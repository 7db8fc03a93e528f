//! Tests that measure segments with ffprobe and ffmpeg.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn segments_begin_with_key_frames_at_the_boundaries_and_are_as_long_as_told() {
    for rate in [Rate::Constant, Rate::AsDrawn] {
        let mut stage = Stage::new();
        let fed = Times::default();
        let _fed = stage.context.video.as_ref().unwrap().attach(Box::new(fed.clone()));
        record(&stage, &plan(true, Some(AudioCodec::Aac)), 13, rate).await;
        let artifacts = stage.artifacts();
        let root = stage.dir.path().join("stored");
        let versions = store(&artifacts, &root);

        let segments = segments(&artifacts);
        let starts: Vec<f64> = segments.iter().map(|(_, start, _)| *start).collect();
        assert_close(&starts, &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0], 1e-6);
        // A version for each segment, and the last one ended.
        assert_eq!(versions.iter().map(|v| v.segments.len()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        let event = versions.last().unwrap();
        assert!(event.end_list && versions[..6].iter().all(|version| !version.end_list));
        assert_eq!(event.playlist_type, Some(MediaPlaylistType::Event));
        assert_eq!((event.target_duration, event.segments[6].uri.as_str()), (2, "parts/talk_00006.ts"));

        let mut pictures = Vec::new();
        for (entry, (name, start, duration)) in event.segments.iter().zip(&segments) {
            assert_close(&[f64::from(entry.duration)], &[*duration], 0.001);
            let probe = Probe::of(&root.join(name));
            assert!(probe.packets["h264"][0].is_key, "{name:?}");
            let times = probe.times("h264");
            assert_close(&[times[0]], &[TS_START + start], 0.001);
            assert!(times.iter().all(|time| time - TS_START < start + duration - 0.001), "{name:?}");
            // Sound reaches to the end of the segment: its last piece ends within one piece of it.
            assert!(
                (probe.end("aac") - TS_START - start - duration).abs() < 0.05,
                "{name:?} {}",
                probe.end("aac")
            );
            pictures.extend(times.iter().map(|time| time - TS_START));
        }
        assert_close(&pictures, &fed.seconds(), 0.000_02);

        let dates: Vec<i64> =
            event.segments.iter().map(|s| s.program_date_time.unwrap().timestamp_millis()).collect();
        let zero = stage.context.timeline.wall(gst::ClockTime::ZERO).unwrap().as_millisecond();
        assert_eq!(dates, (0..7).map(|index| zero + 2000 * index).collect::<Vec<_>>());

        let live = std::fs::read(root.join("hls/live.m3u8")).unwrap();
        let live = m3u8_rs::parse_media_playlist_res(&live).unwrap();
        assert_eq!((live.media_sequence, live.segments.len(), live.end_list), (2, 5, true));

        // Read as one stream by a player: nothing to complain about, and all of it.
        let playlist = root.join("hls/talk.m3u8");
        let playlist = playlist.to_str().unwrap();
        output_of("ffmpeg", &["-v", "warning", "-i", playlist, "-map", "0", "-f", "null", "-"]);
        let together = Probe::of(std::path::Path::new(playlist));
        assert_eq!(together.packets["h264"].len(), pictures.len());
        let mut left =
            Vec::from_iter(std::fs::read_dir(stage.dir.path()).unwrap().map(|e| e.unwrap().file_name()));
        left.sort();
        assert_eq!(left, ["notes-1.jsonl", "stored"], "something was left behind");

        // Killed after all that, nothing would change.
        for playlist in rescued(stage.dir.path(), &root) {
            let stored = std::fs::read_to_string(root.join(&playlist.name)).unwrap();
            assert_eq!(std::fs::read_to_string(&playlist.local).unwrap(), stored);
        }
        stage.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_alone_and_pictures_alone() {
    for (has_video, audio) in [(false, Some(AudioCodec::Aac)), (true, None)] {
        let mut stage = Stage::new();
        record(&stage, &plan(has_video, audio), 5, Rate::Constant).await;
        stage.context.timeline.end();
        let artifacts = stage.artifacts();
        let root = stage.dir.path().join("stored");
        store(&artifacts, &root);
        let segments = segments(&artifacts);
        let starts: Vec<f64> = segments.iter().map(|(_, start, _)| *start).collect();
        assert_close(&starts, &[0.0, 2.0, 4.0], 0.022);
        let total: f64 = segments.iter().map(|(_, _, duration)| duration).sum();
        assert!(total > 4.95, "{total}");
        for (name, ..) in &segments {
            assert!(Probe::of(&root.join(name)).packets.values().all(|packets| packets.len() > 10));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_playlist_with_the_segments_that_are_whole() {
    let disk = SmallDisk::new(600);
    let mut stage = Stage::new();
    stage.context.dir = disk.path().to_owned();
    let sink = SegmentsSink::open(OutputId(1), &plan(true, None), &stage.context).unwrap();
    play_video(&stage.context, 60, Rate::Constant, After::End).await;
    sink.finish(SOON).await.unwrap();
    let (mut artifacts, mut failures) = (Vec::new(), 0);
    while let Ok(event) = stage.events.try_recv() {
        match event {
            SinkEvent::Artifact(artifact) => artifacts.push(artifact),
            SinkEvent::Failed { error: SinkError::NoSpaceLeft { .. }, .. } => failures += 1,
            SinkEvent::Growing(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(failures, 1);
    let versions = store(&artifacts, &disk.path().join("stored"));
    let last = versions.last().unwrap();
    assert!(last.end_list && last.segments.len() >= 2, "{last:?}");
    assert_eq!(last.segments.len(), segments(&artifacts).len());
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_segments_leave_what_was_finished() {
    let mut stage = Stage::new();
    let sink = SegmentsSink::open(OutputId(1), &plan(true, None), &stage.context).unwrap();
    play_video(&stage.context, 5, Rate::Constant, After::Nothing).await;
    let first = async {
        loop {
            match stage.events.recv().await.unwrap() {
                SinkEvent::Artifact(Artifact { kind: ArtifactKind::Playlist, .. }) => break,
                _ => continue,
            }
        }
    };
    tokio::time::timeout(SOON, first).await.unwrap();
    drop(sink);
    stage.is_clean().await;
    let dir = stage.dir.path();
    assert!(dir.join("segment-1-000000.ts").exists());

    // What was being written becomes the last segment; interrupted and called again, it comes to
    // the same.
    let part = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let part = part.into_iter().find(|path| path.extension().is_some_and(|e| e == "part")).unwrap();
    let bytes = std::fs::metadata(&part).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&part).unwrap().set_len(bytes - 50).unwrap();
    let left = rescued(dir, &dir.join("stored"));
    assert_eq!(rescued(dir, &dir.join("stored")), left);
    let (playlists, segments): (Vec<_>, Vec<_>) = left.iter().partition(|left| left.name.ends_with(".m3u8"));
    let event = std::fs::read(&playlists[0].local).unwrap();
    let event = m3u8_rs::parse_media_playlist_res(&event).unwrap();
    assert!(event.end_list && event.segments.len() == segments.len() && segments.len() >= 2);
    for (entry, segment) in event.segments.iter().zip(&segments) {
        assert_eq!(segment.name, format!("hls/{}", entry.uri));
        output_of("ffmpeg", &["-v", "warning", "-i", segment.local.to_str().unwrap(), "-f", "null", "-"]);
        let times = Probe::of(&segment.local).times("h264");
        let shown = times[times.len() - 1] - times[0];
        assert!((shown - f64::from(entry.duration)).abs() < 0.05, "{shown} s, {} s told", entry.duration);
    }
}
