//! MP3: the Xing header, in the first frame, says how many frames follow. It is written last; a recording that was killed
//! has none, and players guess its length. Frames themselves are whole wherever the file ends.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{FinalizeError, Layout, Whole, io, part_of};
use crate::media::make;

pub(super) fn make_whole(
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Whole, FinalizeError> {
    let mut head = Vec::new();
    let file = File::open(recorded).map_err(io("opening", recorded))?;
    (&file).take(4096).read_to_end(&mut head).map_err(io("reading", recorded))?;
    if head.is_empty() {
        return Err(FinalizeError::Empty { path: recorded.to_owned() });
    }
    let was_cut = !counts_its_frames(&head);
    let part = part_of(whole);
    let remuxed = if was_cut { Some(remux(recorded, &part, stop)) } else { None };
    if let Some(Err(_)) = &remuxed
        && let Err(error) = std::fs::remove_file(&part)
    {
        tracing::debug!(%error, part = %part.display(), "nothing to remove");
    }
    match remuxed {
        Some(Ok(())) => {
            File::open(&part).and_then(|part| part.sync_all()).map_err(io("syncing", &part))?;
            std::fs::rename(&part, whole).map_err(io("renaming", &part))?;
            // Its copy is complete and on the disk.
            std::fs::remove_file(recorded).map_err(io("removing", recorded))?;
        }
        // Without its count it plays as well, only its length is a guess.
        None | Some(Err(FinalizeError::NoSpaceLeft { .. })) => {
            file.sync_all().map_err(io("syncing", recorded))?;
            std::fs::rename(recorded, whole).map_err(io("renaming", recorded))?;
        }
        Some(Err(error)) => return Err(error),
    }
    let size = std::fs::metadata(whole).map_err(io("reading", whole))?.len();
    Ok(Whole { size, duration: None, layout: Layout::Ordinary, was_cut })
}

/// Whether a Xing (or Info) header is there and filled in: its first flag says that it has the number of frames.
fn counts_its_frames(head: &[u8]) -> bool {
    let tag = head.windows(12).find(|at| at.starts_with(b"Xing") || at.starts_with(b"Info"));
    tag.is_some_and(|tag| tag[7] & 1 == 1 && tag[8..12] != [0; 4])
}

/// `filesrc → mpegaudioparse → xingmux → filesink`
fn remux(recorded: &Path, part: &Path, stop: &CancellationToken) -> Result<(), FinalizeError> {
    let broken = |why: String| FinalizeError::Remux { path: recorded.to_owned(), why };
    let pipeline = gst::Pipeline::with_name("remux");
    let source = make("filesrc")?;
    source.set_property("location", recorded);
    let sink = make("filesink")?;
    sink.set_property("location", part);
    let chain = [&source, &make("mpegaudioparse")?, &make("xingmux")?, &sink];
    pipeline.add_many(chain).map_err(|error| broken(error.to_string()))?;
    gst::Element::link_many(chain).map_err(|error| broken(error.to_string()))?;
    let ran = run(&pipeline, stop, recorded, broken);
    if pipeline.set_state(gst::State::Null).is_err() {
        tracing::warn!("the remux pipeline did not close cleanly");
    }
    ran
}

fn run(
    pipeline: &gst::Pipeline,
    stop: &CancellationToken,
    recorded: &Path,
    broken: impl Fn(String) -> FinalizeError,
) -> Result<(), FinalizeError> {
    // A pipeline has a bus from its making on.
    let bus = pipeline.bus().ok_or_else(|| broken("its pipeline has no bus".to_owned()))?;
    // A refusal is explained on the bus.
    let refused = pipeline.set_state(gst::State::Playing).is_err();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    while !stop.is_cancelled() {
        match bus.timed_pop_filtered(gst::ClockTime::from_mseconds(200), &wanted) {
            Some(message) => match message.view() {
                gst::MessageView::Error(error) if error.error().matches(gst::ResourceError::NoSpaceLeft) => {
                    return Err(FinalizeError::NoSpaceLeft { path: recorded.to_owned() });
                }
                gst::MessageView::Error(error) => return Err(broken(error.error().to_string())),
                _ => return Ok(()),
            },
            None if refused => return Err(broken("its pipeline refused to start".to_owned())),
            None => {}
        }
    }
    Err(FinalizeError::Stopped { path: recorded.to_owned() })
}
