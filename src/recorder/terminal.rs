//! Terminal output of a recording: a live line on a terminal, log lines elsewhere, and the results
//! at the end.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use livekit_protocol::EgressInfo;

use crate::plan::RecordingPlan;
use crate::recording::lifecycle::State;
use crate::recording::progress::{OutputProgress, OutputState};
use crate::recording::{Ended, Progress, Reporter};
use crate::upload::{PatienceLeft, UploadProgress};

/// How a recording is shown while it runs.
#[derive(Debug, Clone)]
pub enum Display {
    /// One line that changes, drawn by this.
    Line(ProgressBar),
    /// Nothing but what is logged.
    Logs,
}

impl Display {
    /// A live line on stderr.
    #[must_use]
    pub fn line() -> Self {
        Self::Line(ProgressBar::new_spinner())
    }

    /// The live line that logs must not overwrite; hidden without a terminal.
    #[must_use]
    pub fn bar(&self) -> ProgressBar {
        match self {
            Self::Line(bar) => bar.clone(),
            Self::Logs => ProgressBar::hidden(),
        }
    }

    /// Begins to show a recording; the line goes away when what this gives is dropped.
    #[must_use]
    pub fn start(&self, plan: &RecordingPlan) -> Box<dyn Reporter> {
        match self {
            Self::Line(bar) => Box::new(Line::new(bar.clone(), plan)),
            Self::Logs => Box::new(Logs),
        }
    }
}

/// The live line.
struct Line {
    bar: ProgressBar,
    has_video: bool,
    rate: Rate,
}

impl Line {
    fn new(bar: ProgressBar, plan: &RecordingPlan) -> Self {
        // The template is a constant that parses; the default would show all the same.
        if let Ok(style) = ProgressStyle::with_template("{spinner:.red} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_message("starting");
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, has_video: plan.video.is_some(), rate: Rate::default() }
    }
}

impl Reporter for Line {
    fn changed(&mut self, _: &EgressInfo) {}

    fn progress(&mut self, progress: &Progress) {
        let fps = self.rate.update(Instant::now(), progress.pictures);
        self.bar.set_message(line(progress, self.has_video, fps));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Everything that happens is logged where it happens.
struct Logs;

impl Reporter for Logs {
    fn changed(&mut self, _: &EgressInfo) {}
    fn progress(&mut self, _: &Progress) {}
}

/// Different frames per second over the last two seconds.
#[derive(Default)]
struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn update(&mut self, now: Instant, pictures: u64) -> f64 {
        self.seen.push_back((now, pictures));
        while self.seen.len() > 2
            && self.seen.front().is_some_and(|(at, _)| now.duration_since(*at).as_secs_f64() > 2.5)
        {
            self.seen.pop_front();
        }
        let Some((from, before)) = self.seen.front() else { return 0.0 };
        let seconds = now.duration_since(*from).as_secs_f64();
        if seconds <= 0.0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "frames of two seconds")]
        let rate = pictures.saturating_sub(*before) as f64 / seconds;
        rate
    }
}

fn line(progress: &Progress, has_video: bool, fps: f64) -> String {
    let mut parts = vec![format!("{} {}", state_name(progress.state), clock(progress.elapsed))];
    if has_video {
        parts.push(format!("{} frames, {fps:.1} fps", progress.pictures));
        parts.push(format!("{} dropped", progress.dropped));
    }
    parts.push(HumanBytes(progress.size).to_string());
    parts.push(progress.outputs.iter().map(output_text).collect::<Vec<_>>().join("  "));
    parts.extend(patience_text(progress));
    parts.join(" · ")
}

fn output_text(output: &OutputProgress) -> String {
    let mark = match output.state {
        OutputState::Waiting => "…",
        OutputState::Running => "▶",
        OutputState::Retrying => "↻",
        OutputState::Failed => "✗",
        OutputState::Done => "✓",
    };
    format!("{mark} {}{}", output.label, output.upload.as_ref().map_or_else(String::new, upload_text))
}

/// Pending uploads of an output: `⇡ 43 %` of one file, `⇡ 3 files, 5.2 MiB` waiting. Empty if
/// everything is uploaded.
fn upload_text(upload: &UploadProgress) -> String {
    match upload {
        UploadProgress { waiting: 0, .. } => String::new(),
        UploadProgress { waiting: 1, total, sent, is_away: false, .. } if *total > 0 => {
            format!(" ⇡ {} %", (sent.saturating_mul(100) / total).min(100))
        }
        UploadProgress { waiting, waiting_bytes, .. } => {
            let files = if *waiting == 1 { "file" } else { "files" };
            format!(" ⇡ {waiting} {files}, {}", HumanBytes(*waiting_bytes))
        }
    }
}

/// Reason and remaining time of the wait at the end: of several outputs, the longest.
fn patience_text(progress: &Progress) -> Option<String> {
    let waiting = progress.outputs.iter().filter_map(|output| output.upload?.patience);
    let PatienceLeft { trouble, left } = waiting.max_by_key(|waiting| waiting.left)?;
    Some(format!("upload: {trouble}, trying again for {} s", left.as_secs_f64().ceil()))
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Preparing { loaded: false } => "starting",
        State::Preparing { loaded: true } => "waiting for START_RECORDING",
        State::Active => "recording",
        State::Draining => "finishing",
        State::Storing => "storing",
        State::Ended => "ended",
    }
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

