//! v1 requests → [`EgressRequest`]. Unlike LiveKit's, they may have any number of outputs of each
//! kind.

use livekit_protocol as proto;
use proto::egress_info::Request as Wire;
use proto::{
    participant_egress_request, room_composite_egress_request as room,
    track_composite_egress_request as tracks, track_egress_request, web_egress_request as web_egress,
};

use super::error::PlanError;
use super::request::{
    AudioMixing, EgressRequest, EncodingRequest, Media, MediaRequest, OutputRequest, RoomRequest,
    SourceRequest, TrackRequest, WebRequest,
};
use super::room::RoomTicket;
use super::stream_url::StreamProtocol;
use super::track::Shows;
use super::wire;

/// A v1 web request.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn web(request: proto::WebEgressRequest) -> Result<EgressRequest, PlanError> {
    let wire = Wire::Web(request.clone());
    let proto::WebEgressRequest {
        url,
        audio_only,
        video_only,
        await_start_signal,
        file_outputs: files,
        stream_outputs: streams,
        segment_outputs: segments,
        image_outputs: images,
        webhooks,
        output,
        options,
    } = request;
    #[expect(deprecated, reason = "old clients still send it")]
    let single = output.map(|output| match output {
        web_egress::Output::File(file) => Single::File(file),
        web_egress::Output::Stream(stream) => Single::Stream(stream),
        web_egress::Output::Segments(segments) => Single::Segments(segments),
    });
    let outputs = Outputs { files, segments, streams, images }.or(single).requests()?;
    let encoding = match options {
        None => EncodingRequest::default(),
        Some(web_egress::Options::Preset(preset)) => wire::preset(preset)?,
        Some(web_egress::Options::Advanced(options)) => wire::advanced(options)?,
    };
    let media = Media::from_flags(audio_only, video_only)?;
    let source = SourceRequest::Web(WebRequest { room: None, url, media, await_start_signal });
    Ok(EgressRequest::of_wire(wire, source, encoding, outputs, wire::webhooks(webhooks)?))
}

/// A v1 room composite request; `ticket` is what its envelope says of the room.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn room_composite(
    request: proto::RoomCompositeEgressRequest,
    ticket: RoomTicket,
) -> Result<EgressRequest, PlanError> {
    let wire = Wire::RoomComposite(request.clone());
    let proto::RoomCompositeEgressRequest {
        room_name,
        layout,
        audio_only,
        audio_mixing,
        video_only,
        custom_base_url,
        file_outputs: files,
        stream_outputs: streams,
        segment_outputs: segments,
        image_outputs: images,
        webhooks,
        output,
        options,
    } = request;
    #[expect(deprecated, reason = "old clients still send it")]
    let single = output.map(|output| match output {
        room::Output::File(file) => Single::File(file),
        room::Output::Stream(stream) => Single::Stream(stream),
        room::Output::Segments(segments) => Single::Segments(segments),
    });
    let outputs = Outputs { files, segments, streams, images }.or(single).requests()?;
    let encoding = match options {
        None => EncodingRequest::default(),
        Some(room::Options::Preset(preset)) => wire::preset(preset)?,
        Some(room::Options::Advanced(options)) => wire::advanced(options)?,
    };
    let audio_mixing = match wire::known(audio_mixing, "audio_mixing")? {
        proto::AudioMixing::DefaultMixing => AudioMixing::Both,
        proto::AudioMixing::DualChannelAgent => AudioMixing::DualChannelAgent,
        proto::AudioMixing::DualChannelAlternate => AudioMixing::DualChannelAlternate,
    };
    let media = Media::from_flags(audio_only, video_only)?;
    let room = ticket.named(room_name);
    let source = SourceRequest::Room(RoomRequest { room, layout, custom_base_url, media, audio_mixing });
    Ok(EgressRequest::of_wire(wire, source, encoding, outputs, wire::webhooks(webhooks)?))
}

/// A v1 participant request; `ticket` is what its envelope says of the room.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn participant(
    request: proto::ParticipantEgressRequest,
    ticket: RoomTicket,
) -> Result<EgressRequest, PlanError> {
    let wire = Wire::Participant(request.clone());
    let proto::ParticipantEgressRequest {
        room_name,
        identity,
        screen_share,
        file_outputs: files,
        stream_outputs: streams,
        segment_outputs: segments,
        image_outputs: images,
        webhooks,
        options,
    } = request;
    let outputs = Outputs { files, segments, streams, images }.requests()?;
    let encoding = match options {
        None => EncodingRequest::default(),
        Some(participant_egress_request::Options::Preset(preset)) => wire::preset_or_as_published(preset)?,
        Some(participant_egress_request::Options::Advanced(options)) => wire::advanced(options)?,
    };
    let shows = if screen_share { Shows::Screen } else { Shows::Person };
    let source = SourceRequest::Media(MediaRequest::participant(ticket.named(room_name), identity, shows));
    Ok(EgressRequest::of_wire(wire, source, encoding, outputs, wire::webhooks(webhooks)?))
}

