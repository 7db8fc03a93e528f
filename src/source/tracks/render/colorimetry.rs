//! Corrects the colorimetry of decoded frames: colour space and range.

use std::sync::{Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction,
};

use crate::plan::track::TrackCodec;
use crate::source::pacing::bt709;

/// Corrects the colorimetry of a decoder's output.
///
/// A stream that does not signal its colorimetry gets the one that browsers assume: BT.601 for VP8,
/// which can't signal it (RFC 6386 §9.2), and BT.709 for all others. GStreamer would guess from the
/// frame size.
///
/// Full-range frames are converted to limited range, because GStreamer 1.22 converts between
/// matrices and treats two ranges of one matrix as equal. Chromium sends canvases as full-range
/// H.264.
pub(super) fn correct(decoder: &gst::Element, codec: TrackCodec) {
    let (Some(sink), Some(source)) = (decoder.static_pad("sink"), decoder.static_pad("src")) else { return };
    let sink = sink.downgrade();
    let full = Mutex::new(None);
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    source.add_probe(kinds, move |_, info| {
        let mut full = full.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => {
                if let gst::EventView::Caps(decoded) = event.view() {
                    let encoded = sink.upgrade().and_then(|sink| sink.current_caps());
                    let mut caps = decoded.caps_owned();
                    *full = corrected(&mut caps, encoded, codec);
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

/// Puts the right colorimetry into a decoder's caps. Returns the frame layout if frames have to be
/// converted to limited range.
fn corrected(
    caps: &mut gst::Caps,
    encoded: Option<gst::Caps>,
    codec: TrackCodec,
) -> Option<gst_video::VideoInfo> {
    let decoded = colorimetry_in(caps);
    let signalled = encoded.and_then(|caps| colorimetry_in(&caps));
    let colorimetry = match signalled.filter(|encoded| encoded.matrix() != VideoColorMatrix::Unknown) {
        Some(_) => decoded?,
        None if codec == TrackCodec::Vp8 => bt601(),
        None => bt709(),
    };
    let is_full = decoded.is_some_and(|decoded| decoded.range() == VideoColorRange::Range0_255);
    let layout = is_full.then(|| gst_video::VideoInfo::from_caps(caps).ok()).flatten();
    let full = layout.filter(|layout| is_plain(layout.format_info()));
    let colorimetry = in_range(colorimetry, is_full && full.is_none());
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.set("colorimetry", colorimetry.to_string());
    }
    full
}

/// Whether luma and two chroma components have a plane of bytes each.
fn is_plain(format: gst_video::VideoFormatInfo) -> bool {
    format.is_yuv()
        && format.n_planes() == 3
        && format.n_components() == 3
        && format.depth().iter().all(|bits| *bits == 8)
}

/// Converts from full to limited range, rounding (ITU-R BT.709-6, table 3; ITU-T H.264, E.2.1).
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

/// Generic over the conversion, so that the compiler can vectorise each.
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

/// Divides by 255, rounding.
const fn to_byte(value: u16) -> u8 {
    let value = value + 128;
    ((value + (value >> 8)) >> 8) as u8
}

fn colorimetry_in(caps: &gst::CapsRef) -> Option<VideoColorimetry> {
    caps.structure(0)?.get::<&str>("colorimetry").ok()?.parse().ok()
}

/// The same colorimetry in full or limited range.
fn in_range(colorimetry: VideoColorimetry, is_full: bool) -> VideoColorimetry {
    let range = if is_full { VideoColorRange::Range0_255 } else { VideoColorRange::Range16_235 };
    VideoColorimetry::new(range, colorimetry.matrix(), colorimetry.transfer(), colorimetry.primaries())
}

fn bt601() -> VideoColorimetry {
    let (transfer, primaries) = (VideoTransferFunction::Bt601, VideoColorPrimaries::Smpte170m);
    VideoColorimetry::new(VideoColorRange::Range16_235, VideoColorMatrix::Bt601, transfer, primaries)
}

fn bt2020() -> VideoColorimetry {
    let (transfer, primaries) = (VideoTransferFunction::Bt202010, VideoColorPrimaries::Bt2020);
    VideoColorimetry::new(VideoColorRange::Range16_235, VideoColorMatrix::Bt2020, transfer, primaries)
}

/// The colorimetry of a VP9 key frame of profile 0 (VP9 bitstream specification, §6.2 and §7.2.2).
/// `vp9dec` does not report whether it was signalled.
pub(super) fn of_vp9(key_frame: &[u8]) -> Option<VideoColorimetry> {
    // The first byte has two bits of marker and two of the profile; a constant of three bytes
    // follows.
    let (first, rest) = key_frame.split_first()?;
    if first & 0b1111_0000 != 0b1000_0000 {
        return None;
    }
    let bits = rest.strip_prefix(&[0x49, 0x83, 0x42])?.first()?;
    let colorimetry = match bits >> 5 {
        1 | 3 => bt601(),
        5 => bt2020(),
        _ => bt709(),
    };
    Some(in_range(colorimetry, bits & 0b0001_0000 != 0))
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
    fn a_vp9_key_frame_signals_its_colorimetry() {
        let key = |space: u8, full: u8| [0x82, 0x49, 0x83, 0x42, space << 5 | full << 4, 0];
        let of = |frame: &[u8]| of_vp9(frame).map(|colorimetry| colorimetry.to_string());
        assert_eq!(of(&key(0, 0)).as_deref(), Some("bt709"), "the default");
        assert_eq!(of(&key(1, 0)).as_deref(), Some("bt601"));
        assert_eq!(of(&key(2, 0)).as_deref(), Some("bt709"));
        assert_eq!(of(&key(2, 1)).as_deref(), Some("1:3:5:1"));
        assert_eq!(of(&key(5, 0)).as_deref(), Some("bt2020-10"));
        assert_eq!(of(&key(2, 0)[..4]), None);
        assert_eq!(of(&[0x86, 0, 0, 0, 0x40]), None);
        assert_eq!(of(&[]), None);
    }
}
