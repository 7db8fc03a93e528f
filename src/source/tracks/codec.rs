//! The plan's words for codecs, under a name that is close by.

pub(super) use crate::plan::track::{TrackCodec, TrackKind};
