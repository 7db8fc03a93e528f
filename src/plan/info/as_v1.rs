//! Requests of the command line that v2 has no shorter words for, in their v1 form.

use livekit_protocol as proto;
use proto::egress_info::Request;
use proto::track_composite_egress_request as tracks;
use proto::{output, participant_egress_request, start_egress_request, track_egress_request};

use super::super::output::ManifestPolicy;
use super::super::request::{EgressRequest, MediaOf, MediaRequest, OutputKind, TrackRequest};
use super::super::track::{AudioFrom, Shows, VideoChoice};
use super::as_v2;

pub(super) fn track(request: &EgressRequest, track: &TrackRequest) -> proto::TrackEgressRequest {
    let output = request.outputs.first().and_then(|output| match &output.kind {
        OutputKind::File(file) => Some(track_egress_request::Output::File(proto::DirectFileOutput {
            filepath: file.path.clone(),
            disable_manifest: output.manifest == ManifestPolicy::OnlyWithBackup,
            output: None,
        })),
        OutputKind::Stream(stream) => {
            let url = stream.urls.first()?.expose().clone();
            Some(track_egress_request::Output::WebsocketUrl(url))
        }
        OutputKind::Segments(_) | OutputKind::Images(_) => None,
    });
    proto::TrackEgressRequest {
        room_name: track.room.name.clone(),
        track_id: track.track_id.clone(),
        webhooks: Vec::new(),
        output,
    }
}

/// A participant, or a track of each medium.
pub(super) fn media(request: &EgressRequest, media: &MediaRequest) -> Request {
    let room_name = media.room.name.clone();
    let Lists { files, streams, segments, images } = Lists::of(request);
    let encoding = as_v2::encoding(&request.encoding);
    if let MediaOf::Participant(identity) = &media.of {
        use participant_egress_request::Options;
        let shows_screen = matches!(media.video, Some(VideoChoice::Participant { shows: Shows::Screen, .. }));
        return Request::Participant(proto::ParticipantEgressRequest {
            room_name,
            identity: identity.clone(),
            screen_share: shows_screen,
            file_outputs: files,
            stream_outputs: streams,
            segment_outputs: segments,
            image_outputs: images,
            webhooks: Vec::new(),
            options: encoding.map(|encoding| match encoding {
                start_egress_request::Encoding::Preset(preset) => Options::Preset(preset),
                start_egress_request::Encoding::Advanced(options) => Options::Advanced(options),
            }),
        });
    }
    let video = match &media.video {
        Some(VideoChoice::Track(sid)) => sid.clone(),
        Some(VideoChoice::Participant { .. }) | None => String::new(),
    };
    let audio = media.audio.iter().flat_map(|audio| &audio.routes).find_map(|route| match &route.from {
        AudioFrom::Track(sid) => Some(sid.clone()),
        AudioFrom::Participant { .. } | AudioFrom::Kind(_) => None,
    });
    Request::TrackComposite(proto::TrackCompositeEgressRequest {
        room_name,
        audio_track_id: audio.unwrap_or_default(),
        video_track_id: video,
        file_outputs: files,
        stream_outputs: streams,
        segment_outputs: segments,
        image_outputs: images,
        webhooks: Vec::new(),
        output: None,
        options: encoding.map(|encoding| match encoding {
            start_egress_request::Encoding::Preset(preset) => tracks::Options::Preset(preset),
            start_egress_request::Encoding::Advanced(options) => tracks::Options::Advanced(options),
        }),
    })
}

/// A v1 request's outputs: a list of each kind.
#[derive(Default)]
struct Lists {
    files: Vec<proto::EncodedFileOutput>,
    streams: Vec<proto::StreamOutput>,
    segments: Vec<proto::SegmentedFileOutput>,
    images: Vec<proto::ImageOutput>,
}

impl Lists {
    fn of(request: &EgressRequest) -> Self {
        let mut lists = Self::default();
        for output in &request.outputs {
            match as_v2::output(output).config {
                Some(output::Config::File(file)) => {
                    let proto::FileOutput { file_type, filepath, disable_manifest } = file;
                    let file =
                        proto::EncodedFileOutput { file_type, filepath, disable_manifest, output: None };
                    lists.files.push(file);
                }
                Some(output::Config::Stream(stream)) => lists.streams.push(stream),
                Some(output::Config::Segments(segments)) => lists.segments.push(segments),
                Some(output::Config::Images(images)) => lists.images.push(images),
                None => {}
            }
        }
        lists
    }
}
