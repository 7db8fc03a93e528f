//! Takes a file out of its container and puts it into one again, without a look at what is in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

use super::damage::Damage;
use super::{FinalizeError, Finalized, Layout, io, part_of};
use crate::media::make;

/// Of what a muxer writes at the end, the place is kept in front of the first media.
const HEAD: u64 = 4096;

/// A recorded file's first bytes, which show whether it was cut. Short for a short file.
pub(super) fn head_of(recorded: &Path) -> Result<Vec<u8>, FinalizeError> {
    let mut head = Vec::new();
    let file = File::open(recorded).map_err(io("opening", recorded))?;
    file.take(HEAD).read_to_end(&mut head).map_err(io("reading", recorded))?;
    Ok(head)
}

/// Options for finalizing a file that is playable as recorded.
pub(super) struct Remux<'a> {
    /// Elements that remux a cut file; `None`: it is left unchanged.
    pub(super) elements: Option<&'a [&'a str]>,
    /// Whether an error of the remux leaves the file unchanged instead of failing.
    pub(super) bearable: fn(&FinalizeError) -> bool,
    /// Parts missing from the remuxed file.
    pub(super) damage: Damage,
}

/// Makes a file whole: as it is, or by remuxing it. A damaged one that was remuxed stays; one that
/// can't be remuxed is not whole.
pub(super) fn finalize(
    how: Remux<'_>,
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Finalized, FinalizeError> {
    let Remux { elements, bearable, damage } = how;
    let part = part_of(whole);
    let remuxed = elements.map(|elements| remux(elements, recorded, &part, stop));
    if let Some(Err(_)) = &remuxed
        && let Err(error) = std::fs::remove_file(&part)
    {
        tracing::debug!(%error, part = %part.display(), "nothing to remove");
    }
    match remuxed {
        Some(Ok(())) => {
            File::open(&part).and_then(|part| part.sync_all()).map_err(io("syncing", &part))?;
            std::fs::rename(&part, whole).map_err(io("renaming", &part))?;
        }
        Some(Err(error)) if !bearable(&error) || !damage.is_none() => return Err(error),
        None | Some(Err(_)) => {
            File::open(recorded).and_then(|file| file.sync_all()).map_err(io("syncing", recorded))?;
            std::fs::rename(recorded, whole).map_err(io("renaming", recorded))?;
        }
    }
    let size = std::fs::metadata(whole).map_err(io("reading", whole))?.len();
    // As it is, nothing is lacking.
    let damage = damage.described().filter(|_| recorded.exists());
    let (layout, was_cut) = (Layout::Ordinary, elements.is_some());
    Ok(Finalized { size, duration: None, layout, was_cut, lacks_video: false, damage, kept: None })
}

/// `filesrc → elements… → filesink`, each linked to the next one, also where its pad comes only
/// with the file's first bytes.
fn remux(
    elements: &[&str],
    recorded: &Path,
    part: &Path,
    stop: &CancellationToken,
) -> Result<(), FinalizeError> {
    let broken = |why: String| FinalizeError::Remux { path: recorded.to_owned(), why };
    let pipeline = gst::Pipeline::with_name("remux");
    let source = make("filesrc")?;
    source.set_property("location", recorded);
    let sink = make("filesink")?;
    sink.set_property("location", part);
    let mut chain = vec![source];
    for element in elements {
        chain.push(make(element)?);
    }
    chain.push(sink);
    pipeline.add_many(&chain).map_err(|error| broken(error.to_string()))?;
    for pair in chain.windows(2) {
        let [from, to] = pair else { continue };
        if from.static_pad("src").is_some() {
            from.link(to).map_err(|error| broken(error.to_string()))?;
            continue;
        }
        let to = to.downgrade();
        from.connect_pad_added(move |from, _| {
            // What can't be linked ends the pipeline with an error of its own.
            if let Some(Err(error)) = to.upgrade().map(|to| from.link(&to)) {
                tracing::debug!(%error, "a medium that does not fit");
            }
        });
    }
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
