//! All pipelines of this process as text, for debugging.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

/// Those that [`MediaPipeline`](super::MediaPipeline) made and that may still be there. A recorder
/// makes one recording: what its process has is the recording's.
static PIPELINES: Mutex<Vec<glib::WeakRef<gst::Pipeline>>> = Mutex::new(Vec::new());

/// Takes note of a pipeline, as long as it lives.
pub(super) fn note(pipeline: &gst::Pipeline) {
    let mut pipelines = lock();
    pipelines.retain(|known| known.upgrade().is_some());
    pipelines.push(pipeline.downgrade());
}

/// Every pipeline that lives, in Graphviz's language, one `digraph` after the other (`dot` draws
/// each): elements with their states, pads with their caps. Without the elements' properties: an
/// address among them may hold a key.
///
/// It takes the locks of elements, and may wait for them: call it where waiting does no harm.
#[must_use]
pub fn dot() -> String {
    // Made without the lock: a pipeline that goes may have to take note of nothing meanwhile.
    let pipelines: Vec<gst::Pipeline> = lock().iter().filter_map(glib::WeakRef::upgrade).collect();
    let details = gst::DebugGraphDetails::MEDIA_TYPE
        | gst::DebugGraphDetails::CAPS_DETAILS
        | gst::DebugGraphDetails::STATES;
    pipelines.iter().map(|pipeline| format!("{}\n", pipeline.debug_to_dot_data(details).trim_end())).collect()
}

fn lock() -> MutexGuard<'static, Vec<glib::WeakRef<gst::Pipeline>>> {
    PIPELINES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MediaPipeline;

    #[test]
    fn a_pipeline_is_drawn_as_long_as_it_lives_and_without_its_properties() {
        crate::media::init().unwrap();
        let pipeline = MediaPipeline::new("drawn-in-a-test");
        let source = pipeline.add("filesrc").unwrap();
        source.set_property("location", "/a/secret-key");
        let sink = pipeline.add("fakesink").unwrap();
        pipeline.link(&[&source, &sink]).unwrap();
        let text = dot();
        assert!(text.contains("digraph pipeline {"), "{text}");
        for said in ["drawn-in-a-test", "GstFileSrc", "GstFakeSink"] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("secret-key"), "{text}");
        drop((source, sink, pipeline));
        assert!(!dot().contains("drawn-in-a-test"));
    }
}
