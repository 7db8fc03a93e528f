//! Which colours an encoded picture is in, and how far its black is from its white.

use std::sync::{Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction,
};

use crate::plan::track::TrackCodec;
use crate::source::pacing::bt709;

/// Sees to the colours of what a decoder gives.
///
/// Where a stream does not say which they are in, they are those that browsers show it in: of VP8, which can't say it, BT.601's
/// (RFC 6386 §9.2); of all others BT.709's. GStreamer would go by the picture's size.
///
/// Pictures of full range become those of limited range here: GStreamer 1.22 converts from one matrix into another, and takes two ranges of
/// one matrix for the same. What Chromium draws on a canvas is such, in H.264.
pub(super) fn mend(decoder: &gst::Element, codec: TrackCodec) {
    let (Some(sink), Some(source)) = (decoder.static_pad("sink"), decoder.static_pad("src")) else { return };
    let sink = sink.downgrade();
    let full = Mutex::new(None);
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    source.add_probe(kinds, move |_, info| {
        let mut full = full.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => {
                if let gst::EventView::Caps(told) = event.view() {
                    let encoded = sink.upgrade().and_then(|sink| sink.current_caps());
                    let mut caps = told.caps_owned();
                    *full = mended(&mut caps, encoded, codec);
                    *event = gst::event::Caps::new(&caps);
                }
            }
            Some(gst::PadProbeData::Buffer(buffer)) => {
                if let Some(layout) = &*full {
                    narrow(buffer.make_mut(), layout);
                }
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Puts the right colours into a decoder's caps. Gives the layout of its pictures, where they have to be made narrower for it.
fn mended(
    caps: &mut gst::Caps,
    encoded: Option<gst::Caps>,
    codec: TrackCodec,
) -> Option<gst_video::VideoInfo> {
    let told = said_in(caps);
    let said = encoded.and_then(|caps| said_in(&caps));
    let colours = match said.filter(|said| said.matrix() != VideoColorMatrix::Unknown) {
        Some(_) => told?,
        None if codec == TrackCodec::Vp8 => bt601(),
        None => bt709(),
    };
    let is_full = told.is_some_and(|told| told.range() == VideoColorRange::Range0_255);
    let layout = is_full.then(|| gst_video::VideoInfo::from_caps(caps).ok()).flatten();
    let full = layout.filter(|layout| is_plain(layout.format_info()));
    let colours = in_range(colours, is_full && full.is_none());
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.set("colorimetry", colours.to_string());
    }
    full
}

/// Luma and two chroma components, a plane of bytes each.
fn is_plain(format: gst_video::VideoFormatInfo) -> bool {
    format.is_yuv()
        && format.n_planes() == 3
        && format.n_components() == 3
        && format.depth().iter().all(|bits| *bits == 8)
}

/// From full range to limited range, each rounded (ITU-R BT.709-6, table 3, and ITU-T H.264, E.2.1).
fn narrow(buffer: &mut gst::BufferRef, layout: &gst_video::VideoInfo) {
    let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, layout) else { return };
    if let Ok(bytes) = frame.plane_data_mut(0) {
        change(bytes, luma);
    }
    for plane in [1, 2] {
        if let Ok(bytes) = frame.plane_data_mut(plane) {
            change(bytes, chroma);
        }
    }
}

/// Made anew for each of what is done to a byte, so that the processor does it to many at once.
fn change(bytes: &mut [u8], to: impl Fn(u8) -> u8) {
    bytes.iter_mut().for_each(|byte| *byte = to(*byte));
}

/// 0–255 to 16–235.
const fn luma(value: u8) -> u8 {
    to_byte(value as u16 * 219 + 16 * 255)
}

/// 0–255 about 128 to 16–240.
const fn chroma(value: u8) -> u8 {
    to_byte(value as u16 * 224 + 128 * (255 - 224))
}

/// A 255th, rounded.
const fn to_byte(value: u16) -> u8 {
    let value = value + 128;
    ((value + (value >> 8)) >> 8) as u8
}

fn said_in(caps: &gst::CapsRef) -> Option<VideoColorimetry> {
    caps.structure(0)?.get::<&str>("colorimetry").ok()?.parse().ok()
}

/// The same colours, of full or of limited range.
fn in_range(colours: VideoColorimetry, is_full: bool) -> VideoColorimetry {
    let range = if is_full { VideoColorRange::Range0_255 } else { VideoColorRange::Range16_235 };
    VideoColorimetry::new(range, colours.matrix(), colours.transfer(), colours.primaries())
}

fn bt601() -> VideoColorimetry {
    let (transfer, primaries) = (VideoTransferFunction::Bt601, VideoColorPrimaries::Smpte170m);
    VideoColorimetry::new(VideoColorRange::Range16_235, VideoColorMatrix::Bt601, transfer, primaries)
}

fn bt2020() -> VideoColorimetry {
    let (transfer, primaries) = (VideoTransferFunction::Bt202010, VideoColorPrimaries::Bt2020);
    VideoColorimetry::new(VideoColorRange::Range16_235, VideoColorMatrix::Bt2020, transfer, primaries)
}

/// The colours of a key frame of VP9 (its bitstream specification, §6.2 and §7.2.2): `vp9dec` knows, and does not tell whether it was
/// said. Only of profile 0, whose header is the same for all.
pub(super) fn of_vp9(key_frame: &[u8]) -> Option<VideoColorimetry> {
    // Behind two bits of marker come two of the profile; behind the first byte three that never change.
    let (first, rest) = key_frame.split_first()?;
    if first & 0b1111_0000 != 0b1000_0000 {
        return None;
    }
    let bits = rest.strip_prefix(&[0x49, 0x83, 0x42])?.first()?;
    let colours = match bits >> 5 {
        1 | 3 => bt601(),
        5 => bt2020(),
        _ => bt709(),
    };
    Some(in_range(colours, bits & 0b0001_0000 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_range_becomes_limited_range() {
        for value in 0..=u8::MAX {
            let exact = |scale: f64, base: f64| (base + f64::from(value) * scale / 255.0).round();
            assert!((f64::from(luma(value)) - exact(219.0, 16.0)).abs() < f64::EPSILON, "{value}");
            assert!(
                (f64::from(chroma(value)) - exact(224.0, 128.0 * 31.0 / 255.0)).abs() < f64::EPSILON,
                "{value}"
            );
        }
    }

    #[test]
    fn a_key_frame_of_vp9_says_its_colours_and_their_range() {
        let key = |colours: u8, full: u8| [0x82, 0x49, 0x83, 0x42, colours << 5 | full << 4, 0];
        let of = |frame: &[u8]| of_vp9(frame).map(|colours| colours.to_string());
        assert_eq!(of(&key(0, 0)).as_deref(), Some("bt709"), "what is not said");
        assert_eq!(of(&key(1, 0)).as_deref(), Some("bt601"));
        assert_eq!(of(&key(2, 0)).as_deref(), Some("bt709"));
        assert_eq!(of(&key(2, 1)).as_deref(), Some("1:3:5:1"));
        assert_eq!(of(&key(5, 0)).as_deref(), Some("bt2020-10"));
        assert_eq!(of(&key(2, 0)[..4]), None);
        assert_eq!(of(&[0x86, 0, 0, 0, 0x40]), None);
        assert_eq!(of(&[]), None);
    }
}
