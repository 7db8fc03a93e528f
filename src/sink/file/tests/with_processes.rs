//! Tests that measure files with ffprobe and ffmpeg.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_mp4_has_its_index_first_and_every_frame_at_its_time() {
    for rate in [Rate::Constant, Rate::AsDrawn] {
        let mut stage = Stage::new();
        let fed = Times::default();
        let _fed = stage.context.video.as_ref().unwrap().attach(Box::new(fed.clone()));
        record(&stage, &plan(Container::Mp4, true, Some(AudioCodec::Aac)), 10, rate).await;

        let artifacts = stage.artifacts();
        let [artifact] = artifacts.as_slice() else { panic!("{artifacts:?}") };
        assert_eq!(artifact.name.as_str(), "talks/today.mp4");
        assert_eq!(artifact.size, artifact.local.metadata().unwrap().len());
        assert_eq!(boxes(&artifact.local), ["ftyp", "moov", "mdat"]);

        let probe = Probe::of(&artifact.local);
        assert_close(&probe.times("h264"), &fed.seconds(), TICK);
        assert_close(&[probe.packets["aac"][0].pts], &[0.0], TICK);
        assert_close(&[probe.end("h264")], &[probe.end("aac")], 0.001);
        assert_close(&[probe.duration.unwrap()], &[10.0], 0.05);
        let keys: Vec<f64> = probe.packets["h264"].iter().filter(|p| p.is_key).map(|p| p.pts).collect();
        assert_close(&keys, &(0..10).map(f64::from).collect::<Vec<_>>(), TICK);
        plays(&artifact.local);
        let left: Vec<_> = std::fs::read_dir(stage.dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        stage.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_medium_that_begins_late_stays_in_its_place() {
    // Audio from the beginning, and video whose first frame comes at 0.5 s.
    let mut stage = Stage::new();
    let source = stage.context.clone();
    let late = crate::media::Feed::new("late");
    stage.context.video = Some(late.clone());
    struct Later(crate::media::Feed);
    impl FeedConsumer for Later {
        fn take(&mut self, sample: &gst::Sample) {
            let mut buffer = sample.buffer_owned().unwrap();
            let half = gst::ClockTime::from_mseconds(500);
            let (pts, dts) = (buffer.pts().map(|at| at + half), buffer.dts().map(|at| at + half));
            buffer.make_mut().set_pts(pts);
            buffer.make_mut().set_dts(dts);
            let caps = sample.caps_owned().unwrap();
            self.0.push(&gst::Sample::builder().buffer(&buffer).caps(&caps).build());
        }
        fn end(&mut self) {
            self.0.end();
        }
    }
    let _later = source.video.as_ref().unwrap().attach(Box::new(Later(late)));
    let plan = plan(Container::Mp4, true, Some(AudioCodec::Aac));
    let sink = FileSink::open(OutputId(0), &plan, &stage.context).unwrap();
    feed(&source, &plan, 3, Rate::Constant, After::End).await;
    sink.finish(SOON).await.unwrap();

    let probe = Probe::of(&stage.artifacts()[0].local);
    let times = probe.times("h264");
    // The first frame is visible from the beginning; the second one has its time.
    assert_close(&times[..3], &[0.0, 0.5 + 1.0 / 30.0, 0.5 + 2.0 / 30.0], TICK);
    assert_close(&[probe.end("h264")], &[3.5], 0.001);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fragments_and_the_whole_hold_the_same_packets_at_the_same_times() {
    let mut stage = Stage::new();
    let plan = plan(Container::Mp4, true, Some(AudioCodec::Aac));
    let mut sink = FileSink::open(OutputId(0), &plan, &stage.context).unwrap();
    feed(&stage.context, &plan, 6, Rate::AsDrawn, After::End).await;
    assert_eq!(sink.run.ended(SOON).await.unwrap(), Ended::Complete);
    let fragments = stage.dir.path().join("fragments.mp4");
    std::fs::copy(&sink.paths.recorded, &fragments).unwrap();
    let whole = sink.finalize().await.unwrap();
    assert_eq!((whole.layout, whole.was_cut, &whole.damage), (Layout::Ordinary, false, &None));

    let (before, after) = (packets(&fragments), packets(&sink.paths.whole));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    let (before, after) = (Probe::of(&fragments), Probe::of(&sink.paths.whole));
    assert_eq!(before.parameters, after.parameters);
    assert!(stage.artifacts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_alone_in_every_container_that_takes_it() {
    let all = [
        (Container::Mp4, AudioCodec::Aac, "aac"),
        (Container::Mp4, AudioCodec::Opus, "opus"),
        (Container::Ogg, AudioCodec::Opus, "opus"),
        (Container::Mp3, AudioCodec::Mp3, "mp3"),
    ];
    for (container, codec, name) in all {
        let mut stage = Stage::new();
        record(&stage, &plan(container, false, Some(codec)), 5, Rate::Constant).await;
        let artifact = stage.artifacts().remove(0);
        let probe = Probe::of(&artifact.local);
        assert_eq!(probe.packets.keys().collect::<Vec<_>>(), [name]);
        assert_close(&[probe.duration.unwrap()], &[5.0], 0.1);
        plays(&artifact.local);
        assert!(!artifact.local.with_extension("recording").exists());
        stage.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_alone_last_until_the_recording_ends() {
    let mut stage = Stage::new();
    let plan = plan(Container::Mp4, true, None);
    let sink = FileSink::open(OutputId(0), &plan, &stage.context).unwrap();
    feed(&stage.context, &plan, 1, Rate::Constant, After::End).await;
    // On the recording's clock, which runs on real time here, more than this second may have
    // passed.
    let least = 1.0f64.max(stage.context.timeline.end().mseconds() as f64 / 1000.0);
    sink.finish(SOON).await.unwrap();
    let probe = Probe::of(&stage.artifacts()[0].local);
    assert_close(&[probe.end("h264")], &[least], 0.002);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_recording_loses_no_more_than_its_last_two_seconds() {
    let all = [
        plan(Container::Mp4, true, Some(AudioCodec::Aac)),
        plan(Container::Mp4, false, Some(AudioCodec::Aac)),
        plan(Container::Ogg, false, Some(AudioCodec::Opus)),
        plan(Container::Mp3, false, Some(AudioCodec::Mp3)),
    ];
    for plan in all {
        let (left, whole, stage) = left_when_killed(&plan).await;
        assert!((8.0..=10.1).contains(&left), "{:?}: {left} s left of 10", plan.container);
        assert_eq!((whole.layout, &whole.damage), (Layout::Ordinary, &None), "{:?}", plan.container);
        assert_eq!(
            stage
                .dir
                .path()
                .read_dir()
                .unwrap()
                .filter(|file| { file.as_ref().unwrap().path().to_string_lossy().ends_with(".part") })
                .count(),
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_file_with_what_it_holds() {
    let all = [
        plan(Container::Mp4, true, Some(AudioCodec::Aac)),
        plan(Container::Ogg, false, Some(AudioCodec::Opus)),
        plan(Container::Mp3, false, Some(AudioCodec::Mp3)),
    ];
    for plan in all {
        let disk = SmallDisk::new(300);
        let mut stage = Stage::new();
        stage.context.dir = disk.path().to_owned();
        let sink = FileSink::open(OutputId(3), &plan, &stage.context).unwrap();
        feed(&stage.context, &plan, 60, Rate::Constant, After::End).await;
        sink.finish(SOON).await.unwrap();

        let events = std::iter::from_fn(|| stage.events.try_recv().ok());
        let events: Vec<_> = events.filter(|event| !matches!(event, SinkEvent::Growing(_))).collect();
        let [SinkEvent::Failed { output: OutputId(3), error }, SinkEvent::Artifact(artifact)] =
            events.as_slice()
        else {
            panic!("{events:?}")
        };
        assert!(matches!(error, SinkError::NoSpaceLeft { .. }), "{error:?}");
        let length = Probe::of(&artifact.local).duration.unwrap();
        assert!(length > 5.0, "{:?}: {length} s on 300 kB", plan.container);
        if plan.container == Container::Mp3 {
            // Whether the count of its frames was still written is chance: without it a player
            // guesses the length, and says so.
            decodes(&artifact.local);
        } else {
            plays(&artifact.local);
        }
        stage.is_clean().await;
    }
}
