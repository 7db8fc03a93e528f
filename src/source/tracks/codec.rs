//! Codec names of the plan, re-exported for this module.

pub(super) use crate::plan::track::{TrackCodec, TrackKind};
