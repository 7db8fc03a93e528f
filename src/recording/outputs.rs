//! The open sinks of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};

use crate::control::CommandError;
use crate::plan::RecordingPlan;
use crate::plan::output::{OutputId, OutputPlan};
use crate::plan::stream_url::{StreamProtocol, StreamUrl, Transport};
use crate::sink::file::FileSink;
use crate::sink::images::ImagesSink;
use crate::sink::segments::SegmentsSink;
use crate::sink::stream::{StreamError, StreamSink};
use crate::sink::websocket::WebSocketSink;
use crate::sink::{SinkContext, SinkError};

/// The open sinks.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    sinks: BTreeMap<OutputId, OpenSink>,
    /// Those that can't go on. They are still finished: what they have is kept.
    failed: BTreeSet<OutputId>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each output")]
enum OpenSink {
    File(FileSink),
    Segments(SegmentsSink),
    Images(ImagesSink),
    Stream { sink: StreamSink, transport: Transport },
    WebSocket(WebSocketSink),
}

impl Outputs {
    /// Opens everything that writes to disk, and dials websockets: whether they can be had is to be
    /// known before anything is recorded. Streams wait for [`Outputs::open_streams`]: a server does
    /// not like a connection on which nothing comes for a long time.
    pub(super) fn open(plan: &RecordingPlan, contexts: &[SinkContext]) -> Result<Self, SinkError> {
        let mut sinks = BTreeMap::new();
        for (index, (output, context)) in plan.outputs.iter().zip(contexts).enumerate() {
            let id = OutputId(index);
            let sink = match output {
                OutputPlan::File(file) => OpenSink::File(FileSink::open(id, file, context)?),
                OutputPlan::Segments(segments) => {
                    OpenSink::Segments(SegmentsSink::open(id, segments, context)?)
                }
                OutputPlan::Images(images) => OpenSink::Images(ImagesSink::open(id, images, context)?),
                OutputPlan::WebSocket(socket) => {
                    OpenSink::WebSocket(WebSocketSink::open(id, socket, context)?)
                }
                OutputPlan::Stream(_) => continue,
            };
            sinks.insert(id, sink);
        }
        Ok(Self { sinks, failed: BTreeSet::new() })
    }

    /// Connects the streams.
    pub(super) fn open_streams(
        &mut self,
        plan: &RecordingPlan,
        contexts: &[SinkContext],
    ) -> Result<(), SinkError> {
        for (index, (output, context)) in plan.outputs.iter().zip(contexts).enumerate() {
            if let OutputPlan::Stream(stream) = output {
                let id = OutputId(index);
                let sink = StreamSink::open(id, stream, context)?;
                self.sinks.insert(id, OpenSink::Stream { sink, transport: stream.transport });
            }
        }
        Ok(())
    }

    /// Sends to one more address; gives the output it belongs to.
    pub(super) fn add_stream(&mut self, url: StreamUrl) -> Result<OutputId, CommandError> {
        let wanted = url.protocol();
        let (id, sink) = self.stream_of(wanted)?;
        sink.add(url).map_err(refused)?;
        Ok(id)
    }

    /// Stops sending to an address, or to the one that is shown so; gives which.
    pub(super) fn remove_stream(&mut self, url: &StreamUrl) -> Result<StreamUrl, CommandError> {
        let (_, sink) = self.stream_of(url.protocol())?;
        sink.remove(url).map_err(refused)
    }

    /// All sound is muted now, or no longer.
    pub(super) fn set_muted(&self, is_muted: bool) {
        for sink in self.sinks.values() {
            if let OpenSink::WebSocket(sink) = sink {
                sink.set_muted(is_muted);
            }
        }
    }

    /// An output can't go on.
    pub(super) fn mark_failed(&mut self, id: OutputId) {
        self.failed.insert(id);
    }

    /// Whether something is still recorded or sent.
    pub(super) fn any_alive(&self) -> bool {
        self.sinks.iter().filter(|(id, _)| !self.failed.contains(id)).any(|(_, sink)| match sink {
            OpenSink::File(_) | OpenSink::Segments(_) | OpenSink::Images(_) => true,
            OpenSink::Stream { sink, .. } => !sink.is_empty(),
            OpenSink::WebSocket(sink) => !sink.is_over(),
        })
    }

    /// Waits until every sink has written what it has and closed; call it when the encoded feeds
    /// have ended. Gives the errors of those that could not.
    pub(super) async fn finish(self, within: Duration) -> Vec<(OutputId, SinkError)> {
        let closing = self.sinks.into_iter().map(|(id, sink)| async move {
            let done: BoxFuture<'_, Result<(), SinkError>> = match sink {
                OpenSink::File(sink) => Box::pin(sink.finish(within)),
                OpenSink::Segments(sink) => Box::pin(sink.finish(within)),
                OpenSink::Images(sink) => Box::pin(sink.finish(within)),
                OpenSink::Stream { sink, .. } => Box::pin(async move {
                    sink.finish(within).await;
                    Ok(())
                }),
                OpenSink::WebSocket(sink) => Box::pin(async move {
                    sink.finish(within).await;
                    Ok(())
                }),
            };
            done.await.err().map(|error| (id, error))
        });
        join_all(closing).await.into_iter().flatten().collect()
    }

    fn stream_of(&mut self, wanted: StreamProtocol) -> Result<(OutputId, &mut StreamSink), CommandError> {
        self.sinks
            .iter_mut()
            .find_map(|(id, sink)| match sink {
                OpenSink::Stream { sink, transport } if wanted == (*transport).into() => Some((*id, sink)),
                _ => None,
            })
            .ok_or(CommandError::NoStreamOutput(wanted))
    }
}

fn refused(error: StreamError) -> CommandError {
    match error {
        StreamError::Duplicate { url } => CommandError::DuplicateStream(url),
        StreamError::Unknown { url } => CommandError::UnknownStream(url),
        StreamError::Ambiguous { url } => CommandError::AmbiguousStream(url),
    }
}
