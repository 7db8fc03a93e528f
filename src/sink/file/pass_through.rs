//! Elements between a track as published and a muxer.

use std::mem;
use std::sync::{Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::plan::output::PassThrough;
use crate::plan::track::TrackCodec;

/// Selects the parser that prepares encoded video for a muxer. Parameter sets of a published track
/// stay in its stream: its size may change at any time.
pub(super) fn parser(pass_through: Option<&PassThrough>) -> Option<(&'static str, Option<&'static str>)> {
    match pass_through {
        None | Some(PassThrough::Awaited) => Some(("h264parse", None)),
        Some(PassThrough::Of(codec)) => match codec {
            TrackCodec::H264 => Some(("h264parse", Some("video/x-h264,stream-format=avc3,alignment=au"))),
            TrackCodec::H265 => Some(("h265parse", Some("video/x-h265,stream-format=hev1,alignment=au"))),
            TrackCodec::Av1 => Some(("av1parse", Some("video/x-av1,stream-format=obu-stream,alignment=tu"))),
            TrackCodec::Vp9 => Some(("vp9parse", None)),
            TrackCodec::Vp8 | TrackCodec::Opus | TrackCodec::Pcmu | TrackCodec::Pcma => None,
        },
    }
}

/// Repairs samples of a published track that a muxer would refuse. A muxer accepts one description:
/// key frames with another one carry it in the stream. It also requires a time for each buffer: if
/// a parser splits a frame, the second buffer gets the first one's time.
pub(super) fn mend(pad: &gst::Pad) {
    let (mut described, mut last) = (false, None);
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    let state = Mutex::new(move |info: &mut gst::PadProbeInfo<'_>| match &mut info.data {
        Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Caps => {
            mem::replace(&mut described, true)
        }
        Some(gst::PadProbeData::Buffer(buffer)) => {
            match (buffer.pts(), last) {
                (None, Some(_)) => {
                    let buffer = buffer.make_mut();
                    buffer.set_pts(last);
                    buffer.set_dts(last);
                }
                (pts, _) => last = pts,
            }
            false
        }
        _ => false,
    });
    pad.add_probe(kinds, move |_, info| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state(info) { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
    });
}
