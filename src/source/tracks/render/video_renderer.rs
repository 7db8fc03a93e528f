//! The seam between the tracks of a room and what draws them.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::plan::track::PublishedTrack;
use crate::source::tracks::peer::Frame;

/// Turns encoded frames of any number of tracks into the raw video of a recording.
///
/// It is called on the room's task, so that no method may block for longer than it takes to set up
/// a decoder. `at` is a frame's media time, `now` the media time of the call (zero before the
/// recording begins, the recording's length after its end). A renderer pushes nothing into its
/// feed before the recording begins, and then fills it without gaps.
pub(in crate::source::tracks) trait VideoRenderer: fmt::Debug + Send {
    /// A track was published.
    fn add(&mut self, track: &PublishedTrack, now: Duration);

    /// A track was muted or unmuted.
    fn set_muted(&mut self, sid: &str, muted: bool, now: Duration);

    /// A track is no longer published.
    fn remove(&mut self, sid: &str, now: Duration);

    /// Takes a frame. The frames of one track come in decoding order.
    fn frame(&mut self, frame: &Frame, at: Duration, now: Duration);

    /// Called every half second, also if no frame arrives.
    fn advance(&mut self, now: Duration);

    /// Returns the sids of tracks that need a key frame before they can be shown, each once.
    fn take_key_frame_requests(&mut self) -> Vec<String>;

    /// Shows the frames that are still in decoders, and ends the feed. To be called after
    /// [`Timeline::end`](crate::media::Timeline::end).
    fn finish(self: Box<Self>) -> BoxFuture<'static, ()>;
}
