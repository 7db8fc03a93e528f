mod with_processes;

use super::*;
use crate::plan::codec::AudioCodec;
use crate::plan::output::{ManifestPolicy, NameOrigin};
use crate::plan::storage::{Storage, StoragePath};
use crate::sink::synthetic::{
    After, Probe, Rate, SOON, SmallDisk, Stage, Times, assert_close, decodes, output_of, play_audio,
    play_video, plays,
};

/// Half a tick of 90 kHz, and what ffprobe rounds to.
const TICK: f64 = 0.000_02;

fn plan(container: Container, has_video: bool, audio: Option<AudioCodec>) -> FilePlan {
    let name = StoragePath::new(format!("talks/today{}", row(container).extension));
    FilePlan {
        container,
        has_video,
        audio,
        pass_through: None,
        name,
        named: NameOrigin::Given,
        storage: Storage::local(),
        manifest: ManifestPolicy::OnlyWithBackup,
    }
}

async fn record(stage: &Stage, plan: &FilePlan, seconds: u64, rate: Rate) {
    let sink = FileSink::open(OutputId(0), plan, &stage.context).unwrap();
    feed(&stage.context, plan, seconds, rate, After::End).await;
    sink.finish(SOON).await.unwrap();
}

async fn feed(context: &SinkContext, plan: &FilePlan, seconds: u64, rate: Rate, after: After) {
    let video = async {
        if plan.has_video {
            play_video(context, seconds, rate, after).await;
        }
    };
    let audio = async {
        if let Some(codec) = plan.audio {
            play_audio(context, codec, seconds, after).await;
        }
    };
    tokio::join!(video, audio);
}

/// The kinds of the boxes at the top of an MP4.
fn boxes(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let (mut kinds, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        kinds.push(String::from_utf8_lossy(&bytes[at + 4..at + 8]).into_owned());
        at += usize::try_from(u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap();
    }
    kinds
}

/// Every packet's stream, times, size and hash of its content, sorted by stream: two files may
/// interleave differently.
fn packets(path: &Path) -> Vec<String> {
    let arguments =
        ["-v", "error", "-i", path.to_str().unwrap(), "-map", "0", "-c", "copy", "-f", "framehash", "-"];
    let text = String::from_utf8(output_of("ffmpeg", &arguments)).unwrap();
    let fields =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(',').collect::<Vec<_>>());
    let mut lines: Vec<String> = fields
        .map(|mut fields| {
            // What a fragment tells of the duration of its last packet is a guess.
            fields.remove(3);
            fields.concat()
        })
        .collect();
    lines.sort_by_key(|line| line.as_bytes()[0]);
    lines
}

#[test]
fn every_container_can_be_written() {
    for row in CONTAINERS {
        assert_eq!(muxing(row.container).container, row.container);
        assert!(row.video.is_empty() || muxing(row.container).video.is_some());
    }
}

/// How much of ten seconds is in the file when the recorder dies after they were handed over.
async fn left_when_killed(plan: &FilePlan) -> (f64, Finalized, Stage) {
    let stage = Stage::new();
    let sink = FileSink::open(OutputId(0), plan, &stage.context).unwrap();
    feed(&stage.context, plan, 10, Rate::Constant, After::Nothing).await;
    let paths = sink.paths.clone();
    // Threads of the pipeline write it: wait until enough of it could be recovered.
    let dir = tempfile::tempdir().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let enough = async {
        let (copy, whole) = (dir.path().join("copy"), dir.path().join("whole"));
        loop {
            std::fs::copy(&paths.recorded, &copy).unwrap();
            if finalize::finalize(plan.container, &copy, &whole, None, &stop).is_ok()
                && Probe::of(&whole).duration.is_some_and(|seconds| seconds >= 8.0)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, enough).await.expect("less than eight seconds of ten were written");
    drop(sink);
    stage.is_clean().await;
    let whole = finalize::finalize(plan.container, &paths.recorded, &paths.whole, None, &stop).unwrap();
    plays(&paths.whole);
    (Probe::of(&paths.whole).duration.unwrap(), whole, stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_file_stays_as_it_is_and_nothing_runs_on() {
    let mut stage = Stage::new();
    let plan = plan(Container::Mp4, true, Some(AudioCodec::Aac));
    let sink = FileSink::open(OutputId(0), &plan, &stage.context).unwrap();
    let paths = sink.paths.clone();
    drop(sink);
    stage.is_clean().await;
    assert!(paths.recorded.exists() && !paths.whole.exists());
    assert!(stage.artifacts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_said_at_once() {
    let mut stage = Stage::new();
    stage.context.dir = stage.dir.path().join("gone");
    let plan = plan(Container::Mp4, true, None);
    let refused = FileSink::open(OutputId(0), &plan, &stage.context).unwrap_err();
    assert!(refused.to_string().contains("gone"), "{refused}");
}
