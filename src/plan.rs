//! Decides everything about a recording before it starts.
//!
//! ```text
//! wire request ─► EgressRequest ─► RecordingPlan ─► GraphPlan
//!  wire, from_*       request          planner         graph
//! ```
//!
//! The folder is pure: values in, values out, the time is an argument. It imports no runtime, no
//! GStreamer, no file system and no clock.
//!
//! Vocabulary comes first and imports no decisions: [`codec`], [`stream_url`], [`encoding`],
//! [`storage`], [`room`], [`track`], [`page`], [`output`], [`error`]. [`request`] is built from it,
//! [`source`] and [`RecordingPlan`] are what the [`planner`] makes of a request.

pub mod bounds;
pub mod codec;
pub mod defaults;
mod deferred_names;
mod egress_id;
pub mod encoding;
pub mod error;
pub mod filename;
pub mod from_rpc;
pub mod from_v1;
pub mod from_v2;
pub mod graph;
pub mod info;
pub mod json;
mod limits;
pub mod link_local;
pub mod output;
pub mod page;
pub mod planner;
mod recording_plan;
pub mod redact;
pub mod remux;
pub mod render;
pub mod request;
pub mod room;
pub mod source;
pub mod storage;
pub mod stream_url;
pub mod track;
mod wire;
pub mod written;

#[cfg(test)]
mod tests;

pub use self::egress_id::EgressId;
pub use self::limits::{Limits, SessionLimits};
pub use self::recording_plan::RecordingPlan;
