//! Takes a file out of its container and puts it into one again, without a look at what is in it.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

use super::FinalizeError;
use crate::media::make;

/// `filesrc → elements… → filesink`, each linked to the next one, also where its pad comes only with the file's first bytes.
pub(super) fn remux(
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
