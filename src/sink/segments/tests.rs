mod with_processes;

use std::path::{Path, PathBuf};

use m3u8_rs::{MediaPlaylist, MediaPlaylistType};

use super::*;
use crate::plan::codec::AudioCodec;
use crate::plan::output::{ManifestPolicy, NameOrigin, SegmentSuffix};
use crate::plan::storage::Storage;
use crate::sink::synthetic::{
    After, Probe, Rate, SOON, SmallDisk, Stage, Times, assert_close, output_of, play_audio, play_video,
};
use crate::sink::{Artifact, ArtifactKind, SinkEvent};

/// The muxer's clock begins at an hour.
const TS_START: f64 = 3600.0;

fn plan(has_video: bool, audio: Option<AudioCodec>) -> SegmentsPlan {
    SegmentsPlan {
        has_video,
        audio,
        dir: "hls/".to_owned(),
        playlist: "talk.m3u8".to_owned(),
        live_playlist: Some("live.m3u8".to_owned()),
        prefix: "parts/talk".to_owned(),
        suffix: SegmentSuffix::Index,
        duration: Duration::from_secs(2),
        named: NameOrigin::Given,
        storage: Storage::local(),
        manifest: ManifestPolicy::OnlyWithBackup,
    }
}

/// The files that a recovery would still upload, if all of them belonged below `root`.
fn rescued(dir: &Path, root: &Path) -> Vec<crate::sink::Leftover> {
    let plan = plan(true, None);
    let stored = |name: &str| Some(root.join(name)).filter(|path| path.exists());
    let places = Places {
        is_stored: &|name| stored(name).is_some(),
        may_be_stored: false,
        stored: &stored,
        dir: &plan.dir,
        playlist: &plan.playlist,
        live_playlist: plan.live_playlist.as_deref(),
        duration: plan.duration,
    };
    recover(dir, OutputId(1), &places, &mut |name, damage, _| panic!("{name}: {damage}")).unwrap().left
}

async fn record(stage: &Stage, plan: &SegmentsPlan, seconds: u64, rate: Rate) {
    let sink = SegmentsSink::open(OutputId(1), plan, &stage.context).unwrap();
    let video = async {
        if plan.has_video {
            play_video(&stage.context, seconds, rate, After::End).await;
        }
    };
    let audio = async {
        if let Some(codec) = plan.audio {
            play_audio(&stage.context, codec, seconds, After::End).await;
        }
    };
    tokio::join!(video, audio);
    sink.finish(SOON).await.unwrap();
}

/// Puts artifacts where they belong, in the order of their events, and checks at each playlist that
/// what it names is there.
fn store(artifacts: &[Artifact], root: &std::path::Path) -> Vec<MediaPlaylist> {
    let mut versions = Vec::new();
    for artifact in artifacts {
        assert_eq!(artifact.local.metadata().unwrap().len(), artifact.size);
        let place = root.join(&artifact.name);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::rename(&artifact.local, &place).unwrap();
        if artifact.kind == ArtifactKind::Playlist {
            let playlist = m3u8_rs::parse_media_playlist_res(&std::fs::read(&place).unwrap()).unwrap();
            for segment in &playlist.segments {
                assert!(place.with_file_name(&segment.uri).exists(), "{}", segment.uri);
            }
            if artifact.name == "hls/talk.m3u8" {
                versions.push(playlist);
            }
        }
    }
    versions
}

fn segments(artifacts: &[Artifact]) -> Vec<(PathBuf, f64, f64)> {
    artifacts
        .iter()
        .filter_map(|artifact| match artifact.kind {
            ArtifactKind::Segment { start, duration, .. } => {
                Some((PathBuf::from(&artifact.name), start.as_secs_f64(), duration.as_secs_f64()))
            }
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_that_the_segments_make_has_no_gap_in_its_counters() {
    let mut stage = Stage::new();
    record(&stage, &plan(true, Some(AudioCodec::Aac)), 7, Rate::Constant).await;
    let mut counters = std::collections::BTreeMap::new();
    let mut tables = 0;
    for artifact in stage.artifacts().iter().filter(|a| matches!(a.kind, ArtifactKind::Segment { .. })) {
        let bytes = std::fs::read(&artifact.local).unwrap();
        let pid = |packet: &[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        assert_eq!(bytes.len() % 188, 0);
        assert_eq!((pid(&bytes), pid(&bytes[188..])), (0, 32), "tables first");
        let mut repeated = std::collections::BTreeSet::new();
        for packet in bytes.chunks_exact(188) {
            let (pid, counter) = (pid(packet), packet[3] & 0xf);
            if packet[3] & 0x10 == 0 {
                continue;
            }
            if let Some(last) = counters.insert(pid, counter) {
                // A duplicate may be sent once.
                let is_duplicate = last == counter && repeated.insert(pid);
                tables += u32::from(is_duplicate);
                assert!(is_duplicate || (last + 1) % 16 == counter, "pid {pid}: {last}, then {counter}");
            }
        }
    }
    assert!(tables > 0, "no table was repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamp_names_agree_with_the_dates() {
    let mut stage = Stage::new();
    let plan = SegmentsPlan { suffix: SegmentSuffix::Timestamp, live_playlist: None, ..plan(true, None) };
    record(&stage, &plan, 3, Rate::Constant).await;
    let artifacts = stage.artifacts();
    let names: Vec<_> = segments(&artifacts).into_iter().map(|(name, ..)| name).collect();
    let date = |seconds| {
        let date = stage.context.timeline.wall(gst::ClockTime::from_seconds(seconds)).unwrap();
        PathBuf::from(format!("hls/parts/talk_{}.ts", crate::sink::timestamp::timestamp(date)))
    };
    assert_eq!(names, [date(0), date(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_can_not_be_written_is_told_once() {
    let mut stage = Stage::new();
    stage.context.dir = stage.dir.path().join("gone");
    let sink = SegmentsSink::open(OutputId(1), &plan(true, None), &stage.context).unwrap();
    play_video(&stage.context, 3, Rate::Constant, After::End).await;
    // Nor could its playlists be ended, which is another matter.
    sink.finish(SOON).await.unwrap_err();
    let events: Vec<_> = std::iter::from_fn(|| stage.events.try_recv().ok()).collect();
    let [SinkEvent::Failed { output: OutputId(1), error: SinkError::Io { .. } }] = events.as_slice() else {
        panic!("{events:?}")
    };
    stage.is_clean().await;
}
