//! Writes segments and playlists, on a thread that may wait for the disk.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::mpsc;

use super::part_of;
use super::recovery::cut_to_complete;
use super::reserve::Reserve;
use super::segmenter::Segmenter;
use super::tables::Tables;
use crate::media::Timeline;
use crate::plan::output::{OutputId, SegmentSuffix, SegmentsPlan};
use crate::sink::playlist::{Playlist, PlaylistKind, State};
use crate::sink::segment_journal::{self, Note, SegmentJournal};
use crate::sink::sink_pipeline::{Failure, Outcome};
use crate::sink::timestamp::timestamp;
use crate::sink::{Artifact, ArtifactKind, FileHead, GrowingFile, SinkError, SinkEvent};

pub(super) struct Writer {
    pub(super) output: OutputId,
    pub(super) plan: SegmentsPlan,
    pub(super) dir: PathBuf,
    pub(super) timeline: Timeline,
    pub(super) events: mpsc::UnboundedSender<SinkEvent>,
    pub(super) failure: Failure,
    /// Media time at which the last sample of any medium ends, in nanoseconds.
    pub(super) media_end: Arc<AtomicU64>,
}

/// Something that could not be written.
struct WriteError {
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { action, path, source }
}

impl Writer {
    /// Writes until the stream ends or its channel is closed.
    ///
    /// # Errors
    /// When it failed, and then could not end its playlists either. The failure itself is reported.
    pub(super) fn run(self, mut receiver: mpsc::Receiver<Outcome>) -> Result<(), SinkError> {
        let mut work = Work::new(&self);
        while let Some(outcome) = receiver.blocking_recv() {
            let written = match outcome {
                Outcome::Sample(sample) => work.write(&sample),
                Outcome::End => {
                    let ended = work.end(self.end());
                    let is_over = ended.is_ok();
                    self.tell(ended);
                    if is_over {
                        return Ok(());
                    }
                    break;
                }
            };
            if written.is_err() {
                self.tell(written);
                break;
            }
        }
        drop(receiver);
        // Failed: what was written before makes a whole playlist. Abandoned: all stays as it is.
        if self.failure.is_reported()
            && let Err(WriteError { action, path, source }) = work.give_up()
        {
            tracing::warn!(path = %path.display(), error = %source, "the last playlist could not be written");
            return Err(SinkError::of_io(action, path, source));
        }
        Ok(())
    }

    fn tell(&self, written: Result<(), WriteError>) {
        if let Err(WriteError { action, path, source }) = written {
            self.failure.report_io(action, path, source);
        }
    }

    /// End of the recording. Audio extends to it; the last video frame is shown until then.
    fn end(&self) -> Duration {
        let media = Duration::from_nanos(self.media_end.load(Ordering::Relaxed));
        match self.plan.audio {
            Some(_) => media,
            None => self.timeline.elapsed().map_or(media, |length| media.max(length.into())),
        }
    }
}

struct Work<'a> {
    writer: &'a Writer,
    cutter: Segmenter,
    tables: Tables,
    segment: Option<Segment>,
    index: u64,
    event: Playlist,
    live: Option<Playlist>,
    /// Playlists written so far.
    version: u64,
    notes: SegmentJournal,
    reserve: Reserve,
}

/// The segment being written.
struct Segment {
    /// Without a buffer of ours: what left the muxer outlives a killed recorder.
    file: File,
    local: PathBuf,
    uri: String,
    start: Duration,
    date: jiff::Timestamp,
    size: u64,
}

impl<'a> Work<'a> {
    fn new(writer: &'a Writer) -> Self {
        let playlist = |kind| Playlist::new(kind, writer.plan.duration);
        Self {
            writer,
            cutter: Segmenter::new(writer.plan.duration),
            tables: Tables::default(),
            segment: None,
            index: 0,
            event: playlist(PlaylistKind::Event),
            live: writer.plan.live_playlist.as_ref().map(|_| playlist(PlaylistKind::Live)),
            version: 0,
            notes: segment_journal::of(&writer.dir, writer.output),
            reserve: Reserve::take(&writer.dir, writer.output),
        }
    }

    /// Writes the muxer's output for one frame (audio or video).
    fn write(&mut self, sample: &gst::Sample) -> Result<(), WriteError> {
        let Some(muxed) = Muxed::of(sample) else { return Ok(()) };
        if let Some(caps) = sample.caps() {
            self.tables.learn(caps);
        }
        let can_cut = muxed.is_key || !self.writer.plan.has_video;
        if self.segment.is_none() {
            self.open(muxed.time)?;
        } else if can_cut && self.cutter.cuts_at(muxed.time) {
            self.close(muxed.time)?;
            self.publish(State::Open)?;
            self.open(muxed.time)?;
            if !self.tables.lead(&muxed.data) {
                let tables = self.tables.bytes().to_vec();
                self.append(&tables)?;
            }
        }
        self.tables.see(&muxed.data);
        self.append(&muxed.data)
    }

