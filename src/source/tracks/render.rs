//! Renders the video tracks of a room to one raw video feed.
//!
//! ```text
//! encoded frames of all tracks ─► VideoRenderer ─► Feed(raw video)
//! ```
//!
//! [`VideoRenderer`] is all that the rest of the source knows. Its one implementation today is
//! `single_view`, which shows one track at a time. A renderer that arranges many tracks in a layout
//! belongs beside it and can share `decoder`, `playout` and `playout_thread`; [`start`] chooses
//! between renderers.

mod colorimetry;
mod decoder;
mod error;
mod playout;
mod playout_thread;
mod single_view;
mod video_renderer;
pub(super) mod video_selector;

use crate::media::Feed;
use crate::source::SourceContext;
pub use error::RenderError;
use single_view::SingleView;
pub(super) use video_renderer::VideoRenderer;

/// Starts the renderer of a recording. It fills `feed` with frames of `size` pixels (both even)
/// from the beginning of the recording on.
///
/// # Errors
/// If the size is not possible, or the playout thread can't be started.
pub(super) fn start(
    feed: Feed,
    size: (u32, u32),
    context: &SourceContext,
) -> Result<Box<dyn VideoRenderer>, RenderError> {
    let SourceContext { timeline, pacing, counters, .. } = context;
    let view = SingleView::new(feed, size, *pacing, counters.clone(), timeline.clone())?;
    Ok(Box::new(view))
}
