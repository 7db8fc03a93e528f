//! Plans a recording: checks a request, completes it, and fits its parts together.

mod adjustments;
mod collisions;
mod discovery;
mod encoding;
mod origin;
mod outputs;
mod page;
mod passthrough;
pub mod storage;
mod tracks;

use std::time::Duration;

use jiff::Zoned;

use self::adjustments::Adjustments;
use self::encoding::Needs;
use self::origin::Origin;
use self::outputs::OutputPlanner;
use super::bounds;
use super::codec::AudioCodec;
use super::defaults::Defaults;
use super::egress_id::EgressId;
use super::encoding::AudioEncoding;
use super::error::PlanError;
use super::filename::Naming;
use super::output::OutputPlan;
use super::recording_plan::RecordingPlan;
use super::remux;
use super::request::{EgressRequest, Media, OutputKind, OutputRequest, SegmentsRequest, SourceRequest};

impl RecordingPlan {
    /// Decides everything about a recording. `defaults` count where the request says nothing
    /// itself; `now` gives the names their times.
    ///
    /// # Errors
    /// [`PlanError`], naming the field of the request that is at fault, and what would be right.
    pub fn new(
        request: &EgressRequest,
        defaults: &Defaults,
        egress_id: EgressId,
        now: &Zoned,
    ) -> Result<Self, PlanError> {
        bounds::check(request)?;
        if let SourceRequest::Track(track) = &request.source
            && !request.outputs.iter().any(is_websocket)
        {
            return passthrough::plan(request, track, defaults, egress_id, now);
        }
        let origin = Origin::new(request, defaults, &egress_id)?;
        if request.outputs.is_empty() {
            return Err(PlanError::invalid(
                "output",
                "missing; give at least one file, segment, stream or image output",
            ));
        }
        let media = recorded_media(request.source.media(), &request.outputs);
        let needs = needs(request)?;
        let frame_times = request.frame_times.unwrap_or(defaults.frame_times);
        let mut adjustments = Adjustments::new(&request.origin);
        let video = media
            .has_video()
            .then(|| encoding::video(&request.encoding, frame_times, &needs, &mut adjustments))
            .transpose()?;

        let naming = Naming::new(origin::subject(&request.source), now, request.retry_count);
        let planner = OutputPlanner {
            media,
            video: video.as_ref(),
            requested: request.encoding.audio_codec,
            aac_is_needed: request.outputs.iter().any(always_aac),
            is_only_output: request.outputs.len() == 1,
            naming: &naming,
            server: &defaults.storage,
        };
        let mut outputs = Vec::with_capacity(request.outputs.len());
        for output in &request.outputs {
            if request.retry_count > 0 {
                supports_retry(output)?;
            }
            outputs.push(planner.output(output, &mut adjustments)?);
        }
        let fields: Vec<&str> = request.outputs.iter().map(|output| output.field.as_str()).collect();
        collisions::check(&fields, &outputs)?;
        remux::check(request, &outputs)?;
        if request.limits.duration == Some(Duration::ZERO) {
            return Err(PlanError::invalid("duration", "0 s records nothing; give a longer time, or none"));
        }
        Ok(Self {
            egress_id,
            source: origin.source(request, media, video.as_ref(), &outputs),
            audio: audio_encodings(request, &outputs, &mut adjustments)?,
            video,
            outputs,
            deferred_names: origin::deferred_names(request, now),
            limits: request.limits,
            retry_count: request.retry_count,
            adjustments: adjustments.into_notes(),
        })
    }
}

/// Images need no audio. A WebSocket has no video, and as in LiveKit's recorder outputs beside it
/// have none either.
fn recorded_media(asked: Media, outputs: &[OutputRequest]) -> Media {
    let only_images = outputs.iter().all(|output| matches!(output.kind, OutputKind::Images(_)));
    match asked {
        Media::AudioAndVideo if outputs.iter().any(is_websocket) => Media::AudioOnly,
        Media::AudioAndVideo if only_images => Media::VideoOnly,
        asked => asked,
    }
}

fn is_websocket(output: &OutputRequest) -> bool {
    matches!(&output.kind, OutputKind::Stream(stream) if stream.is_websocket())
}

fn needs(request: &EgressRequest) -> Result<Needs, PlanError> {
    let mut needs = Needs::default();
    for output in &request.outputs {
        match &output.kind {
            OutputKind::Segments(segments) => {
                needs.segment_durations.push(outputs::segment_duration(&output.field, segments)?);
            }
            OutputKind::Stream(stream) => needs.has_stream |= !stream.is_websocket(),
            OutputKind::File(_) | OutputKind::Images(_) => {}
        }
        needs.is_encoded |= !matches!(output.kind, OutputKind::Images(_));
    }
    Ok(needs)
}

fn always_aac(output: &OutputRequest) -> bool {
    match &output.kind {
        OutputKind::Segments(_) => true,
        OutputKind::Stream(stream) => !stream.is_websocket(),
        OutputKind::File(_) | OutputKind::Images(_) => false,
    }
}

/// A second try must not overwrite the first one's file; default names have the number of the try
/// in them.
fn supports_retry(output: &OutputRequest) -> Result<(), PlanError> {
    let field = &output.field;
    let named = match &output.kind {
        OutputKind::File(file) => Some(("filepath", &file.path)).filter(|(_, path)| is_named(path)),
        OutputKind::Segments(SegmentsRequest { prefix, .. }) if !prefix.is_empty() => {
            Some(("filename_prefix", prefix))
        }
        OutputKind::Segments(SegmentsRequest { playlist, .. }) => {
            Some(("playlist_name", playlist)).filter(|(_, playlist)| is_named(playlist))
        }
        OutputKind::Stream(_) | OutputKind::Images(_) => None,
    };
    match named {
        Some((part, name)) if !name.contains("{retry}") => {
            Err(PlanError::NoRetry { field: format!("{field}.{part}") })
        }
        _ => Ok(()),
    }
}

fn is_named(path: &str) -> bool {
    !path.is_empty() && !path.ends_with('/')
}

/// One encode for each codec that an output takes.
fn audio_encodings(
    request: &EgressRequest,
    outputs: &[OutputPlan],
    adjustments: &mut Adjustments,
) -> Result<Vec<AudioEncoding>, PlanError> {
    let mut codecs: Vec<AudioCodec> = outputs.iter().filter_map(OutputPlan::audio).collect();
    codecs.sort_unstable();
    codecs.dedup();
    codecs.into_iter().map(|codec| encoding::audio(&request.encoding, codec, adjustments)).collect()
}