/// Prints where each result is, and what went wrong. With `json` exactly the `EgressInfo`, as
/// protobuf JSON.
///
/// # Errors
/// When there is nobody to print to.
pub fn print_result(ended: &Ended, json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        let text = serde_json::to_string(&ended.info).map_err(std::io::Error::other)?;
        return writeln!(out, "{text}");
    }
    let info = &ended.info;
    for file in info.file_results.iter().filter(|file| !file.location.is_empty()) {
        let size = HumanBytes(u64::try_from(file.size).unwrap_or_default());
        writeln!(out, "{}  {}  {size}", file.location, length(file.duration))?;
    }
    for segments in &info.segment_results {
        for playlist in [&segments.playlist_location, &segments.live_playlist_location] {
            if !playlist.is_empty() {
                writeln!(
                    out,
                    "{playlist}  {}  {} segments",
                    length(segments.duration),
                    segments.segment_count
                )?;
            }
        }
    }
    for images in info.image_results.iter().filter(|images| images.image_count > 0) {
        writeln!(out, "{}*.jpeg  {} images", images.filename_prefix, images.image_count)?;
    }
    for stream in &info.stream_results {
        let retries =
            if stream.retries > 0 { format!("  {} retries", stream.retries) } else { String::new() };
        let error =
            if stream.error.is_empty() { String::new() } else { format!("  failed: {}", stream.error) };
        writeln!(out, "{}  {}{retries}{error}", stream.url, length(stream.duration))?;
    }
    if let Some(kept) = &ended.kept {
        writeln!(out, "kept: {}", kept.display())?;
    }
    Ok(())
}

fn length(nanoseconds: i64) -> String {
    clock(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::output::OutputId;
    use crate::upload::Trouble;

    #[test]
    fn the_line_says_it_all() {
        let progress = Progress {
            state: State::Active,
            elapsed: Duration::from_secs(3725),
            pictures: 300,
            dropped: 2,
            audio_lead: Some(0.1),
            size: 1_500_000,
            stored: 0,
            outputs: vec![
                OutputProgress {
                    output: OutputId(0),
                    label: "a.mp4".into(),
                    state: OutputState::Running,
                    is_segments: false,
                    upload: Some(UploadProgress::default()),
                },
                OutputProgress {
                    output: OutputId(1),
                    label: "rtmp://h/app/{...}".into(),
                    state: OutputState::Retrying,
                    is_segments: false,
                    upload: None,
                },
            ],
        };
        assert_eq!(
            line(&progress, true, 29.96),
            "recording 1:02:05 · 300 frames, 30.0 fps · 2 dropped · 1.43 MiB · ▶ a.mp4  ↻ rtmp://h/app/{...}"
        );
    }

    #[test]
    fn the_end_says_what_it_waits_for_and_how_long() {
        let output = |patience| OutputProgress {
            output: OutputId(0),
            label: "a.mp4".into(),
            state: OutputState::Retrying,
            is_segments: false,
            upload: Some(UploadProgress { waiting: 1, is_away: true, patience, ..UploadProgress::default() }),
        };
        let left = |seconds: u64, trouble| {
            Some(PatienceLeft { trouble, left: Duration::from_millis(seconds * 1000 - 300) })
        };
        let progress = |outputs| Progress {
            state: State::Storing,
            elapsed: Duration::from_secs(5),
            pictures: 0,
            dropped: 0,
            audio_lead: None,
            size: 0,
            stored: 0,
            outputs,
        };
        let said = line(
            &progress(vec![output(left(9, Trouble::Silent)), output(left(41, Trouble::Answers(503)))]),
            false,
            0.0,
        );
        assert!(said.ends_with(" · upload: storage answers 503, trying again for 41 s"), "{said}");
        let said = line(&progress(vec![output(None)]), false, 0.0);
        assert!(!said.contains("upload:"), "{said}");
    }

    #[test]
    fn what_is_on_its_way_is_shown() {
        let (none, one) =
            (UploadProgress::default(), UploadProgress { waiting: 1, ..UploadProgress::default() });
        let half = UploadProgress { total: 2000, sent: 870, ..one };
        let many = UploadProgress { waiting: 3, waiting_bytes: 5 << 20, ..half };
        let away = UploadProgress { is_away: true, waiting_bytes: 5 << 20, ..half };
        let texts = [none, half, many, away].map(|progress| upload_text(&progress));
        assert_eq!(texts, ["", " ⇡ 43 %", " ⇡ 3 files, 5.00 MiB", " ⇡ 1 file, 5.00 MiB"]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.update(start, 0), 0.0);
        for step in 1..=20u32 {
            rate.update(start + Duration::from_millis(500) * step, u64::from(step) * 15);
        }
        let now = rate.update(start + Duration::from_millis(10_500), 315);
        assert!((now - 30.0).abs() < 0.01, "{now}");
    }
}