/// A v1 track composite request; `ticket` is what its envelope says of the room.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn track_composite(
    request: proto::TrackCompositeEgressRequest,
    ticket: RoomTicket,
) -> Result<EgressRequest, PlanError> {
    let wire = Wire::TrackComposite(request.clone());
    let proto::TrackCompositeEgressRequest {
        room_name,
        audio_track_id,
        video_track_id,
        file_outputs: files,
        stream_outputs: streams,
        segment_outputs: segments,
        image_outputs: images,
        webhooks,
        output,
        options,
    } = request;
    #[expect(deprecated, reason = "old clients still send it")]
    let single = output.map(|output| match output {
        tracks::Output::File(file) => Single::File(file),
        tracks::Output::Stream(stream) => Single::Stream(stream),
        tracks::Output::Segments(segments) => Single::Segments(segments),
    });
    let outputs = Outputs { files, segments, streams, images }.or(single).requests()?;
    let encoding = match options {
        None => EncodingRequest::default(),
        Some(tracks::Options::Preset(preset)) => wire::preset_or_as_published(preset)?,
        Some(tracks::Options::Advanced(options)) => wire::advanced(options)?,
    };
    let room = ticket.named(room_name);
    let source = SourceRequest::Media(MediaRequest::tracks(room, &audio_track_id, &video_track_id));
    Ok(EgressRequest::of_wire(wire, source, encoding, outputs, wire::webhooks(webhooks)?))
}

/// A v1 track request; `ticket` is what its envelope says of the room.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn track(request: proto::TrackEgressRequest, ticket: RoomTicket) -> Result<EgressRequest, PlanError> {
    let wire = Wire::Track(request.clone());
    let proto::TrackEgressRequest { room_name, track_id, webhooks, output } = request;
    let outputs = match output {
        None => Vec::new(),
        Some(track_egress_request::Output::File(file)) => vec![wire::direct_file("file".to_owned(), file)],
        Some(track_egress_request::Output::WebsocketUrl(url)) => {
            let protocol = Some(StreamProtocol::WebSocket);
            vec![wire::stream_to("websocket_url".to_owned(), protocol, vec![url])]
        }
    };
    let source = SourceRequest::Track(TrackRequest { room: ticket.named(room_name), track_id });
    Ok(EgressRequest::of_wire(wire, source, EncodingRequest::default(), outputs, wire::webhooks(webhooks)?))
}

/// A v1 request's outputs: a list of each kind.
struct Outputs {
    files: Vec<proto::EncodedFileOutput>,
    segments: Vec<proto::SegmentedFileOutput>,
    streams: Vec<proto::StreamOutput>,
    images: Vec<proto::ImageOutput>,
}

/// The deprecated only output.
enum Single {
    File(proto::EncodedFileOutput),
    Segments(proto::SegmentedFileOutput),
    Stream(proto::StreamOutput),
}

impl Outputs {
    /// With the deprecated single output where the list of its kind is empty.
    fn or(mut self, single: Option<Single>) -> Self {
        match single {
            Some(Single::File(file)) if self.files.is_empty() => self.files.push(file),
            Some(Single::Stream(stream)) if self.streams.is_empty() => self.streams.push(stream),
            Some(Single::Segments(segments)) if self.segments.is_empty() => self.segments.push(segments),
            Some(Single::File(_) | Single::Stream(_) | Single::Segments(_)) | None => {}
        }
        self
    }

    fn requests(self) -> Result<Vec<OutputRequest>, PlanError> {
        let Self { files, segments, streams, images } = self;
        let mut outputs = Vec::new();
        for (at, file) in files.into_iter().enumerate() {
            outputs.push(wire::encoded_file(format!("file_outputs[{at}]"), file)?);
        }
        for (at, segments) in segments.into_iter().enumerate() {
            outputs.push(wire::segments(format!("segment_outputs[{at}]"), segments, None)?);
        }
        for (at, stream) in streams.into_iter().enumerate() {
            outputs.push(wire::stream(format!("stream_outputs[{at}]"), stream)?);
        }
        for (at, images) in images.into_iter().enumerate() {
            outputs.push(wire::images(format!("image_outputs[{at}]"), images, None)?);
        }
        Ok(outputs)
    }
}
