//! v2 requests → [`EgressRequest`].

mod media;

use livekit_protocol as proto;
use proto::output::Config;
use proto::start_egress_request::{Encoding, Source};

use super::error::PlanError;
use super::request::{
    AudioMixing, EgressRequest, EncodingRequest, Media, OutputRequest, RoomRequest, SourceRequest, WebRequest,
};
use super::room::RoomTicket;
use super::storage::Backend;
use super::wire;

/// A v2 request; `ticket` is what its envelope says of the room.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn start_egress(
    request: proto::StartEgressRequest,
    ticket: RoomTicket,
) -> Result<EgressRequest, PlanError> {
    let wire = proto::egress_info::Request::Egress(request.clone());
    let proto::StartEgressRequest { room_name, outputs, storage, webhooks, source, mut encoding } = request;
    let source = match source {
        Some(Source::Web(web)) => {
            let proto::WebSource { url, audio_only, video_only, await_start_signal } = web;
            let media = Media::from_flags(audio_only, video_only)?;
            // It only says whose recording it is: a page joins no room.
            let room = Some(ticket.named(room_name)).filter(|room| !room.name.is_empty());
            SourceRequest::Web(WebRequest { room, url, media, await_start_signal })
        }
        Some(Source::Template(template)) => {
            let proto::TemplateSource { layout, audio_only, video_only, custom_base_url } = template;
            let media = Media::from_flags(audio_only, video_only)?;
            let (room, audio_mixing) = (ticket.named(room_name), AudioMixing::Both);
            SourceRequest::Room(RoomRequest { room, layout, custom_base_url, media, audio_mixing })
        }
        Some(Source::Media(source)) => {
            let media = media::request(source, ticket.named(room_name))?;
            if media::is_passed_through(encoding.as_ref()) {
                encoding = None;
                SourceRequest::Track(media::passed_through(media, &outputs)?)
            } else {
                SourceRequest::Media(media)
            }
        }
        None => return Err(PlanError::invalid("source", "say what to record, for example `web`")),
    };
    if media::is_passed_through(encoding.as_ref()) {
        let help = "PASSTHROUGH can't be used here; give a `media` source with one track, or another preset";
        return Err(PlanError::worded("passthrough source", "preset", help));
    }
    let encoding = match encoding {
        None => EncodingRequest::default(),
        Some(Encoding::Preset(preset)) => wire::preset(preset)?,
        Some(Encoding::Advanced(options)) => wire::advanced(options)?,
    };
    let storage = storage.and_then(wire::storage::of);
    let outputs = outputs
        .into_iter()
        .enumerate()
        .map(|(at, output)| output_request(at, output, storage.as_ref()))
        .collect::<Result<_, _>>()?;
    Ok(EgressRequest::of_wire(wire, source, encoding, outputs, wire::webhooks(webhooks)?))
}

/// `request`: the storage of all outputs that have none of their own.
fn output_request(
    at: usize,
    output: proto::Output,
    request: Option<&Backend>,
) -> Result<OutputRequest, PlanError> {
    let proto::Output { storage, config } = output;
    let storage = storage.and_then(wire::storage::of);
    let or_the_requests = |output: OutputRequest| {
        let storage = output.storage.or_else(|| request.cloned());
        OutputRequest { storage, ..output }
    };
    let output = match config {
        Some(Config::File(file)) => {
            let proto::FileOutput { file_type, filepath, disable_manifest } = file;
            wire::file(format!("outputs[{at}].file"), file_type, filepath, disable_manifest, storage)
        }
        Some(Config::Stream(stream)) => wire::stream(format!("outputs[{at}].stream"), stream),
        Some(Config::Segments(segments)) => {
            wire::segments(format!("outputs[{at}].segments"), segments, storage)
        }
        Some(Config::Images(images)) => wire::images(format!("outputs[{at}].images"), images, storage),
        None => Err(PlanError::invalid(
            "output config",
            format!("outputs[{at}] needs one of `file`, `stream`, `segments`, `images`"),
        )),
    };
    output.map(or_the_requests)
}