    fn append(&mut self, data: &[u8]) -> Result<(), WriteError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.size += data.len() as u64;
        segment.file.write_all(data).map_err(io("writing", &segment.local))
    }

    fn open(&mut self, start: Duration) -> Result<(), WriteError> {
        let writer = self.writer;
        // The recording began before its first frame; the current date is close to it.
        let date = gst::ClockTime::try_from(start).ok().and_then(|start| writer.timeline.wall(start));
        let date = date.unwrap_or_else(jiff::Timestamp::now);
        let suffix = match writer.plan.suffix {
            SegmentSuffix::Index => format!("{:05}", self.index),
            SegmentSuffix::Timestamp => timestamp(date),
        };
        let uri = format!("{}_{suffix}.ts", writer.plan.prefix);
        let name = format!("segment-{}-{:06}.ts", writer.output.0, self.index);
        let local = writer.dir.join(&name);
        self.note(&Note::Segment { local: name, uri: uri.clone(), start, date })?;
        let part = part_of(&local);
        let file = File::create(&part).map_err(io("creating", &part))?;
        let name = format!("{}{uri}", writer.plan.dir);
        self.tell(SinkEvent::Growing(GrowingFile {
            output: writer.output,
            local: part,
            name,
            head: FileHead::Final,
        }));
        self.segment = Some(Segment { file, local, uri, start, date, size: 0 });
        Ok(())
    }

    fn note(&mut self, note: &Note) -> Result<(), WriteError> {
        self.notes.add(note).map_err(io("writing", self.notes.path()))
    }

    fn close(&mut self, end: Duration) -> Result<(), WriteError> {
        let Some(Segment { local, uri, start, date, size, .. }) = self.segment.take() else { return Ok(()) };
        std::fs::rename(part_of(&local), &local).map_err(io("renaming", &local))?;
        let duration = end.saturating_sub(start);
        self.emit(Artifact {
            output: self.writer.output,
            kind: ArtifactKind::Segment { index: self.index, start, duration },
            local,
            name: format!("{}{uri}", self.writer.plan.dir),
            size,
        });
        self.index += 1;
        self.event.push(&uri, duration, date);
        if let Some(live) = &mut self.live {
            live.push(&uri, duration, date);
        }
        Ok(())
    }

    /// After a segment was closed and reported.
    fn publish(&mut self, state: State) -> Result<(), WriteError> {
        let plan = &self.writer.plan;
        let mut playlists = vec![(&plan.playlist, self.event.text(state))];
        if let (Some(name), Some(live)) = (&plan.live_playlist, &self.live) {
            playlists.push((name, live.text(state)));
        }
        for (name, text) in playlists {
            // Each has a name of its own: one that waits to be stored is not written over.
            let local =
                self.writer.dir.join(format!("playlist-{}-{:06}.m3u8", self.writer.output.0, self.version));
            self.version += 1;
            if let Err(error) = std::fs::write(&local, &text) {
                // Half a playlist says less than the notes do.
                std::fs::remove_file(&local).ok();
                return Err(io("writing", &local)(error));
            }
            self.emit(Artifact {
                output: self.writer.output,
                kind: ArtifactKind::Playlist,
                local,
                name: format!("{}{name}", plan.dir),
                size: text.len() as u64,
            });
        }
        Ok(())
    }

    fn end(&mut self, end: Duration) -> Result<(), WriteError> {
        if let Some(segment) = &self.segment {
            let at = end.max(segment.start);
            self.note(&Note::End { at })?;
            self.close(at)?;
        }
        self.publish(State::Ended)
    }

    /// Makes the last segment of what there is of it, and ends the playlist. On a full disk the
    /// room for that was kept.
    fn give_up(&mut self) -> Result<(), WriteError> {
        self.reserve.release();
        if let Some(segment) = &mut self.segment {
            let part = part_of(&segment.local);
            match cut_to_complete(&part).map_err(io("cutting", &part))? {
                Some(span) => {
                    segment.size = span.complete as u64;
                    let end = segment.start + span.duration;
                    self.close(end)?;
                }
                None => std::fs::remove_file(&part).map_err(io("removing", &part))?,
            }
        }
        self.publish(State::Ended)
    }

    fn emit(&self, artifact: Artifact) {
        self.tell(SinkEvent::Artifact(artifact));
    }

    fn tell(&self, event: SinkEvent) {
        if self.writer.events.send(event).is_err() {
            tracing::debug!("nobody listens to a sink any more");
        }
    }
}

/// One output of the muxer: the packets of one frame (audio or video), sometimes with tables before
/// it.
struct Muxed {
    time: Duration,
    is_key: bool,
    data: Vec<u8>,
}

impl Muxed {
    fn of(sample: &gst::Sample) -> Option<Self> {
        let mut muxed = Self { time: Duration::ZERO, is_key: false, data: Vec::new() };
        let mut time = None;
        let mut add = |buffer: &gst::BufferRef| {
            muxed.is_key |= !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            time = time.or(buffer.pts());
            if let Ok(map) = buffer.map_readable() {
                muxed.data.extend_from_slice(&map);
            }
        };
        if let Some(list) = sample.buffer_list() {
            list.iter().for_each(&mut add);
        }
        if let Some(buffer) = sample.buffer() {
            add(buffer);
        }
        muxed.time = time?.into();
        Some(muxed)
    }
}
