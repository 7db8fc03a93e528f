//! Captures of a real display and a real audio server.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::*;
use crate::media::Feed;
use crate::plan::encoding::Cadence;
use crate::source::SourceContext;
use support::{DEADLINE, Kept, Painter, Server, bt709, context, pts, pulseaudio, wait_until, xvfb, yuv_at};

mod support;
mod with_processes;

const RED: u32 = 0x00d0_2010;
const GREEN: u32 = 0x0020_b030;
const BLUE: u32 = 0x0010_30c0;
const WHITE: u32 = 0x00f0_f0f0;

/// A display, what captures it, and what comes out.
struct Rig {
    context: SourceContext,
    pacer: Pacer,
    capture: VideoCapture,
    screen: ScreenArea,
    server: Server,
    kept: Kept,
    _attached: crate::media::Attachment,
}

fn rig(kind: CaptureKind, width: u32, height: u32, cadence: Cadence) -> Rig {
    let (server, screen) = xvfb(width, height, 30);
    let (feed, kept) = (Feed::new("raw video"), Kept::default());
    let attached = feed.attach(Box::new(kept.clone()));
    let context = context(Some(feed), cadence, 30);
    let pacer = Pacer::start(&context, width, height).unwrap();
    let capture = VideoCapture::start(kind, &screen, pacer.slot(), &context.timeline).unwrap();
    Rig { context, pacer, capture, screen, server, kept, _attached: attached }
}

fn as_drawn() -> Cadence {
    Cadence::AsDrawn { at_least: 2 }
}

#[track_caller]
fn assert_near(found: [u8; 3], colour: u32) {
    let wanted = bt709(colour);
    let far = found.iter().zip(wanted).any(|(found, wanted)| found.abs_diff(wanted) > 2);
    assert!(!far, "{found:?} instead of {wanted:?} ({colour:06x})");
}

/// Four colours, one in each quarter, right up to the edges.
fn assert_quarters(painter: &Painter, rig: &Rig) {
    let (width, height) = (rig.screen.width, rig.screen.height);
    let (x, y) = (width / 4 * 2, height / 4 * 2);
    painter.fill(RED, [0, 0, x, y]);
    painter.fill(GREEN, [x, 0, width - x, y]);
    painter.fill(BLUE, [0, y, x, height - y]);
    painter.fill(WHITE, [x, y, width - x, height - y]);
    painter.sync();
    let last = [width - 1, height - 1];
    let painted = |sample: &gst::Sample| yuv_at(sample, last[0], last[1])[0].abs_diff(bt709(WHITE)[0]) <= 2;
    let pictures = rig.kept.until(|samples| samples.iter().any(painted));
    let picture = pictures.iter().find(|sample| painted(sample)).unwrap();
    for (colour, [left, top]) in [(RED, [0, 0]), (GREEN, [x, 0]), (BLUE, [0, y]), (WHITE, [x, y])] {
        let right = if left == 0 { x - 1 } else { width - 1 };
        let bottom = if top == 0 { y - 1 } else { height - 1 };
        for (x, y) in [(left, top), (right, top), (left, bottom), (right, bottom)] {
            assert_near(yuv_at(picture, x, y), colour);
        }
    }
}
