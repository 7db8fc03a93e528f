//! Results of stream addresses.
//!
//! An address that is removed and added again has two results. Its tasks run one after the other:
//! the second one waits for the last event of the first. So an event belongs to the oldest result
//! of its address that still waits for its last event.

use jiff::Timestamp;
use livekit_protocol as proto;
use proto::stream_info::Status;

use super::{Report, nanoseconds};
use crate::plan::output::OutputId;
use crate::plan::stream_url::{StreamProtocol, StreamUrl};

/// The error of a stream that was removed before media was sent, until its task reports what it
/// waited for.
const REMOVED: &str = "it was removed before media could be sent";
/// The error of a stream that was waiting for its server when the recording ended.
const NEVER_STARTED: &str = "the recording ended before media could be sent";

/// Each stream address, in the order of the report's results.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<Stream>);

#[derive(Debug)]
struct Stream {
    output: OutputId,
    url: StreamUrl,
    /// Media was sent.
    has_started: bool,
    /// Its task has reported how it ended.
    has_ended: bool,
}

impl Streams {
    pub(super) fn add(&mut self, output: OutputId, url: &StreamUrl) {
        self.0.push(Stream { output, url: url.clone(), has_started: false, has_ended: false });
    }

    /// Index of the stream that an event belongs to.
    fn position(&self, output: OutputId, url: &StreamUrl) -> Option<usize> {
        self.0.iter().position(|one| one.output == output && one.url == *url && !one.has_ended)
    }
}

impl Report {
    /// An address was added while the recording runs.
    pub fn stream_added(&mut self, output: OutputId, url: &StreamUrl, now: Timestamp) {
        self.info.stream_results.push(super::new_stream(url, now));
        self.streams.add(output, url);
        self.fill_deprecated_result();
    }

    /// The recording began: streams that count as started before media goes out have started now.
    pub(super) fn stamp_stream_starts(&mut self, began: i64) {
        let open = self.info.stream_results.iter_mut().zip(&self.streams.0);
        for (info, stream) in open.filter(|(info, _)| info.ended_at == 0) {
            if stream.url.protocol() != StreamProtocol::Rtmp {
                info.started_at = began;
            }
        }
    }

    /// Media flows to an address. For RTMP the first time counts as its start.
    pub fn stream_started(&mut self, output: OutputId, url: &StreamUrl, now: Timestamp) {
        if let Some((stream, info)) = self.stream(output, url)
            && !std::mem::replace(&mut stream.has_started, true)
            && url.protocol() == StreamProtocol::Rtmp
        {
            info.started_at = nanoseconds(now);
        }
        self.fill_deprecated_result();
    }

    /// The connection to an address was lost and is tried again.
    pub fn stream_retrying(&mut self, output: OutputId, url: &StreamUrl, retries: u32, now: Timestamp) {
        if let Some((_, info)) = self.stream(output, url) {
            info.retries = retries;
            info.last_retry_at = nanoseconds(now);
        }
        self.fill_deprecated_result();
    }

    /// An address is over: `error` says why it was given up, `None` that it was removed or the
    /// recording ended. A stream that never started has failed, whatever ended it.
    pub fn stream_ended(&mut self, output: OutputId, url: &StreamUrl, error: Option<&str>, now: Timestamp) {
        let Some((stream, info)) = self.stream(output, url) else { return };
        stream.has_ended = true;
        let error = error.or_else(|| (!stream.has_started).then_some(NEVER_STARTED));
        let is_reported = info.ended_at != 0 && info.status() == Status::Finished;
        // What a removed stream still had to send changes nothing of it.
        if !is_reported {
            // A removal may have ended it before, which counted as its start, too.
            info.started_at = if stream.has_started { info.started_at } else { 0 };
            close(info, error, now);
        }
        self.fill_deprecated_result();
    }

    /// An address was removed while the recording runs. One that has not started yet has failed,
    /// unless its task reports that media was sent after all.
    pub fn stream_removed(&mut self, url: &StreamUrl, now: Timestamp) {
        let all = self.streams.0.iter().zip(&mut self.info.stream_results);
        let newest = all.rev().find(|(stream, info)| stream.url == *url && info.ended_at == 0);
        if let Some((stream, info)) = newest {
            close(info, (!stream.has_started).then_some(REMOVED), now);
        }
        self.fill_deprecated_result();
    }

    /// Ends the streams that are still open: no more is heard of them.
    pub fn end_streams(&mut self, now: Timestamp) {
        let results = self.info.stream_results.iter_mut().enumerate();
        for (at, info) in results.filter(|(_, info)| info.ended_at == 0) {
            // Of a recorder that is gone no more is known than its report says.
            let known = self.streams.0.get(at);
            let never_started = known.map_or(info.started_at == 0, |stream| !stream.has_started);
            close(info, never_started.then_some(NEVER_STARTED), now);
        }
        self.fill_deprecated_result();
    }

    /// Why nothing was sent, where there are streams and all of them have failed.
    #[must_use]
    pub fn unsent(&self) -> Option<String> {
        let streams = &self.info.stream_results;
        let has_failed = |stream: &proto::StreamInfo| stream.status() == Status::Failed;
        let first = streams.first().filter(|_| streams.iter().all(has_failed))?;
        Some(match first.error.contains(&first.url) {
            true => first.error.clone(),
            false => format!("{}: {}", first.url, first.error),
        })
    }

    fn stream(&mut self, output: OutputId, url: &StreamUrl) -> Option<(&mut Stream, &mut proto::StreamInfo)> {
        let at = self.streams.position(output, url)?;
        Some((self.streams.0.get_mut(at)?, self.info.stream_results.get_mut(at)?))
    }
}

fn close(stream: &mut proto::StreamInfo, error: Option<&str>, now: Timestamp) {
    stream.ended_at = nanoseconds(now);
    if stream.started_at == 0 {
        stream.started_at = stream.ended_at;
    }
    stream.duration = stream.ended_at.saturating_sub(stream.started_at);
    stream.error = error.unwrap_or_default().to_owned();
    stream.status = if error.is_some() { Status::Failed } else { Status::Finished }.into();
}
